"""Every Python example of the pages for newcomers runs unchanged, one after the other, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plaudit.testing import reset
from plaudit_server.testing import server

DOCS = Path(__file__).parents[2] / "docs"

PAGES = {
    "moving-from-weave.md": (
        3,
        "Refs(['weave:///acme/chat/call/0192']) [Call('weave:///acme/chat/call/0192')]\n"
        "weave:///acme/chat/call/0192 👍 anonymous\n",
    ),
}


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_the_page(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number, printed = PAGES[page]
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == number
    monkeypatch.chdir(tmp_path)
    reset()
    with server() as running:
        monkeypatch.setenv("PLAUDIT_TARGET", running.target)
        names: dict[str, object] = {"__name__": "page"}
        for block in blocks:
            exec(compile(block, page, "exec"), names)
    reset()

    assert capsys.readouterr().out == printed
