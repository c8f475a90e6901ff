"""Feedback tokens on PostgreSQL: two servers of one store make the same ids, and count the same uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plaudit.tokens import mint
from plaudit_server.config import Auth, Config, Http, Tokens
from plaudit_server.store.base import SqlEngine
from plaudit_server.store.url import open_store
from plaudit_server.testing import RunningServer, server
from plaudit_server.tokens.keyring import KeyScope, signing_key
from plaudit_server.tokens.stored import StoredTokens
from tests.postgres.cluster import Database
from tests.service.web import call, until

SUBMIT = "/plaudit.v1.SubmitService/"
KEY = signing_key(bytes(32), "web")


def submit(running: RunningServer, token: str, emoji: str) -> Any:
    feedback = {"payloadJson": json.dumps({"emoji": emoji})}
    return call(running, SUBMIT + "SubmitFeedback", {"feedback": feedback}, authorization=f"Bearer {token}").json


def test_two_servers_count_the_same_uses(database: Database, tmp_path: Path) -> None:
    (tmp_path / "master").write_text(bytes(32).hex())
    config = Config(
        http=Http("127.0.0.1:0"),
        tokens=Tokens(str(tmp_path / "master"), 10_000, 10_000),
        auth=Auth(key_refresh_seconds=0.05),
    )
    token = mint(KEY, project="acme/chat", ref="urn:x", types="wandb.reaction.1", user="u")

    def get(running: RunningServer) -> Any:
        return call(running, SUBMIT + "GetSubmission", {}, authorization=f"Bearer {token}")

    with server(open_store(database.url), config) as a, server(open_store(database.url), config) as b:
        assert isinstance(a.server.store, SqlEngine)
        stored = StoredTokens(a.server.store)
        scope = KeyScope("web", ("acme/*",), ("wandb.reaction.1",), 30, 0, 1)
        assert a.run(stored.add(scope))
        assert not a.run(stored.add(scope))
        until(lambda: get(a).status == get(b).status == 200)
        first = submit(a, token, "👍")["feedback"]
        assert submit(b, token, "👍")["feedback"]["version"] == "1"
        second = submit(b, token, "👎")["feedback"]
        assert (second["id"], second["version"]) == (first["id"], "2")
        assert get(a).json["feedback"][0]["payloadJson"] == get(b).json["feedback"][0]["payloadJson"]
        retracted = call(a, SUBMIT + "RetractFeedback", {}, authorization=f"Bearer {token}").json
        assert retracted == {"retractedCount": 1, "remainingCount": 2}
        assert submit(b, token, "👍")["feedback"]["id"] != first["id"]
        listed = call(b, "/plaudit.v1.ProjectService/ListProjects", {}).json["projects"]
        assert [project["name"] for project in listed] == ["acme/chat"]
        a.run(stored.revoke_key("web", 1))
        until(lambda: get(a).status == get(b).status == 401)
