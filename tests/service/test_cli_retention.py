"""The commands `hold` and `project delete`, on a store that is served meanwhile, with their lines in the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import plaudit_server.testing
from plaudit import PlauditError
from plaudit_server.cli import project as command
from plaudit_server.cli.main import cli
from plaudit_server.testing import RunningServer

PROJECT = "acme/chat"
RECORD = {"ref": "urn:x", "feedback_type": "note"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningServer]:
    with plaudit_server.testing.server(tmp_path / "store.db") as running:
        yield running


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def run(tmp_path: Path, *arguments: str, typed: str | None = None) -> Result:
    store, log = tmp_path / "store.db", tmp_path / "audit.jsonl"
    options = ["--store", f"sqlite:{store}"]
    if arguments[:2] != ("hold", "list"):
        options += ["--audit-log", str(log)]
    return CliRunner().invoke(cli, [*arguments, *options], env={"PLAUDIT_STORE": ""}, input=typed)


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_hold_acts_at_once_and_stays_on_record(served: RunningServer, tmp_path: Path, log: Path) -> None:
    client = served.client(PROJECT)
    id = client.create(RECORD).id
    done = run(tmp_path, "hold", "put", PROJECT, "--reason", "case 7")
    assert (done.exit_code, done.output) == (0, f"{PROJECT} is under a legal hold\n")
    with pytest.raises(PlauditError) as caught:
        client.purge([id])
    assert caught.value.reason == "UNDER_HOLD"
    assert "case 7" not in str(caught.value)
    again = run(tmp_path, "hold", "put", PROJECT, "--reason", "case 8")
    assert (again.exit_code, again.output.count("\n")) == (1, 1)
    assert "is under a legal hold already" in again.output
    [row] = run(tmp_path, "hold", "list").output.splitlines()
    assert (row.split("\t")[0], row.split("\t")[3]) == (PROJECT, "case 7")
    refused = run(tmp_path, "project", "delete", PROJECT, "--yes")
    assert refused.exit_code == 1
    assert "under a legal hold" in refused.output
    assert run(tmp_path, "hold", "lift", PROJECT).exit_code == 0
    assert run(tmp_path, "hold", "list").output == ""
    assert len(run(tmp_path, "hold", "list", "--all").output.split("\t")) == 6
    assert client.purge([id]) == 1
    missing = run(tmp_path, "hold", "lift", PROJECT)
    assert (missing.exit_code, "is not under a legal hold" in missing.output) == (1, True)
    assert "no project acme/chatt" in run(tmp_path, "hold", "put", "acme/chatt", "--reason", "x").output
    assert run(tmp_path, "hold", "put", PROJECT, "--reason", " ").exit_code == 1
    assert [line["act"] for line in lines(log)] == ["hold put", "project delete begun", "hold lifted"]
    assert (lines(log)[0]["project"], lines(log)[0]["reason"]) == (PROJECT, "case 7")
    assert lines(log)[0]["by"] == lines(log)[2]["by"] != ""


def test_a_project_is_deleted_beside_a_server(served: RunningServer, tmp_path: Path, log: Path) -> None:
    client = served.client(PROJECT)
    records = client.create_batch([RECORD] * 700)
    others = served.client("acme/other").create(RECORD)
    revision = records[-1].revision
    refused = run(tmp_path, "project", "delete", PROJECT)
    assert (refused.exit_code, refused.output) == (1, "plaudit-server: give --yes where nobody can be asked\n")
    assert client.count() == 700
    done = run(tmp_path, "project", "delete", PROJECT, "--yes")
    assert done.exit_code == 0, done.output
    assert f"{PROJECT}: 700 records deleted\n" in done.output
    assert client.count() == 0
    assert client.create(RECORD).revision == revision + 3  # a change for each slice
    assert [each.id for each in served.client("acme/other").get_feedback()] == [others.id]
    assert [(line["act"], line["rows"]) for line in lines(log)] == [
        ("project delete begun", 700),
        ("project deleted", 700),
    ]
    missing = run(tmp_path, "project", "delete", "acme/nothing", "--yes")
    assert (missing.exit_code, "no project acme/nothing" in missing.output) == (1, True)


def test_a_deletion_asks_for_the_name(
    served: RunningServer, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served.client(PROJECT)
    client.create(RECORD)
    monkeypatch.setattr(command, "is_asked", lambda: True)
    wrong = run(tmp_path, "project", "delete", PROJECT, typed="acme/chatt\n")
    assert wrong.exit_code == 1
    assert "1 records of acme/chat will be gone for good" in wrong.output
    assert "nothing was deleted" in wrong.output
    assert (client.count(), log.read_text()) == (1, "")
    assert run(tmp_path, "project", "delete", PROJECT, typed=f"{PROJECT}\n").exit_code == 0
    assert client.count() == 0
