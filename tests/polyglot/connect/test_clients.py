"""The npm packages, packed and installed as their users do, in Node and in a real Chromium, against a real server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import plaudit
from plaudit.tokens import mint
from plaudit_server.config import Auth, Config, Tokens
from plaudit_server.store.base import SqlEngine
from plaudit_server.testing import RunningServer
from plaudit_server.tokens.keyring import KeyScope, signing_key
from plaudit_server.tokens.stored import StoredTokens
from tests.service.web import web_server

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build/polyglot/npm"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
KEY = signing_key(bytes(32), "web")
CALLS = {"unary", "read", "error with details", "query", "server stream", "live watch", "abort", "deadline"}

pytestmark = pytest.mark.timeout(1200)


def npm(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    command = ["npm", "--no-audit", "--no-fund", *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def scripts() -> Path:
    """The tests' scripts beside an installation of the packed packages."""
    web, elements = ROOT / "client/web", ROOT / "client/elements"
    npm(web, "ci")
    npm(web, "run", "generate")
    npm(web, "run", "build")
    npm(elements, "ci")
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    for package in (web, elements):
        npm(package, "pack", "--pack-destination", str(BUILD))
    pins = json.loads((web / "package.json").read_text())
    tools = json.loads((elements / "package.json").read_text())["devDependencies"]
    packed = {f"@plaudit/{path.name.split('-')[1]}": f"file:{path.name}" for path in BUILD.glob("*.tgz")}
    assert sorted(packed) == ["@plaudit/client", "@plaudit/reactions"]
    developed = {name: pins["devDependencies"][name] for name in ("@connectrpc/connect-node", "esbuild", "typescript")}
    manifest = {"type": "module", "private": True, "dependencies": {**packed, **developed, **tools}}
    (BUILD / "package.json").write_text(json.dumps(manifest))
    npm(BUILD, "install")
    for script in (HERE / "npm").iterdir():
        shutil.copy(script, BUILD)
    return BUILD


@pytest.fixture(scope="module")
def page_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, page_port: int) -> Iterator[RunningServer]:
    master = tmp_path_factory.mktemp("master") / "secret"
    master.write_text(bytes(32).hex())
    config = Config(tokens=Tokens(str(master), 10_000, 10_000), auth=Auth(key_refresh_seconds=0.05))
    with web_server(config, origins=(f"http://127.0.0.1:{page_port}",)) as running:
        assert isinstance(running.server.store, SqlEngine)
        types = ("wandb.reaction.1", "answer.rating")
        running.run(StoredTokens(running.server.store).add(KeyScope("web", ("acme/*",), types, 30, 0, 1)))
        time.sleep(0.3)  # until the key has been read
        yield running


def node(scripts: Path, script: str, asked: dict[str, Any]) -> Any:
    command = ["node", script, json.dumps(asked)]
    run = subprocess.run(command, cwd=scripts, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def all_done(done: dict[str, Any]) -> None:
    for client, calls in done.items():
        assert set(calls) == CALLS, client
        assert {name: outcome for name, outcome in calls.items() if outcome is not True} == {}, client


def test_the_packages_pass_their_own_tests(scripts: Path) -> None:
    npm(ROOT / "client/web", "test")
    npm(ROOT / "client/web", "run", "sizes", "--", "--check")


def test_a_program_in_typescript(scripts: Path) -> None:
    # One copy of protobuf, shared with Connect: of two, neither's types fit the other's.
    assert not (scripts / "node_modules/@plaudit/client/node_modules").exists()
    npm(scripts, "exec", "--", "tsc", "--project", ".")


def test_the_clients_of_node(scripts: Path, running: RunningServer) -> None:
    http = f"http://{running.server.http_address}"
    done = node(scripts, "node.js", {"http": http, "grpc": f"http://{running.target}", "project": "acme/node"})
    assert len(done) == 6
    all_done(done)


def test_chromium_on_a_page_of_another_origin(scripts: Path, running: RunningServer, page_port: int) -> None:
    http = f"http://{running.server.http_address}"
    ref = "weave:///acme/chat/call/1"
    reaction = mint(KEY, project="acme/chat", ref=ref, types="wandb.reaction.1", user="user-17")
    rating = mint(KEY, project="acme/chat", ref=ref, types="answer.rating", user="user-17")
    mail = mint(KEY, project="acme/chat", ref=ref, types="wandb.reaction.1", user="mail", payload={"emoji": "🎉"})
    asked = {
        "http": http, "page": page_port, "project": "acme/page", "reaction": reaction, "rating": rating,
        "mail": f"{http}/f/{mail}", "chromium": CHROMIUM,
    }  # fmt: skip
    done = node(scripts, "browser.js", asked)
    components, axe, title = done.pop("components"), done.pop("axe"), done.pop("mail")
    assert done.pop("mailScripts") is False
    assert len(done) == 3
    all_done(done)

    assert components["errors"] == []
    assert components["pressed"] == "true"
    good, bad, by_key, taken_back, rated = components["steps"]
    assert (good[0], good[2]) == ("👍", 1)
    assert (bad[0], bad[1], bad[2]) == ("👎", good[1], 2)
    assert (by_key[0], by_key[1], by_key[2]) == ("👍", good[1], 3)
    assert taken_back == ["", "", 0]
    assert rated[0] == 4
    assert components["value"] == ["", 4]
    assert axe == []
    assert title == "Thank you"

    # Counted on the server: one record was made of the reactions, of three versions, and what is left is a tombstone.
    client = running.client()
    client_of_user = plaudit.field("user_id") == "token:user-17"
    assert [record.feedback_type for record in client.get_feedback(client_of_user)] == ["answer.rating"]
    assert client.history(good[1]).tombstone is not None
    assert [r.payload["emoji"] for r in client.get_feedback(plaudit.field("user_id") == "token:mail")] == ["🎉"]
