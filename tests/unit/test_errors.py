"""Callers' texts in error messages."""

from __future__ import annotations

import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from plaudit_server.errors import (
    DomainError,
    InvalidFields,
    MessageTooLarge,
    QuotaExceeded,
    StoreUnavailable,
    Violation,
)
from plaudit_server.rpc.errors import cut, describe


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


@pytest.mark.parametrize(
    "error",
    [
        QuotaExceeded("in_flight_calls", 0.1),
        QuotaExceeded("in_flight_calls", 0.25),
        QuotaExceeded("rows_per_second", 0.1),
        MessageTooLarge(5_000_000, 3_000_000),
        StoreUnavailable("sqlite", 1.0),
        InvalidFields([Violation("ref", "is required")]),
    ],
)
@pytest.mark.parametrize("request_id", ["one", "another"])
def test_what_is_encoded_once_is_the_status(error: DomainError, request_id: str) -> None:
    problem = describe(error)
    for _ in range(2):
        told = status_pb2.Status.FromString(problem.encoded(request_id))
        status = problem.status(request_id)
        assert (told.code, told.message) == (status.code, status.message)
        assert sorted(told.details, key=str) == sorted(status.details, key=str)
