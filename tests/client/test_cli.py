"""The command line against a real server: what it prints on a terminal and in a pipe, and how it ends."""

from __future__ import annotations

import csv
import itertools
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import plaudit
from plaudit_server.testing import RunningServer
from tests.client.commands import Plaudit, on_a_terminal
from tests.conformance.definition_cases import servers

REF = "weave:///acme/chat/call/1"
NOBODY = "00000000-0000-7000-8000-000000000000"
_projects = itertools.count()


@pytest.fixture
def project() -> str:
    return f"cli/p{next(_projects)}"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, running: RunningServer, project: str, tmp_path: Path) -> Plaudit:
    config = str(tmp_path / "config.toml")
    return Plaudit(monkeypatch, PLAUDIT_TARGET=running.target, PLAUDIT_PROJECT=project, PLAUDIT_CONFIG_FILE=config)


def rows(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line]


def test_a_record_is_added_read_changed_and_purged(run: Plaudit, project: str) -> None:
    [added] = rows(run.ok("add", "urn:x", "judge", "score:=0.5", "comment=short", "a\\=b=c", "--creator", "ana"))
    assert (added["payload"], added["creator"], added["project"]) == (
        {"score": 0.5, "comment": "short", "a=b": "c"},
        "ana",
        project,
    )
    id = added["id"]
    assert json.loads(run.ok("get", id, "-o", "json"))["id"] == id
    [changed] = rows(run.ok("replace", id, "score:=0.9", "--field", "scorer_trace_id=t"))
    assert (changed["version"], changed["payload"]["score"], changed["payload"]["comment"]) == (2, 0.9, "short")
    assert changed["scorer_trace_id"] == "t"
    [whole] = rows(run.ok("replace", id, "--payload", "-", stdin='{"n": 9007199254740993}'))
    assert run.ok("get", id, "-o", "payload") == '{"n":9007199254740993}\n'
    assert (whole["version"], whole["creator"]) == (3, "ana")
    assert [row["version"] for row in rows(run.ok("history", id))] == [1, 2, 3]
    assert run("replace", id, "x=y", "--expected-version", "1").code == 1
    assert run("replace", id).code == 2

    refused = run("purge", id)
    assert (refused.code, refused.out) == (2, "")
    assert "--yes" in refused.err
    assert run.ok("purge", id, "--dry-run") == "1 records would be purged\n"
    assert run.ok("purge", "-", "--yes", stdin=f"{id}\n") == "1 records purged\n"
    assert run("get", id).code == 3
    assert rows(run.ok("history", id))[0]["tombstone"]["id"] == id


def test_notes_and_reactions(run: Plaudit) -> None:
    [note] = rows(run.ok("note", "urn:x", "-", stdin="Right,\nand short.\n"))
    assert note["payload"] == {"note": "Right,\nand short."}
    [reaction] = rows(run.ok("react", "urn:x", "👍", "--creator", "ana"))
    assert reaction["payload"]["emoji"] == "👍"
    assert run("react", "urn:x", "no emoji").code == 1
    [elsewhere] = rows(run.ok("note", REF, "in the ref's own project"))
    assert elsewhere["project"] == "acme/chat"
    [here] = rows(run.ok("note", REF, "here", "--project", note["project"]))
    assert here["project"] == note["project"]
    assert rows(run.ok("on", REF, "-p", note["project"])) == [here]
    assert rows(run.ok("on", REF)) == [elsewhere]
    assert {row["id"] for row in rows(run.ok("on", "urn:x"))} == {note["id"], reaction["id"]}


def test_what_a_query_finds_and_in_which_form(run: Plaudit, running: RunningServer, project: str) -> None:
    client = running.client(project)
    made = [
        client.create({"ref": f"urn:{n % 2}", "feedback_type": "t", "payload": {"n": n}, "creator": "ana" if n else ""})
        for n in range(25)
    ]
    assert [row["payload"]["n"] for row in rows(run.ok("query"))] == list(range(20))
    assert len(rows(run.ok("query", "--all"))) == 25
    assert [row["payload"]["n"] for row in rows(run.ok("query", "payload.n >= 23", "--order", "-payload.n"))] == [
        24,
        23,
    ]
    assert run.ok("query", "payload.n = 3", "-o", "id") == f"{made[3].id}\n"
    assert run.ok("query", "payload.n in [3, 4]", "-o", "payload") == '{"n":3}\n{"n":4}\n'
    assert [row["id"] for row in json.loads(run.ok("query", "-o", "json", "-n", "2"))] == [made[0].id, made[1].id]
    assert json.loads(run.ok("query", "-o", "json", "payload.n = 99")) == []
    table = list(csv.DictReader(run.ok("query", "-o", "csv", "--fields", "id,type,payload.n", "-n", "1").splitlines()))
    assert table == [{"id": made[0].id, "type": "t", "payload.n": "0"}]
    assert rows(run.ok("query", "--fields", "id,payload.n,creator", "-n", "1")) == [
        {"id": made[0].id, "payload.n": 0, "creator": ""}
    ]
    client.create({"ref": "urn:2", "feedback_type": "=cmd()"})
    assert run.ok("query", "-o", "csv", "--fields", "type", "--ref", "urn:2") == "type\r\n=cmd()\r\n"
    assert run.ok("query", "-o", "csv", "--fields", "type", "--ref", "urn:2", "--excel") == "type\r\n'=cmd()\r\n"
    assert run("query", "--excel").code == 2
    run.ok("purge", 'ref = "urn:2"', "--yes")
    assert run.ok("count", 'creator = "ana"') == "24\n"
    assert run.ok("count", "--ref", "urn:1", "--creator", "ana", "--type", "t", "--since", "1h") == "12\n"
    assert run.ok("count", "--until", "2020-01-01") == "0\n"
    assert rows(run.ok("refs")) == [{"ref": "urn:0", "feedback_count": 13}, {"ref": "urn:1", "feedback_count": 12}]
    assert run.ok("refs", "payload.n = 1", "-o", "id") == "urn:1\n"
    explained = json.loads(run.ok("query", "payload.n > 1 or not exists(creator)", "--explain"))
    assert plaudit.Query.from_dict(explained) == plaudit.Query.from_text("payload.n > 1 or not exists(creator)")
    assert run.ok("purge", "payload.n >= 20", "--yes") == "5 records purged\n"
    assert run.ok("count") == "20\n"


def test_groups_and_agreement(run: Plaudit, running: RunningServer, project: str) -> None:
    for unit, creator, value in ((1, "a", 1), (1, "b", 1), (2, "a", 0), (2, "b", 1)):
        payload = {"v": value}
        running.client(project).create(
            {"ref": f"urn:{unit}", "feedback_type": "t", "payload": payload, "creator": creator}
        )
    assert rows(run.ok("aggregate", "--by", "creator", "-m", "m=mean(payload.v)", "--sort", "creator")) == [
        {"creator": "a", "m": 0.5, "row_count": 2},
        {"creator": "b", "m": 1.0, "row_count": 2},
    ]
    [day] = rows(run.ok("aggregate", "--by", "d=day(created_at, Europe/Berlin)", "-m", "percentile(payload.v, 50)"))
    assert (day["percentile_v"], day["row_count"]) == (1.0, 4)
    found = run.ok("aggregate", "--by", "ref", "-m", "m=mean(payload.v)", "--having", "m < 1")
    assert [row["ref"] for row in rows(found)] == ["urn:2"]
    [agreement] = rows(run.ok("agreement", "payload.v", "--rater", "creator"))
    assert (agreement["percent_agreement"], agreement["rater_count"]) == (0.5, 2)
    assert run("aggregate", "-m", "median(payload.v)").code == 2
    assert run("aggregate", "--by", "moon(created_at)").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["query", "a == 1"], 2, "write = for equal at character 3"),
        (["query", "nothing = 1"], 2, "unknown field"),
        (["query", "--since", "yesterday"], 2, "--since is a time"),
        (["query", "--fields", "nothing"], 2, "no field"),
        (["query", "--order", "nothing"], 2, "unknown field"),
        (["get", NOBODY], 3, "FEEDBACK_NOT_FOUND"),
        (["add", "no URI", "t"], 2, "a ref is an absolute URI"),
        (["add", "urn:x", "t", "payload"], 2, "KEY=VALUE"),
        (["add", "urn:x", "t", "n:=01"], 2, "is no JSON"),
        (["add", "urn:x", "t", "--payload", "[]"], 2, "--payload"),
        (["add", "urn:x", "wandb.note.1", "x=y"], 1, "payload.note"),
        (["purge"], 2, "give ids, or a condition"),
        (["query", "-t", "127.0.0.1:1", "--timeout", "0.3"], 5, "plaudit: "),
        (["query", "-p", "nonsense"], 2, "entity/project"),
        (["query", "--context", "nowhere"], 2, "there is no context"),
        (["unknown"], 2, "No such command"),
        (["query", "--unknown"], 2, "No such option"),
        (["import", "nowhere.jsonl"], 2, "nowhere.jsonl"),
        (["import", "x", "--from", "nobody"], 2, "there is no importer"),
        (["export", "--resume"], 2, "--resume needs a file"),
    ],
)
def test_what_fails_is_one_line_and_a_code(run: Plaudit, arguments: list[str], code: int, text: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert text in done.err
    assert "Traceback" not in done.err
    as_json = run("--json-errors", *arguments)
    assert as_json.code == code
    error = json.loads(as_json.err)["error"]
    assert error["code"]
    assert error["message"]


def test_a_key_that_is_not_good_is_not_permitted(run: Plaudit, tmp_path: Path) -> None:
    with servers(f"sqlite:{tmp_path / 'plaudit.db'}", count=1) as secured:
        target, [(_, bearer)] = secured.running[0].target, secured.bearer("alice")
        asked = ["count", "-t", target, "-p", "acme/chat"]
        file = tmp_path / "key"
        file.write_text("plaudit_wrong")
        assert run(*asked, "--api-key-file", str(file)).code == 4
        assert run(*asked).code == 4
        file.write_text(str(bearer).removeprefix("Bearer "))
        assert run(*asked, "--api-key-file", str(file)).code == 0
        assert run(*asked, "-p", "other/project", "--api-key-file", str(file)).code == 4

        rows = tmp_path / "rows.jsonl"
        rows.write_text(
            '{"id":"01931c2e-5a60-7cc1-a9d8-fd1f1e0e0c11","ref":"urn:x","feedback_type":"t","user_id":"u",'
            '"created_at":"2026-11-28T10:55:01Z","updated_at":"2026-11-28T10:55:01Z","version":1}\n'
        )
        refused = run("import", str(rows), "-t", target, "-p", "other/project", "--api-key-file", str(file))
        assert (refused.code, "PERMISSION_DENIED" in refused.err, "new 0" in refused.err) == (4, True, True)


def test_contexts_keep_servers_and_never_show_a_key(
    run: Plaudit, running: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PLAUDIT_TARGET")
    monkeypatch.delenv("PLAUDIT_PROJECT")
    monkeypatch.setenv("PLAUDIT_CONFIG_FILE", str(tmp_path / "folder" / "config.toml"))
    assert run("count").code == 2
    run.ok("context", "add", "here", "--target", running.target, "--project", "cli/context")
    run.ok("context", "add", "tls", "--target", "example.org:443", "--tls", "--api-key-command", 'vault "read x"')
    run.ok("note", "urn:x", "by the context")
    assert run.ok("count") == "1\n"
    assert run("count", "--context", "tls", "--timeout", "0.2").code == 2, "it has no project"
    listed = rows(run.ok("context", "list"))
    assert [(each["name"], each["current"], each["target"]) for each in listed] == [
        ("here", True, running.target),
        ("tls", False, "https://example.org:443"),
    ]
    secret = "plaudit_0123456789abcdefghij"
    run.ok("login", stdin=f"{secret}\n")
    [shown] = rows(run.ok("context", "show"))
    assert secret not in json.dumps(shown)
    file = Path(shown["api_key_file"])
    assert file.read_text() == f"{secret}\n"
    for private in (file, tmp_path / "folder" / "config.toml"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert run.ok("count") == "1\n"
    monkeypatch.setenv("PLAUDIT_PROJECT", "cli/other")
    assert run.ok("count") == "0\n", "the environment comes before the context"
    assert run.ok("count", "-p", "cli/context") == "1\n"
    run.ok("context", "use", "tls")
    run.ok("context", "remove", "here")
    assert [each["name"] for each in rows(run.ok("context", "list"))] == ["tls"]
    assert run("context", "use", "here").code == 2
    assert run("context", "add", "two words").code == 2
    (tmp_path / "folder" / "config.toml").write_text('[context.x]\nunknown = "1"\n')
    assert "no setting 'unknown'" in run("count").err


def test_a_key_goes_to_its_own_server_alone(run: Plaudit, monkeypatch: pytest.MonkeyPatch) -> None:
    from plaudit._cli import connection, options

    monkeypatch.delenv("PLAUDIT_TARGET")
    run.ok("context", "add", "a", "--target", "a.example:1", "--api-key-file", "/keys/a", "--ca-file", "/ca.pem")

    def settings(**flags: str) -> dict[str, Any]:
        monkeypatch.setattr(options, "_GIVEN", [options.Flags(**flags)])  # type: ignore[arg-type]
        return connection.settings()[1]

    assert settings() == {"target": "a.example:1", "api_key_file": "/keys/a", "ca_file": "/ca.pem"}
    assert settings(target="b.example:1") == {"target": "b.example:1"}
    assert settings(target="b.example:1", api_key_file="/keys/b")["api_key_file"] == "/keys/b"
    monkeypatch.setenv("PLAUDIT_API_KEY", "of-the-environment")
    assert "api_key_file" not in settings()


def test_info(run: Plaudit) -> None:
    [info] = rows(run.ok("info"))
    assert (info["store"], info["caller"], info["credential"]) == ("sqlite", "anonymous", "none")
    assert info["limits"]["query_nodes"] > 0


def test_changes_as_they_happen(run: Plaudit, running: RunningServer, project: str) -> None:
    client = running.client(project)
    first = client.create({"ref": "urn:x", "feedback_type": "t", "payload": {"n": 1}})
    client.update(first.id, {"n": 2})
    client.create({"ref": "urn:x", "feedback_type": "other"})
    client.purge([first.id])
    timer = threading.Timer(0.2, lambda: client.create({"ref": "urn:x", "feedback_type": "t"}))
    timer.start()
    seen = rows(run.ok("watch", "--type", "t", "--after", "0", "-n", "2"))
    timer.join()
    assert [(change["change"], change["revision"]) for change in seen] == [("purged", 4), ("created", 5)]
    assert seen[0]["tombstone"]["id"] == first.id


def test_on_a_terminal_it_is_a_table_in_which_texts_are_harmless(running: RunningServer, project: str) -> None:
    client = running.client(project)
    client.create(
        {"ref": "urn:x", "feedback_type": "wandb.note.1", "payload": {"note": "evil \x1b]0;title\x07\x9b31m[b]"}}
    )
    client.create({"ref": "urn:x", "feedback_type": "t", "creator": "x\u202eevil"})
    env = {"PLAUDIT_TARGET": running.target, "PLAUDIT_PROJECT": project}
    table = on_a_terminal("query", COLUMNS="200", **env)
    assert table.code == 0
    assert "━" in table.out
    assert "evil ␛]0;title" in table.out
    assert "\x1b[" in table.out, "headings are bold"
    plain = on_a_terminal("query", "-o", "jsonl", NO_COLOR="1", **env)
    assert len(rows(plain.out.replace("\r", ""))) == 2
    for done in (table, plain):
        assert "\x9b" not in done.out
        assert "\x1b]" not in done.out
        assert "\u202e" not in done.out
    assert "\x1b" not in plain.out


def test_a_purge_asks_on_a_terminal(running: RunningServer, project: str) -> None:
    client = running.client(project)
    client.create({"ref": "urn:x", "feedback_type": "t"})
    env = {"PLAUDIT_TARGET": running.target, "PLAUDIT_PROJECT": project, "NO_COLOR": "1"}
    done = on_a_terminal("purge", 'feedback_type = "t"', typed="n\n", **env)
    assert (done.code, client.count()) == (1, 1)
    assert "Purge 1 records for good?" in done.out
    assert "nothing was purged" in done.out


def test_a_reader_that_has_enough_is_no_failure(running: RunningServer, project: str) -> None:
    client = running.client(project)
    list(client.create_batch([{"ref": "urn:x", "feedback_type": "t", "payload": {"n": n}} for n in range(5_000)]))
    env = {**os.environ, "PLAUDIT_TARGET": running.target, "PLAUDIT_PROJECT": project}
    command = [sys.executable, "-m", "plaudit", "export"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


SHELLS = {
    "bash": """
        source <(plaudit completion bash)
        COMP_WORDS=(plaudit ag) COMP_CWORD=1
        _plaudit_completion plaudit ag plaudit
        echo "${COMPREPLY[@]}"
    """,
    # Within a function of zsh's own completion the script would be asked by it; here by stand-ins for what it calls.
    "zsh": """
        compdef() { :; }
        compadd() { :; }
        _describe() { print -r -- "${(P)2}" "${(P)3}"; }
        source <(plaudit completion zsh)
        words=(plaudit ag) CURRENT=2
        _plaudit_completion
    """,
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, tmp_path: Path) -> None:
    program = tmp_path / "plaudit"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m plaudit "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([shell, "-c", SHELLS[shell]], env=env, check=True, capture_output=True, text=True)
    assert "aggregate" in done.stdout
    assert "agreement" in done.stdout
    assert "query" not in done.stdout
