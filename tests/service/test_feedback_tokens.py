"""Feedback tokens on a real server: what their bearers may do, counted by what is stored, and how they end."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import plaudit
from plaudit._contract.feedback_tokens import PREFIX, SigningKey
from plaudit.tokens import mint
from plaudit_server.auth.keys import new_key
from plaudit_server.auth.keystore import StoredKeys
from plaudit_server.auth.tls import certificate_principal
from plaudit_server.cli.main import cli
from plaudit_server.config import Auth, Config, Tokens
from plaudit_server.config.grants import NamedGrant, Role
from plaudit_server.errors import Unauthenticated
from plaudit_server.store.base import SqlEngine
from plaudit_server.testing import RunningServer
from plaudit_server.tokens.keyring import KeyScope, signing_key
from plaudit_server.tokens.stored import StoredTokens
from tests.service.web import Answer, ask, call, until, web_server

SUBMIT = "/plaudit.v1.SubmitService/"
TOKEN = "/plaudit.v1.TokenService/"
MASTER = bytes(range(32))
KEY = signing_key(MASTER, "web")
REF = "weave:///acme/chat/call/1"
REACTION = "wandb.reaction.1"


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("master") / "secret"
    path.write_text(MASTER.hex())
    return str(path)


def tokens_of(running: RunningServer) -> StoredTokens:
    assert isinstance(running.server.store, SqlEngine)
    return StoredTokens(running.server.store)


def add_key(running: RunningServer, id: str = "web", per_minute: int = 0) -> SigningKey:
    scope = KeyScope(
        id, ("acme/*",), (REACTION, "wandb.note.1", "answer.rating"), 30, per_minute, time.time_ns() // 1000
    )
    assert running.run(tokens_of(running).add(scope))
    key = signing_key(MASTER, id)
    token = mint(key, project="acme/chat", ref="urn:probe", types=REACTION)
    until(lambda: get(running, token).status == 200)
    return key


@pytest.fixture(scope="module")
def running(master: str) -> Iterator[RunningServer]:
    config = Config(tokens=Tokens(master, 100_000, 100_000), auth=Auth(key_refresh_seconds=0.05))
    with web_server(config, public_url="https://feedback.acme.dev") as running:
        add_key(running)
        yield running


def token_of(**changes: Any) -> str:
    given: dict[str, Any] = {"project": "acme/chat", "ref": REF, "types": REACTION, "user": "user-17"}
    return mint(KEY, **(given | changes))


def submit(running: RunningServer, token: str, payload: Any = None, **more: Any) -> Answer:
    feedback = {**({} if payload is None else {"payloadJson": json.dumps(payload)}), **more}
    return call(running, SUBMIT + "SubmitFeedback", {"feedback": feedback}, authorization=f"Bearer {token}")


def get(running: RunningServer, token: str) -> Answer:
    return call(running, SUBMIT + "GetSubmission", {}, authorization=f"Bearer {token}")


def retract(running: RunningServer, token: str) -> Answer:
    return call(running, SUBMIT + "RetractFeedback", {}, authorization=f"Bearer {token}")


def reason(answer: Answer) -> str:
    return str(next(d["debug"]["reason"] for d in answer.json["details"] if d["type"] == "google.rpc.ErrorInfo"))


def stored_of(running: RunningServer, user: str) -> list[plaudit.Feedback]:
    return list(running.client().get_feedback(plaudit.field("user_id") == f"token:{user}"))


def test_one_user_one_record_whatever_is_pressed(running: RunningServer) -> None:
    token = token_of(user="one")
    first = submit(running, token, {"emoji": "👍"}).json["feedback"]
    assert (first["userId"], first["ref"], first["version"]) == ("token:one", REF, "1")
    again = submit(running, token, {"emoji": "👍"}).json["feedback"]
    assert (again["id"], again["version"]) == (first["id"], "1")
    other = submit(running, token, {"emoji": "👎"}).json["feedback"]
    assert (other["id"], other["version"]) == (first["id"], "2")
    assert submit(running, token, {"emoji": "👍"}).json["feedback"]["version"] == "3"
    [record] = stored_of(running, "one")
    assert (record.id, record.version, record.payload["emoji"]) == (first["id"], 3, "👍")
    assert get(running, token).json["feedback"][0]["id"] == first["id"]
    assert retract(running, token).json == {"retractedCount": 1, "remainingCount": 2}
    assert stored_of(running, "one") == []
    history = running.client().history(first["id"])
    assert history.tombstone is not None
    assert "feedback" not in get(running, token).json
    assert retract(running, token).json == {"remainingCount": 2}


def test_an_id_is_never_used_twice_and_their_number_is_bounded(running: RunningServer) -> None:
    token = token_of(user="many")
    ids = []
    for _ in range(3):
        ids.append(submit(running, token, {"emoji": "👍"}).json["feedback"]["id"])
        retract(running, token)
    assert len(set(ids)) == 3
    answer = submit(running, token, {"emoji": "👍"})
    assert (answer.status, reason(answer)) == (400, "LIMIT_REACHED")
    assert "retry-after" not in answer.headers


def test_versions_are_bounded_but_the_same_again_is_answered(running: RunningServer) -> None:
    token = token_of(user="flips")
    for flip in range(20):
        assert submit(running, token, {"emoji": "👍👎"[flip % 2]}).status == 200
    assert submit(running, token, {"emoji": "👎"}).json["feedback"]["version"] == "20"
    answer = submit(running, token, {"emoji": "👍"})
    assert (answer.status, reason(answer)) == (400, "LIMIT_REACHED")
    assert stored_of(running, "flips")[0].version == 20


def test_two_tokens_are_two_users(running: RunningServer) -> None:
    a, b = token_of(user="two"), token_of(user="two")
    ids = {submit(running, token, {"emoji": "👍"}).json["feedback"]["id"] for token in (a, b)}
    assert len(ids) == 2


@pytest.mark.parametrize(("more", "code"), [
    ({"feedbackType": "wandb.note.1"}, "permission_denied"), ({"ref": "urn:other"}, "permission_denied"),
    ({"id": "0192f8d4-0000-7000-8000-000000000000"}, "invalid_argument"),
    ({"project": "acme/chat"}, "invalid_argument"),
    ({"scorerTags": ["a"]}, "invalid_argument"), ({"userId": "admin"}, "invalid_argument"),
    ({"createdAt": "2020-01-01T00:00:00Z"}, "invalid_argument"), ({"payloadJson": "{"}, "invalid_argument"),
    ({"payloadJson": "{}"}, "invalid_argument"),
])  # fmt: skip
def test_what_a_token_does_not_allow(running: RunningServer, more: dict[str, Any], code: str) -> None:
    token = token_of(user="narrow")
    answer = submit(running, token, **{"payloadJson": '{"emoji": "👍"}', **more})
    assert answer.json["code"] == code
    assert stored_of(running, "narrow") == []


def test_what_a_token_allows_may_be_said_again(running: RunningServer) -> None:
    token = token_of(user="again", types=["wandb.note.1", "answer.rating"])
    assert submit(running, token, {"note": "x"}).json["code"] == "permission_denied"  # of which type?
    note = submit(running, token, {"note": "x"}, feedbackType="wandb.note.1", ref=REF, creator="Ada").json["feedback"]
    assert note["creator"] == "Ada"
    submit(running, token, {"rating": 4}, feedbackType="answer.rating")
    assert {one["feedbackType"] for one in get(running, token).json["feedback"]} == {"wandb.note.1", "answer.rating"}
    assert "alias" not in note["payloadJson"]


@pytest.mark.parametrize("token", [
    lambda: token_of()[:-3] + "AAA", lambda: token_of(now=time.time() - 100_000), lambda: "nonsense", lambda: "plk_a_b",
    lambda: mint(signing_key(MASTER, "other"), project="acme/chat", ref=REF, types=REACTION),
    lambda: mint(SigningKey("web", bytes(32)), project="acme/chat", ref=REF, types=REACTION),
    lambda: token_of(project="other/chat"), lambda: token_of(types="mine"),
    lambda: token_of(expires_in=timedelta(days=31)),
])  # fmt: skip
def test_tokens_that_do_not_hold(running: RunningServer, token: Any) -> None:
    answer = submit(running, token(), {"emoji": "👍"})
    assert (answer.status, answer.json["code"], reason(answer)) == (401, "unauthenticated", "UNAUTHENTICATED")


def test_no_token_is_refused_also_where_everybody_else_is_anonymous(running: RunningServer) -> None:
    assert call(running, SUBMIT + "GetSubmission", {}).status == 401


def test_pages_of_other_origins_are_kept_off(running: RunningServer) -> None:
    token = token_of(user="origins", origins=["https://chat.acme.dev"])
    body = {"feedback": {"payloadJson": '{"emoji": "👍"}'}}
    for origin, status in (("https://evil.example", 403), ("https://chat.acme.dev", 200), ("null", 403)):
        answer = call(running, SUBMIT + "SubmitFeedback", body, authorization=f"Bearer {token}", origin=origin)
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == origin  # so that the page can read why


def test_a_revoked_token_and_a_revoked_key_end(running: RunningServer) -> None:
    token, other = token_of(user="ends"), token_of(user="stays")
    assert call(running, TOKEN + "RevokeFeedbackToken", {"project": "acme/chat", "token": token}).status == 200
    until(lambda: submit(running, token, {"emoji": "👍"}).status == 401)
    assert get(running, other).status == 200
    refused = call(running, TOKEN + "RevokeFeedbackToken", {"project": "acme/other", "token": other})
    assert refused.json["code"] == "permission_denied"
    key = add_key(running, "short")
    by_key = mint(key, project="acme/chat", ref=REF, types=REACTION)
    assert get(running, by_key).status == 200
    running.run(tokens_of(running).revoke_key("short", 1))
    until(lambda: get(running, by_key).status == 401)


def test_tokens_made_by_the_server(running: RunningServer) -> None:
    spec = {"ref": REF, "feedbackTypes": [REACTION], "user": "made"}
    mail = {"ref": REF, "feedbackTypes": [REACTION], "payloadJson": '{"emoji": "👍"}', "lifetime": "86400s"}
    answer = call(running, TOKEN + "CreateFeedbackTokens", {"project": "acme/chat", "tokens": [spec, mail]}).json
    assert answer["signingKeyId"] == "web"
    first, second = answer["tokens"]
    assert submit(running, first["token"], {"emoji": "🎉"}).json["feedback"]["userId"] == "token:made"
    assert second["url"] == f"https://feedback.acme.dev/f/{second['token']}"
    assert "url" not in first


@pytest.mark.parametrize(("spec", "field"), [
    ({}, "ref"), ({"feedbackTypes": []}, "feedback_types"), ({"records": 101}, "records"),
    ({"lifetime": "0s"}, "lifetime"), ({"lifetime": "9000000s"}, "lifetime"),
    ({"payloadJson": "{"}, "payload_json"), ({"payloadJson": "[]"}, "payload_json"),
    ({"origins": ["x"]}, "origins"), ({"user": "a\n"}, "user"),
])  # fmt: skip
def test_tokens_that_cannot_be_made(running: RunningServer, spec: dict[str, Any], field: str) -> None:
    asked = {"ref": REF, "feedbackTypes": [REACTION], **spec} if spec else {"feedbackTypes": [REACTION]}
    answer = call(running, TOKEN + "CreateFeedbackTokens", {"project": "acme/chat", "tokens": [asked]})
    [bad] = [d["debug"] for d in answer.json["details"] if d["type"] == "google.rpc.BadRequest"]
    assert bad["fieldViolations"][0]["field"] == f"tokens[0].{field}"


def test_no_key_covers_a_foreign_project(running: RunningServer) -> None:
    tokens = [{"ref": REF, "feedbackTypes": [REACTION]}]
    answer = call(running, TOKEN + "CreateFeedbackTokens", {"project": "other/chat", "tokens": tokens})
    assert answer.json["code"] == "permission_denied"


def test_rates(master: str) -> None:
    config = Config(
        tokens=Tokens(master, token_per_minute=3, address_per_minute=5), auth=Auth(key_refresh_seconds=0.05)
    )
    with web_server(config) as running:
        scope = KeyScope("web", ("acme/*",), (REACTION,), 30, 0, 1)
        assert running.run(tokens_of(running).add(scope))
        time.sleep(0.3)  # until the key is read; a call to find out would be counted
        token = token_of()
        answers = [get(running, token) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert reason(answers[-1]) == "QUOTA_EXCEEDED"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert [get(running, token_of()).status for _ in range(3)] == [200, 200, 429]  # by address
    with web_server(replace(config, tokens=Tokens(master, 100, 100))) as running:
        add_key(running, "slow", per_minute=4)  # which has asked once already, to find out that it is there
        by_key = [mint(signing_key(MASTER, "slow"), project="acme/chat", ref=REF, types=REACTION) for _ in range(6)]
        statuses = [get(running, token).status for token in by_key]
        assert sorted(set(statuses)) == [200, 429]
        assert statuses[-1] == 429


def test_a_key_and_a_token_are_not_taken_for_each_other(master: str) -> None:
    config = Config(tokens=Tokens(master), auth=Auth(api_keys=True, key_refresh_seconds=0.05))
    with web_server(config) as running:
        assert isinstance(running.server.store, SqlEngine)
        text, key = new_key("ci", Role.WRITER, ["acme/*"], 1)
        running.run(StoredKeys(running.server.store).add(key))
        add_key(running)
        token = token_of()
        assert get(running, text).status == 401
        for method in ("CountFeedback", "CreateFeedback"):
            assert call(running, method, {"project": "acme/chat"}, authorization=f"Bearer {token}").status == 401
        tokens = {"project": "acme/chat", "tokens": [{"ref": REF, "feedbackTypes": [REACTION]}]}
        assert call(running, TOKEN + "CreateFeedbackTokens", tokens, authorization=f"Bearer {token}").status == 401
        assert call(running, TOKEN + "CreateFeedbackTokens", tokens, authorization=f"Bearer {text}").status == 200
        assert submit(running, token, {"emoji": "👍"}).status == 200


def test_no_other_credential_has_such_a_name() -> None:
    with pytest.raises(ValueError, match="name"):
        new_key("token:user-17", Role.WRITER, ["*"], 1)
    with pytest.raises(ValueError, match="feedback tokens"):
        NamedGrant("token:user-17", Role.WRITER, ("*",))
    with pytest.raises(Unauthenticated):
        certificate_principal({"x509_pem_cert": [b"..."], "peer_spiffe_id": [b"token:user-17"]})


def test_an_imported_record_never_looks_like_one_of_a_token(running: RunningServer) -> None:
    record = {
        "id": "0192f8d4-0000-7000-8000-00000000abcd", "ref": REF, "feedback_type": "a", "user_id": "token:one",
        "created_at": "2024-01-01T00:00:00Z",
    }  # fmt: skip
    running.client().import_records([record])
    assert running.client().get(record["id"]).user_id == "imported:token:one"


class _Form(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))


def test_a_link_in_a_mail_is_shown_by_get_and_sent_by_post(running: RunningServer) -> None:
    token = token_of(user="mail", payload={"emoji": "👍"})
    for verb in ("GET", "HEAD", "GET"):
        page = ask(running, verb, f"/f/{token}")
        assert page.status == 200
    assert stored_of(running, "mail") == []
    tags = _Form(page.body.decode()).tags
    assert ("form", {"method": "post"}) in tags
    assert not any(tag == "script" or any(name.startswith("on") for name in attributes) for tag, attributes in tags)
    assert "no-store" in page.headers["cache-control"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in page.headers["x-robots-tag"]
    assert "form-action 'self'" in page.headers["content-security-policy"]
    # A page without referrers sends its forms with the origin `null`.
    sent = ask(running, "POST", f"/f/{token}", b"", origin="null")
    assert (sent.status, b"saved" in sent.body) == (200, True)
    assert [record.payload["emoji"] for record in stored_of(running, "mail")] == ["👍"]
    ask(running, "POST", f"/f/{token}", b"")
    assert [record.version for record in stored_of(running, "mail")] == [1]
    assert b"Already there" in ask(running, "GET", f"/f/{token}").body


@pytest.mark.parametrize(
    ("path", "status"), [("/f/", 404), ("/f/x.y.z", 410), ("/f/%00", 404), ("/f/" + "x" * 5000, 404)]
)
def test_links_that_are_none(running: RunningServer, path: str, status: int) -> None:
    assert ask(running, "GET", path).status == status
    assert token_of(payload={}).encode() not in ask(running, "GET", path).body


def test_what_is_embedded_fits_its_hash_and_is_for_every_origin(running: RunningServer) -> None:
    hashes = ask(running, "GET", "/embed/integrity.json").json
    assert sorted(hashes) == ["plaudit-rating.js", "plaudit-reactions.js"]
    for name, integrity in hashes.items():
        answer = ask(running, "GET", f"/embed/{name}", origin="https://anywhere.example")
        assert integrity == "sha384-" + base64.b64encode(hashlib.sha384(answer.body).digest()).decode()
        assert len(gzip.compress(answer.body, 9)) < 2048
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["content-type"].startswith("text/javascript")
        assert ask(running, "GET", f"/embed/{name}", if_none_match=answer.headers["etag"]).status == 304
    assert ask(running, "GET", "/embed/../port.py").status == 404
    assert ask(running, "POST", "/embed/plaudit-rating.js").status == 405


def test_a_server_without_a_master_secret_takes_no_token() -> None:
    with web_server() as running:
        assert get(running, token_of()).status == 401


def test_the_commands(tmp_path: Path) -> None:
    runner = CliRunner()
    store, secret = f"sqlite:{tmp_path / 'p.db'}", str(tmp_path / "master")

    def run(*arguments: str, fails: bool = False) -> str:
        result = runner.invoke(cli, ["tokens", *arguments])
        assert (result.exit_code != 0) == fails, result.output
        return result.output

    given = ("--store", store, "--tokens-master-file", secret)
    assert "cannot be used" in run("list-keys", *given, fails=True)
    run("create-master", secret)
    assert Path(secret).stat().st_mode & 0o077 == 0
    assert "cannot be made" in run("create-master", secret, fails=True)
    made = run("create-key", "web", "--project", "acme/*", "--type", REACTION, "--max-days", "7", *given)
    [text] = [line for line in made.splitlines() if line.startswith(PREFIX)]
    assert SigningKey.parse(text).id == "web"
    assert "already" in run("create-key", "web", "--project", "*", "--type", "a", *given, fails=True)
    assert "days" in run("create-key", "b", "--project", "*", "--type", "a", "--max-days", "91", *given, fails=True)
    assert run("list-keys", *given).split("\t")[:2] == ["web", "acme/*"]
    run("revoke-key", "web", *given)
    assert run("list-keys", *given).strip().endswith("revoked")
    assert "no signing key" in run("revoke-key", "none", *given, fails=True)
    assert "not set" in run("list-keys", "--store", store, fails=True)
