"""Every example of docs/streams.md runs unchanged, one after the other, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plaudit_server.testing import server

PAGE = (Path(__file__).parents[2] / "docs" / "streams.md").read_text()


def test_examples_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    monkeypatch.chdir(tmp_path)
    with server() as running:
        monkeypatch.setenv("PLAUDIT_TARGET", running.target)
        names: dict[str, object] = {}
        for block in blocks:
            exec(compile(block, "docs/streams.md", "exec"), names)
        names["client"].close()  # type: ignore[attr-defined]

    assert capsys.readouterr().out == "correctness {'score': 0.5}\n" * 3
    assert (tmp_path / "unsent.spool").exists()
