"""Every Python example of the pages for newcomers runs unchanged, one after the other, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import plaudit
from plaudit._contract.feedback_tokens import SigningKey
from plaudit.testing import reset
from plaudit_server.testing import server

DOCS = Path(__file__).parents[2] / "docs"

PAGES = {
    "definitions.md": (2, "0 ()\n"),
    "tokens.md": (1, ""),
    "python.md": (
        13,
        "wandb.reaction.1 {'emoji': '👍', 'alias': ':thumbs_up:', 'detoned': '👍', "
        "'detoned_alias': ':thumbs_up:'} ana\n"
        "wandb.note.1 {'note': 'Right, and short.'} ana\n"
        "correctness {'score': 0.9} judge-2\n"
        "0\n1\n2\n"
        "['feedback.ref', 'feedback.payload.note']\n"
        "FEEDBACK_NOT_FOUND\n"
        "refused, as it should be\n",
    ),
    "records.md": (
        5,
        "1 anonymous anonymous {'score': 0.9}\n:thumbs_up_medium_skin_tone: 👍 ['🎉'] wandb.agent_user_feedback\n",
    ),
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
        monkeypatch.setenv("PLAUDIT_SIGNING_KEY", SigningKey("web", bytes(32)).text)
        names: dict[str, object] = {"__name__": "page"}
        for block in blocks:
            exec(compile(block, page, "exec"), names)
            test = names.pop("test_thumb", None)
            if callable(test):  # as pytest calls it
                monkeypatch.setenv("PLAUDIT_PROJECT", "test/project")
                reset()
                test(plaudit.Client())
    reset()

    assert capsys.readouterr().out == printed
