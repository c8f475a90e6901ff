"""What is here and not in the source any more: listed, and purged only when that is safe and a person says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import plaudit
from tests.client.commands import on_a_terminal
from tests.importers.conftest import Store
from tests.importers.test_rows import ANNOTATION, written

SCOPE = 'ref ^= "phoenix://default/"'
KEPT: Mapping[str, Any] = dict(ANNOTATION, identifier="kept", id="a")
GONE: Mapping[str, Any] = dict(ANNOTATION, identifier="gone", id="b")


@pytest.fixture
def store(request: pytest.FixtureRequest, new_store: Callable[[str], Store]) -> Store:
    return new_store(f"mirror/{request.node.name[-100:]}")


@pytest.fixture
def later(store: Store, tmp_path: Path) -> str:
    """An export in which one of two imported annotations is missing; a note of ours is on what both are about."""
    path = written(tmp_path / "a.json", KEPT, GONE)
    assert store.run(path).exit_code == 0
    with plaudit.Client(store.project, target=store.target) as client:
        ref = store.records[0]["ref"]
        client.create({"ref": ref, "feedback_type": "ours", "payload": {}})
        client.create(
            {"ref": "phoenix://other/span/1", "feedback_type": "t", "payload": {"origin": {"system": "phoenix"}}}
        )
    return written(tmp_path / "a.json", KEPT)


def types(store: Store) -> list[str]:
    return sorted(
        record["payload"].get("origin", {}).get("identifier", record["feedback_type"]) for record in store.records
    )


def test_what_is_missing_is_listed_and_stays(store: Store, later: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = store.run(later, "--mirror", SCOPE, "--report", str(report))
    assert done.exit_code == 0, done.output
    assert "missing 1" in done.output
    [missing] = json.loads(report.read_text())["missing_records"]
    assert missing["id"] in {record["id"] for record in store.records}
    assert types(store) == ["gone", "kept", "ours", "t"]


def test_a_purge_of_what_is_missing_is_counted_and_confirmed(store: Store, later: str) -> None:
    mirror = (later, "--mirror", SCOPE, "--purge-missing")
    assert "1 records would be purged" in store.run(*mirror, "--dry-run").output
    refused = store.run(*mirror)
    assert (refused.exit_code, "give --yes where nobody can be asked" in refused.output) == (2, True)
    assert types(store) == ["gone", "kept", "ours", "t"]
    env = {"PLAUDIT_TARGET": store.target, "PLAUDIT_PROJECT": store.project, "NO_COLOR": "1"}
    asked = on_a_terminal("import", *mirror, typed="n\n", **env)
    assert (asked.code, "Purge 1 records for good" in asked.out) == (1, True)
    assert types(store) == ["gone", "kept", "ours", "t"]
    done = store.run(*mirror, "--yes")
    assert (done.exit_code, "purged 1" in done.output) == (0, True)
    assert types(store) == ["kept", "ours", "t"]
    assert store.run(*mirror, "--yes").exit_code == 0, "nothing is missing any more"


def test_nothing_is_purged_by_a_file_that_may_lack_what_the_source_has(
    store: Store, later: str, tmp_path: Path
) -> None:
    options = ("--mirror", SCOPE, "--purge-missing", "--yes")
    unread = store.run(written(tmp_path / "b.json", KEPT, dict(GONE, created_at="yesterday")), *options)
    assert (unread.exit_code, "1 rows could not be read" in unread.output) == (2, True)
    empty = store.run(written(tmp_path / "b.json"), "--from", "phoenix", *options)
    assert (empty.exit_code, "the file has no record" in empty.output) == (2, True)
    table = tmp_path / "frame.csv"
    table.write_text("span_id,annotation_name,annotator_kind\n")
    frame = store.run(str(table), "--from", "phoenix", *options)
    assert (frame.exit_code, "leaves out notes" in frame.output) == (2, True)
    with plaudit.Client(store.project, target=store.target) as client:
        client.get_feedback(plaudit.field("feedback_type") == "ours").export(tmp_path / "some.jsonl")
    some = store.run(str(tmp_path / "some.jsonl"), *options)
    assert (some.exit_code, "only what matched" in some.output) == (2, True)
    with pytest.raises(plaudit.InvalidArgumentError, match="at character 6"):
        store.run(later, "--mirror", "ref =")
    for wrong in (("--purge-missing", "--yes"), ("--mirror", SCOPE, "--only", "submitted")):
        assert store.run(later, *wrong).exit_code == 2, wrong
    assert types(store) == ["gone", "kept", "ours", "t"]
