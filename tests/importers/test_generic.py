"""Tables of one's own, by a mapping."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plaudit.importers import Given, Refusal, UnusableError, open_source
from tests.importers.conftest import Store

MAPPING = """
key = ["answer_id", "metric"]
null_values = ["N/A"]
[map]
ref = "https://app.example.org/{answer_id}"
type = "{metric}"
created_at = {column = "ts", unit = "ms"}
creator = "rater"
[payload]
score = {column = "rating", as = "number"}
is_final = {column = "final", as = "boolean"}
source = {value = "survey"}
rest = "origin"
"""
TABLE = """answer_id,metric,ts,rater,rating,final,remark
a-1,tone,1795863822889,Ann,0.50,yes,"Zeile 1
Zeile 2"
a-2,tone,1795863822890,,1,no,N/A
a-2,tone,1795863822890,,2,no,again
a-3,tone,,Ann,1,no,
a-4,tone,1795863822889,Ann,many,no,
a-5,tone,1795863822889,Ann,1,no,,
"""


def source(folder: Path, mapping: str = MAPPING, table: str = TABLE, name: str = "a.csv", **options: Any) -> list[Any]:
    """What a table gives by a mapping."""
    (folder / "map.toml").write_text(mapping, "utf-8")
    (folder / name).write_text(table, "utf-8")
    given = Given(str(folder / name), "acme/chat", {"map": str(folder / "map.toml"), **options})
    return list(open_source("generic", given).read())


def test_a_table_is_read_by_its_mapping(tmp_path: Path) -> None:
    first, second, *refused = source(tmp_path)
    record = first.fields.to_dict()
    assert (record["ref"], record["feedback_type"], record["creator"]) == ("https://app.example.org/a-1", "tone", "Ann")
    assert record["created_at"].isoformat() == "2026-11-28T11:03:42.889000+00:00"
    assert '"score":0.50' in first.fields.payload_json
    assert record["payload"] == {
        "score": 0.5,
        "is_final": True,
        "source": "survey",
        "origin": {"system": "import", "remark": "Zeile 1\nZeile 2"},
    }
    assert second.fields.to_dict()["payload"]["origin"] == {"system": "import"}
    assert [(row.place, row.reason) for row in refused] == [
        ("row 3", "has the same answer_id, metric as a row before it"),
        ("row 4", "has no created_at"),
        ("row 5", "'many' is no number"),
        ("row 6", "has another number of columns than the head, which has 7"),
    ]


def test_lines_of_json_are_read_by_paths(tmp_path: Path) -> None:
    mapping = 'key = ["answer.id"]\n[map]\nref = "urn:{answer.id}"\ntype = {value = "tone"}\ncreated_at = "at"\n'
    [record] = source(
        tmp_path, mapping, '{"answer": {"id": 7}, "at": "2026-11-28"}\n', "a.jsonl", created_at="2026-11-28T00:00:00Z"
    )
    assert record.fields.ref == "urn:7"
    [wrong] = source(tmp_path, mapping, '{"answer": {"id": 7}, "at": "2026-11-28"}\n', "a.jsonl")
    assert isinstance(wrong, Refusal)


@pytest.mark.parametrize(
    ("mapping", "wrong"),
    [
        ("key = 7\n[map]\nref='a'\ntype='b'\ncreated_at='c'", "key is a list of columns"),
        ("[map]\nref='a'\ntype='b'\ncreated_at='c'", "--derived-ids"),
        ("[map]\nref='a'", "needs type, created_at"),
        ("[map]\nanswer='a'", "unknown answer"),
        ("[maps]\nref='a'", "unknown maps"),
        ("[map]\nref='{a.__class__!r}'\ntype='b'\ncreated_at='c'", "only names of columns"),
        ("[map]\nref={column='a', as='date'}", "as is one of"),
        ("[map", "is no TOML"),
    ],
)
def test_a_mapping_that_cannot_be_used_says_what_to_write(tmp_path: Path, mapping: str, wrong: str) -> None:
    with pytest.raises(UnusableError, match=wrong):
        source(tmp_path, mapping)
    with pytest.raises(UnusableError, match="needs --map"):
        open_source("generic", Given("a.csv", "acme/chat"))


def test_a_dry_run_stores_nothing_and_an_import_can_be_repeated(
    tmp_path: Path, new_store: Callable[[str], Store]
) -> None:
    store = new_store("generic/table")
    source(tmp_path)
    arguments = (str(tmp_path / "a.csv"), "--from", "generic", "--map", str(tmp_path / "map.toml"))
    tried = store.run(*arguments, "--dry-run", "--report", str(tmp_path / "report.json"))
    assert tried.exit_code == 1
    assert json.loads((tmp_path / "report.json").read_text())["readable"] == 2
    assert not store.records
    assert "new 2" in store.run(*arguments).output
    assert "there 2" in store.run(*arguments).output
    assert len(store.records) == 2


def test_a_table_of_parquet_is_read_by_a_process_of_its_own(tmp_path: Path, new_store: Callable[[str], Store]) -> None:
    """The same records come of it as where the command line runs in a process of others."""
    import pyarrow
    from pyarrow import parquet

    at = [1_795_863_301_123_456_789 + number for number in range(250)]
    columns = {
        "answer": [f"a{number}" for number in range(250)],
        "asked": pyarrow.array(
            [None if number % 2 else number for number in range(250)], pyarrow.timestamp("us", "UTC")
        ),
        "ts": pyarrow.array(at, pyarrow.timestamp("ns", "UTC")),
        "rating": [2**53 + 1 + number for number in range(250)],
        "tags": [["x", None]] * 250,
    }
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    (tmp_path / "map.toml").write_text(
        """
        key = ["answer"]
        map = {ref = "https://app.example.org/{answer}", type = {value = "t"}, created_at = "ts"}
        payload = {score = "rating", rest = "origin"}
        """
    )
    arguments = (str(path), "--from", "generic", "--map", str(tmp_path / "map.toml"))
    here, apart = new_store("generic/here"), new_store("generic/apart")
    assert "new 250" in here.run(*arguments).output
    (tmp_path / "tmp").mkdir()
    env = {
        **os.environ,
        "PLAUDIT_TARGET": apart.target,
        "PLAUDIT_PROJECT": apart.project,
        "TMPDIR": str(tmp_path / "tmp"),
    }
    command = [sys.executable, "-m", "plaudit", "import", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "new 250" in done.stderr) == (0, True), done.stderr
    without = {"project", "revision"}
    assert [{k: v for k, v in row.items() if k not in without} for row in apart.records] == [
        {k: v for k, v in row.items() if k not in without} for row in here.records
    ]
    assert list((tmp_path / "tmp").iterdir()) == []
    path.write_bytes(path.read_bytes()[:-100])
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "cannot be read" in done.stderr) == (1, True), done.stderr
