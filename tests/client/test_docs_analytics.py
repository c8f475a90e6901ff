"""Every example of docs/analytics.md runs unchanged, one after the other, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plaudit_server.testing import server

PAGE = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text()

PRINTED = """\
9.5 5.5 None
[('good', 3)]
3.0
b 2 5.5 1 1.0
a 2 2.0 2 0.5
4 [1, 2]
2
payload.label 4 0 4
payload.model 4 0 4
payload.score 3 3 0
2 {'score': 2} 3.25
1 1 False
0.5 0.0 wrong_scale
{('bad', 'good'): 1, ('good', 'good'): 1}
"""


def test_examples_of_the_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    with server() as running:
        monkeypatch.setenv("PLAUDIT_TARGET", running.target)
        names: dict[str, object] = {}
        for block in blocks:
            exec(compile(block, "docs/analytics.md", "exec"), names)
        names["client"].close()  # type: ignore[attr-defined]

    assert capsys.readouterr().out == PRINTED
