"""Retention at the command line, and what moves changes elsewhere while records are removed by rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plaudit._contract.uuid7 import uuid7
from plaudit_server.testing import RunningServer
from tests.client.commands import Plaudit, on_a_terminal
from tests.service import retained


@pytest.fixture
def project() -> str:
    return f"retention/{uuid7()}"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, running: RunningServer, project: str, tmp_path: Path) -> Plaudit:
    config = str(tmp_path / "config.toml")
    return Plaudit(monkeypatch, PLAUDIT_TARGET=running.target, PLAUDIT_PROJECT=project, PLAUDIT_CONFIG_FILE=config)


def test_rules_are_set_checked_listed_and_removed(run: Plaudit, running: RunningServer, project: str) -> None:
    retained.aged(running.client(project), 40, 3)
    assert run.ok("retention", "list") == ""
    [tried] = map(json.loads, run.ok("retention", "check", "note", "30").splitlines())
    assert (tried["feedback_type"], tried["days"], tried["record_count"]) == ("note", 30, 3)
    done = run("retention", "set", "note", "30")
    assert (done.code, done.out) == (0, "")
    assert "note is kept for 30 days; older records are removed from" in done.err
    run.ok("retention", "set", "*", "365")
    rules = [json.loads(line) for line in run.ok("retention", "list").splitlines()]
    assert [(rule["feedback_type"], rule["days"], rule["user_id"]) for rule in rules] == [
        ("*", 365, "anonymous"),
        ("note", 30, "anonymous"),
    ]
    assert [json.loads(line)["record_count"] for line in run.ok("retention", "check").splitlines()] == [0, 3]
    run.ok("retention", "remove", "*")
    assert len(run.ok("retention", "list").splitlines()) == 1
    assert run("retention", "set", "note", "0").code == 2
    assert run("retention", "check", "note").code == 2


def test_on_a_terminal_rules_are_a_table(running: RunningServer, project: str) -> None:
    running.client(project).put_retention_rule("judge", 7)
    environment = {"PLAUDIT_TARGET": running.target, "PLAUDIT_PROJECT": project}
    shown = on_a_terminal("retention", "list", **environment).out
    assert "judge" in shown
    assert "Acts from" in shown
    assert "Oldest" in on_a_terminal("retention", "check", **environment).out


def test_changes_that_name_no_record_go_along_and_are_imported_as_nothing(
    run: Plaudit, running: RunningServer, project: str, tmp_path: Path
) -> None:
    client = running.client(project)
    retained.aged(client, 40, 2)
    [young] = retained.aged(client, 1, 1)
    client.put_retention_rule("*", 30)
    retained.pass_the_delay(running, project)
    retained.sweep(running, client)
    assert client.count() == 1
    lines = run.ok("export", "--changes", "--to", "-").splitlines()
    changes = [json.loads(line) for line in lines]
    assert [change["change"] for change in changes] == ["created", "retained"]
    assert changes[1]["retained"]["count"] == 2
    assert [json.loads(line)["change"] for line in run.ok("watch", "--after", "0", "-n", "2").splitlines()] == [
        "created",
        "retained",
    ]
    assert run.ok("watch", "--after", "0", "-n", "2", "-o", "id") == f"{young}\n"
    file = tmp_path / "changes.jsonl"
    file.write_text("\n".join(lines) + "\n")
    other = f"retention/{uuid7()}"
    run.ok("import", str(file), "-p", other)
    assert [record.id for record in running.client(other).get_feedback()] == [young]
