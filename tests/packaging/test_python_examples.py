"""The Python examples, run against a real server: thumbs, a judge that is interrupted, a frame, a notebook's HTML."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fastapi.testclient import TestClient

import plaudit
from plaudit_server.testing import RunningServer

ROOT = Path(__file__).parents[2]
CALLS = int(os.environ.get("PLAUDIT_TEST_JUDGED", "3000"))


def test_thumbs_in_a_fastapi_app(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.fastapi_thumbs import app

    monkeypatch.setenv("PLAUDIT_TARGET", running.target)
    with TestClient(app) as browser:

        def put(user: str, **thumb: object) -> object:
            return browser.put("/answers/7/thumb", headers={"x-user": user}, json=thumb).json()

        assert put("ana", up=True) == {"up": 1, "down": 0, "mine": True}
        assert put("ana", up=True) == {"up": 1, "down": 0, "mine": True}  # sent twice, stored once
        assert put("bob", up=False, note="Too long.") == {"up": 1, "down": 1, "mine": False}
        assert put("ana", up=False) == {"up": 0, "down": 2, "mine": False}
        assert put("ana", up=None) == {"up": 0, "down": 1, "mine": None}
        assert browser.get("/answers/7/thumbs", headers={"x-user": "eve"}).json() == {"up": 0, "down": 1, "mine": None}
        assert browser.get("/answers/7/notes").json() == ["Too long."]
        refused = browser.put("/answers/7/thumb", headers={"x-user": "eve"}, json={"up": True, "note": "x" * 10_001})
        assert refused.status_code == 422
        assert "10000" in refused.text

    ref = running.client("acme/chat").ref("https://chat.acme.dev/answers/7")
    assert {(row.payload.get("emoji"), row.creator) for row in ref} == {("👎", "bob"), (None, "bob")}


def test_a_judge_that_is_interrupted_twice_pays_for_no_answer_twice(running: RunningServer) -> None:
    from examples.judge import JUDGE, calls, judge

    refs = calls(CALLS)
    bills: list[str] = []
    failures = iter([ConnectionError("the model is busy")])

    def model(ref: str) -> float:
        if len(bills) > CALLS // 2 and (failure := next(failures, None)):
            raise failure
        bills.append(ref)
        if len(bills) == CALLS // 3:
            signal.raise_signal(signal.SIGINT)
        return 0.5

    client = running.client("acme/chat")
    by_judge = client.get_feedback(plaudit.field("creator") == JUDGE)
    assert not judge(client, refs, model)
    with pytest.raises(ConnectionError, match="busy") as raised:
        judge(client, refs, model)
    assert raised.value.__notes__[0].endswith("Sending all again with the same ids is safe.")
    assert CALLS // 2 < by_judge.count() == len(bills) < CALLS
    assert [judge(client, refs, model) for _ in range(2)] == [True, True]
    assert len(bills) == CALLS
    assert set(bills) == set(refs)
    assert by_judge.count() == CALLS


def test_a_frame_to_parquet_and_back_changes_nothing(
    running: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from examples.frame import main

    monkeypatch.setenv("PLAUDIT_TARGET", running.target)
    main(tmp_path / "scores.parquet")

    client = running.client("acme/frames")
    first = client.get_feedback().execute()
    assert {row.version for row in first} == {1}
    assert first[-1].revision == 200
    printed = capsys.readouterr().out.splitlines()
    assert [line.split() for line in printed[2:4]] == [["large", "0.496"], ["small", "0.495"]]
    assert printed[4] == "200 rows, 200 records, True"


@pytest.fixture(scope="module")
def notebook(running: RunningServer) -> Any:
    """The notebook, executed by a kernel of its own."""
    from nbclient import NotebookClient

    read: Any = nbformat.read
    made = read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAUDIT_TARGET", running.target)
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        client = NotebookClient(made, timeout=60, kernel_name="python3")
        asyncio.run(client.async_execute())
    return made


def _outputs(notebook: Any) -> list[list[Any]]:
    """What stands below each cell of code."""
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def test_each_cell_of_the_notebook_shows_one_thing_or_nothing(notebook: Any) -> None:
    outputs = _outputs(notebook)

    assert [[output.output_type for output in below] for below in outputs] == [
        [],
        ["display_data"],
        ["execute_result"],
        ["execute_result"],
        ["execute_result"],
        ["execute_result"],
        ["execute_result"],
    ]
    assert "1,000 stored, 0 refused" in outputs[1][0].data["text/html"]
    for below in outputs[2:]:
        data = below[0].data
        assert data["text/html"].count("<table>") == 1
        assert data["text/plain"].startswith("┏")
        assert "Feedback(" not in data["text/plain"]


def test_the_notebooks_page_has_its_tables_and_no_empty_output(notebook: Any) -> None:
    from nbconvert import HTMLExporter

    exporter: Any = HTMLExporter
    page, _ = exporter(template_name="basic").from_notebook_node(notebook)
    areas = page.split('<div class="output_area">')[1:]
    shown = [area.partition("output_subarea")[2].partition(">")[2].partition("<div class=")[0] for area in areas]

    assert len(areas) == 6
    assert all(re.sub(r"<[^>]*>", "", area).strip() for area in shown)
    assert page.count("<table>") == page.count("</table>") == 5
    assert page.count("<progress") == 1
    good, groups, record, history, tombstone = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert (good.count("<tr>"), "… and" in good) == (201, False)
    assert '<th style="text-align:left">score</th>' in groups
    assert "https://chat.acme.dev/answers/" in record
    assert history.count("<tr>") == 3
    assert "purged_at" in tombstone
