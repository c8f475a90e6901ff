"""The command line: settings in force, keys, errors in one line, and a server that uses them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    GetServerInfoRequest,
    PurgeFeedbackRequest,
    ReplaceFeedbackRequest,
)
from plaudit_server.cli.main import cli
from plaudit_server.config import SETTINGS
from tests.service.certificates import channel_credentials, make
from tests.service.process import server_process
from tests.service.secured import bearer
from tests.service.status import refusal

REF = "weave:///acme/chat/call/1"


def run(*arguments: str, **environment: str) -> Result:
    """A command in this process, without settings from the tests' own environment."""
    clean = {name: None for name in os.environ if name.startswith("PLAUDIT_")}
    return CliRunner().invoke(cli, arguments, env={**clean, **environment})


def made_key(store: Path, *arguments: str) -> str:
    made = run("keys", "create", *arguments, "--store", f"sqlite:{store}")
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "-h"), ("config", "-h"), ("keys", "create", "-h")])
def test_help_explains_itself(arguments: tuple[str, ...]) -> None:
    shown = run(*arguments)
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_the_help_of_serve_has_every_setting_with_flag_and_variable() -> None:
    words = " ".join(run("serve", "--help").output.split())
    for setting in SETTINGS:
        assert setting.flag in words
        assert setting.variable in words.replace(" ", "")


def test_help_loads_neither_grpc_nor_a_database() -> None:
    code = (
        "import sys\nfrom plaudit_server.cli.main import cli\n"
        "try: cli(['serve', '--help'])\nexcept SystemExit: pass\n"
        "loaded = {'grpc', 'apsw', 'uvloop', 'google', 'jwt', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(f'{loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"plaudit-server, version \d+\.\d+\.\S+\n", run("--version").output)


def test_config_prints_what_is_in_force_and_from_where() -> None:
    shown = run("config", "--log-level", "error", PLAUDIT_STORE="postgresql://u:geheim@h/db")
    assert shown.exit_code == 0
    assert 'store = "postgresql://u:***@h/db"  # PLAUDIT_STORE' in shown.output
    assert 'log_level = "error"  # --log-level' in shown.output
    assert 'listen = "127.0.0.1:50051"  # default' in shown.output
    assert "geheim" not in shown.output


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (("serve", "--listen", "0.0.0.0:1"), {}, "say --insecure"),
        (("serve", "--config", "/nowhere.toml"), {}, "/nowhere.toml: cannot be read"),
        (("serve", "--store", "mysql:x"), {}, "unknown store"),
        (("serve",), {"PLAUDIT_STROE": "x"}, "unknown variable PLAUDIT_STROE"),
        (("serve", "--tls-certificate", "/nowhere.pem"), {}, "go together"),
        (("config", "--limits-in-flight-calls", "0"), {}, "use 1 to 4096"),
        (("keys", "list", "--store", "mysql:x"), {}, "unknown store"),
        (("keys", "create", "a", "--role", "reader", "--project", "acme"), {}, "'acme' is no project pattern"),
        (("keys", "create", "", "--role", "reader", "--project", "*"), {}, "cannot be a principal's name"),
    ],
)
def test_what_an_operator_can_repair_is_one_line_and_exit_code_1(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run(*arguments, **environment)
    assert (refused.exit_code, refused.stdout) == (1, "")
    [line] = refused.stderr.splitlines()
    assert line.startswith("plaudit-server: ")
    assert told in line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_flag_is_a_usage_error() -> None:
    refused = run("serve", "--stoer", "x")
    assert refused.exit_code == 2
    assert "No such option" in refused.output


def test_keys_are_made_listed_and_revoked_and_shown_once(tmp_path: Path) -> None:
    store = tmp_path / "plaudit.db"
    key = made_key(store, "judge", "--role", "writer", "--project", "acme/*", "--project", "beta/one")
    id = key.split("_")[1]
    listed = run("keys", "list", "--store", f"sqlite:{store}").stdout
    assert listed.startswith(f"{id}\tjudge\twriter\tacme/*,beta/one\tvalid since 20")
    assert key.split("_", 2)[2] not in listed
    assert run("keys", "revoke", id, "--store", f"sqlite:{store}").exit_code == 0
    assert "\trevoked 20" in run("keys", "list", "--store", f"sqlite:{store}").stdout
    unknown = run("keys", "revoke", "nobody", "--store", f"sqlite:{store}")
    assert (unknown.exit_code, "there is no key nobody" in unknown.stderr) == (1, True)


def test_a_key_with_days_ends(tmp_path: Path) -> None:
    store = tmp_path / "plaudit.db"
    made_key(store, "brief", "--role", "reader", "--project", "*", "--days", "30")
    assert "\texpires 20" in run("keys", "list", "--store", f"sqlite:{store}").stdout


def test_secured_by_keys_a_server_lets_writers_change_their_own_records_alone(tmp_path: Path) -> None:
    store, audit = tmp_path / "plaudit.db", tmp_path / "audit.jsonl"
    ana = bearer(made_key(store, "ana", "--role", "writer", "--project", "acme/*"))
    ben = bearer(made_key(store, "ben", "--role", "writer", "--project", "acme/*"))
    editor = bearer(made_key(store, "eve", "--role", "editor", "--project", "acme/*"))
    project = "acme/chat"
    flags = ("--auth-api-keys", "--audit-log", str(audit))
    with server_process(store, "127.0.0.1:0", *flags) as server, grpc.insecure_channel(server.target) as channel:
        stub = FeedbackServiceStub(channel)
        made = stub.CreateFeedback(
            CreateFeedbackRequest(project=project, feedback=Feedback(ref=REF, feedback_type="custom")), metadata=ana
        ).feedback
        assert made.user_id == "ana"
        replace = ReplaceFeedbackRequest(
            project=project, feedback=Feedback(id=made.id, ref=REF, feedback_type="custom", payload_json='{"a": 1}')
        )
        purge = PurgeFeedbackRequest(project=project, ids=[made.id])
        for attempt in (stub.ReplaceFeedback, stub.PurgeFeedback):
            request = replace if attempt is stub.ReplaceFeedback else purge
            refused = refusal(lambda attempt=attempt, request=request: attempt(request, metadata=ben))  # type: ignore[misc]
            assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert stub.ReplaceFeedback(replace, metadata=ana).feedback.version == 2
        assert stub.PurgeFeedback(purge, metadata=editor).purged_count == 1
        assert refusal(lambda: stub.CountFeedback(CountFeedbackRequest(project=project))).code is (
            grpc.StatusCode.UNAUTHENTICATED
        )
    lines = [json.loads(line) for line in audit.read_text("utf-8").splitlines()]
    assert [(line["rpc"], line["user_id"], line["code"]) for line in lines] == [
        ("CreateFeedback", "ana", "OK"),
        ("ReplaceFeedback", "ben", "PERMISSION_DENIED"),
        ("PurgeFeedback", "ben", "PERMISSION_DENIED"),
        ("ReplaceFeedback", "ana", "OK"),
        ("PurgeFeedback", "eve", "OK"),
        ("CountFeedback", None, "UNAUTHENTICATED"),
    ]


def test_a_key_made_and_revoked_while_the_server_runs_is_seen(tmp_path: Path) -> None:
    store = tmp_path / "plaudit.db"
    flags = ("--auth-api-keys", "--auth-key-refresh-seconds", "0.05")
    with server_process(store, "127.0.0.1:0", *flags) as server, grpc.insecure_channel(server.target) as channel:
        stub = FeedbackServiceStub(channel)
        key = made_key(store, "late", "--role", "reader", "--project", "*")

        def seen() -> bool:
            try:
                stub.GetServerInfo(GetServerInfoRequest(), metadata=bearer(key))
            except grpc.RpcError:
                return False
            return True

        def becomes(wanted: bool) -> bool:
            deadline = time.monotonic() + 5
            while seen() is not wanted and time.monotonic() < deadline:
                time.sleep(0.02)
            return seen() is wanted

        assert becomes(True)
        run("keys", "revoke", key.split("_")[1], "--store", f"sqlite:{store}")
        assert becomes(False)


def test_a_server_with_tls_from_a_file_of_settings_takes_certificates_as_principals(tmp_path: Path) -> None:
    authority = make("authority")
    certificate, key = make("server", authority).write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    settings = tmp_path / "plaudit.toml"
    settings.write_text(
        f"""
        [tls]
        certificate = "{certificate}"
        private_key = "{key}"
        client_ca = "{tmp_path / "ca.pem"}"

        [[auth.grants]]
        principal = "spiffe://mesh/*"
        role = "writer"
        projects = ["acme/*"]
        """
    )
    client = channel_credentials(authority, make("c", authority, uris=("spiffe://mesh/judge",)))
    with (
        server_process(tmp_path / "plaudit.db", "127.0.0.1:0", "--config", str(settings)) as server,
        grpc.secure_channel(server.target, client) as channel,
    ):
        feedback = [Feedback(ref=REF, feedback_type="custom")]
        stored = FeedbackServiceStub(channel).BatchCreateFeedback(
            BatchCreateFeedbackRequest(project="acme/chat", feedback=feedback)
        )
    assert stored.results[0].feedback.user_id == "spiffe://mesh/judge"


def test_without_authentication_beyond_this_machine_insecure_warns_and_serves(tmp_path: Path) -> None:
    with server_process(tmp_path / "plaudit.db", "0.0.0.0:0", "--insecure") as server:
        port = server.target.rpartition(":")[2]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            FeedbackServiceStub(channel).GetServerInfo(GetServerInfoRequest())
        assert "warning: everybody who reaches 0.0.0.0:0 can read and purge everything" in server.log[0]
