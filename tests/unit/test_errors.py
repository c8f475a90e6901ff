"""Text of callers in the messages of errors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plaudit_server.errors import cut


@given(st.text(), st.integers(1, 20))
def test_text_is_shortened_and_keeps_to_one_printable_line(text: str, characters: int) -> None:
    shown = cut(text, characters)
    assert len(shown) == min(len(text), characters)
    assert shown.isprintable()
    kept = shown[:-1] if len(text) > characters else shown
    assert all(there in (given, "\ufffd") for there, given in zip(kept, text, strict=False))


def test_what_is_not_printable_alone_is_replaced() -> None:
    assert cut("one\ntwo\u202e\x00 grün", 100) == "one\ufffdtwo\ufffd\ufffd grün"
    assert cut("one\ntwo", 5) == "one\ufffd…"
    assert cut("as it is", 8) == "as it is"
