"""Keys, tokens, permission and the audit log over the wire."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from plaudit_server.auth.keys import new_key
from plaudit_server.auth.permission import allowed
from plaudit_server.auth.principals import Principal
from plaudit_server.config import Auth, Config, Jwt
from plaudit_server.config.grants import Grant, NamedGrant, Role
from plaudit_server.errors import StartError
from plaudit_server.resources import registry
from tests.keys import BlockingKeys, opened_keys
from tests.service.secured import SERVICE, Secured, bearer, call, make_store, secured
from tests.service.status import Refusal, refusal

SIGNING_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEXT_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RPCS = [method.name for method in SERVICE.methods]
REFRESH_SECONDS = 0.05


def jwks(**keys: rsa.RSAPrivateKey) -> str:
    public = [{**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid} for kid, key in keys.items()]
    return json.dumps({"keys": [{k: v for k, v in key.items() if k != "key_ops"} for key in public]})


def token(key: Any = SIGNING_KEY, alg: str = "RS256", kid: str = "k1", **claims: Any) -> str:
    content = {"iss": "https://issuer.test", "aud": "plaudit", "sub": "ana", "exp": time.time() + 60, **claims}
    return jwt.encode(content, key, alg, headers={"kid": kid})


RIGHTS = registry().rights


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    directory = tmp_path_factory.mktemp("auth")
    (directory / "jwks.json").write_text(jwks(k1=SIGNING_KEY))
    return Config(
        store=make_store(directory / "plaudit.db"),
        audit_log="off",
        auth=Auth(True, REFRESH_SECONDS, (NamedGrant("ana", Role.READER, ("acme/*",)),)),
        jwt=Jwt("https://issuer.test", "plaudit", str(directory / "jwks.json"), leeway_seconds=0),
    )


@pytest.fixture(scope="module")
def running(config: Config) -> Iterator[Secured]:
    with secured(config) as running:
        yield running


@pytest.fixture(scope="module")
def channel(running: Secured) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.target) as channel:
        yield channel


@pytest.fixture(scope="module")
def keys(config: Config, running: Secured) -> Iterator[BlockingKeys]:
    with opened_keys(config.store) as keys:
        yield keys


def add_key(keys: BlockingKeys, channel: grpc.Channel, role: Role, *projects: str, name: str = "judge") -> str:
    """A new key, after the running server has read it."""
    text, key = new_key(name, role, projects, time.time_ns() // 1000)
    keys.add(key)
    within(lambda: call(channel, "GetServerInfo", bearer(text)))
    return text


def within(attempt: Any, seconds: float = 5.0) -> None:
    """Try until the call is no longer refused as unauthenticated."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            attempt()
            return
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED or time.monotonic() > deadline:
                raise
        time.sleep(REFRESH_SECONDS / 2)


def unauthenticated(channel: grpc.Channel, metadata: Any) -> Refusal:
    refused = refusal(lambda: call(channel, "GetServerInfo", metadata))
    assert (refused.code, refused.reason, refused.metadata) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "UNAUTHENTICATED",
        {},
    )
    return refused


@pytest.mark.parametrize("role", [None, *Role])
def test_every_rpc_times_role_times_own_and_foreign_project(
    running: Secured, channel: grpc.Channel, keys: BlockingKeys, role: Role | None
) -> None:
    name = f"matrix-{role}"
    key = add_key(keys, channel, role or Role.READER, "own/*" if role else "nothing/here", name=name)
    principal = Principal(name, (Grant(role, ("own/*",)),) if role else ())
    for rpc, project in product(RPCS, ("own/chat", "foreign/chat")):
        request: dict[str, Any] = {} if rpc == "GetServerInfo" else {"project": project}
        decision = allowed(principal, RIGHTS[rpc], request.get("project", ""))
        running.seen.clear()
        if decision.allowed:
            call(channel, rpc, bearer(key), **request)
            assert running.seen == [(rpc, name, name if decision.own_only else None)]
        else:
            refused = refusal(partial(call, channel, rpc, bearer(key), **request))
            assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
            assert refused.metadata == {"project": project, "right": RIGHTS[rpc]}
            assert running.seen == []


@pytest.mark.parametrize("rpc", RPCS)
def test_no_rpc_answers_without_credentials(running: Secured, channel: grpc.Channel, rpc: str) -> None:
    running.seen.clear()
    request: dict[str, Any] = {} if rpc == "GetServerInfo" else {"project": "acme/chat"}
    refused = refusal(lambda: call(channel, rpc, **request))
    assert refused.code is grpc.StatusCode.UNAUTHENTICATED
    assert "authorization: Bearer" in refused.message
    assert running.seen == []


def test_bytes_are_not_even_parsed_without_credentials(channel: grpc.Channel) -> None:
    broken: Any = channel.unary_unary(f"/{SERVICE.full_name}/CreateFeedback")
    assert refusal(lambda: broken(b"\xff\xff\xff", timeout=5)).code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "values",
    [
        ("",),
        ("Bearer",),
        ("Bearer ",),
        ("Basic YXBpOmtleQ==",),
        ("plk_1_2",),
        ("Bearer plk_0000000000000000_wrong",),
        ("Bearer a.b.c",),
        ("Bearer plk_x_y", "Bearer plk_x_y"),
    ],
)
def test_other_credentials_are_refused(channel: grpc.Channel, values: tuple[str, ...]) -> None:
    unauthenticated(channel, [("authorization", value) for value in values])


def test_a_key_works_only_on_its_projects(channel: grpc.Channel, keys: BlockingKeys) -> None:
    key = add_key(keys, channel, Role.EDITOR, "acme/chat", "beta/*")
    for project in ("acme/chat", "beta/one"):
        call(channel, "PurgeFeedback", bearer(key), project=project)
    for project in ("acme/other", "betamax/one", "", "acme", "acme/chat/x"):
        refused = refusal(partial(call, channel, "CountFeedback", bearer(key), project=project))
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED


def test_the_scheme_is_read_in_any_case(channel: grpc.Channel, keys: BlockingKeys) -> None:
    key = add_key(keys, channel, Role.READER, "*")
    call(channel, "GetServerInfo", [("authorization", f"bearer  {key}")])


def test_a_revoked_key_is_refused_within_the_refresh_time(channel: grpc.Channel, keys: BlockingKeys) -> None:
    key = add_key(keys, channel, Role.READER, "*")
    keys.revoke(key.split("_")[1], time.time_ns() // 1000)
    time.sleep(10 * REFRESH_SECONDS)
    assert "revoked" in unauthenticated(channel, bearer(key)).message


def test_a_revocation_ends_a_running_stream_of_requests(channel: grpc.Channel, keys: BlockingKeys) -> None:
    key = add_key(keys, channel, Role.WRITER, "acme/*")
    method = SERVICE.methods_by_name["IngestFeedback"]
    revoked = False

    def requests() -> Iterator[bytes]:
        nonlocal revoked
        yield b"\x0a\x09acme/chat"
        keys.revoke(key.split("_")[1], time.time_ns() // 1000)
        time.sleep(10 * REFRESH_SECONDS)
        revoked = True
        yield b"\x0a\x09acme/chat"

    stream: Any = channel.stream_stream(f"/{SERVICE.full_name}/{method.name}")
    answers = stream(requests(), metadata=bearer(key), timeout=10)
    next(answers)
    assert refusal(lambda: next(answers)).code is grpc.StatusCode.UNAUTHENTICATED
    assert revoked


def test_a_key_past_its_end_is_refused(channel: grpc.Channel, keys: BlockingKeys) -> None:
    now = time.time_ns() // 1000
    text, key = new_key("brief", Role.READER, ("*",), now, expires_at=now + 1_500_000)
    keys.add(key)
    within(lambda: call(channel, "GetServerInfo", bearer(text)), seconds=1.4)
    assert key.expires_at is not None
    time.sleep(max(0.0, key.expires_at / 1e6 - time.time()) + 0.01)
    unauthenticated(channel, bearer(text))


def test_a_token_acts_with_its_own_claims_and_the_grants_of_the_configuration(
    running: Secured, channel: grpc.Channel
) -> None:
    running.seen.clear()
    call(channel, "CountFeedback", bearer(token()), project="acme/chat")
    assert refusal(lambda: call(channel, "CreateFeedback", bearer(token()), project="acme/chat")).reason == (
        "PERMISSION_DENIED"
    )
    writer = token(plaudit_role="writer", plaudit_projects=["beta/*"])
    call(channel, "CreateFeedback", bearer(writer), project="beta/one")
    call(channel, "CountFeedback", bearer(writer), project="acme/chat")
    assert [user for _, user, _ in running.seen] == ["ana"] * 3


def test_forged_and_misused_tokens_are_refused(channel: grpc.Channel) -> None:
    public = SIGNING_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    unsigned = jwt.encode({"iss": "https://issuer.test", "aud": "plaudit", "sub": "ana"}, "", "none")
    # PyJWT itself refuses to sign with a public key: so the header and the signature are made by hand.
    header = base64.urlsafe_b64encode(b'{"alg": "HS256", "typ": "JWT", "kid": "k1"}').rstrip(b"=")
    signed = header + b"." + token().split(".")[1].encode()
    signature = base64.urlsafe_b64encode(hmac.digest(public, signed, "sha256")).rstrip(b"=")
    hmac_signed = (signed + b"." + signature).decode()
    for forged in (
        unsigned,
        hmac_signed,
        token(NEXT_KEY),
        token(aud="another"),
        token(iss="https://evil.test"),
        token(exp=time.time() - 1),
        token(kid="unknown"),
        token(alg="RS384"),
    ):
        unauthenticated(channel, bearer(forged))


def test_a_token_stops_working_when_it_expires_while_remembered(channel: grpc.Channel) -> None:
    ends = time.time() + 1.0
    brief = token(exp=ends)
    call(channel, "GetServerInfo", bearer(brief))
    time.sleep(max(0.0, ends - time.time()) + 0.05)
    assert "expired" in unauthenticated(channel, bearer(brief)).message


def test_the_issuers_keys_are_rotated_while_it_runs(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(jwks(k1=SIGNING_KEY))
    tokens = replace(config.jwt, keys=str(path), key_refresh_seconds=1.0)
    with secured(replace(config, jwt=tokens)) as running, grpc.insecure_channel(running.target) as channel:
        old, new = token(), token(NEXT_KEY, kid="k2")
        call(channel, "GetServerInfo", bearer(old))
        unauthenticated(channel, bearer(new))
        path.write_text(jwks(k2=NEXT_KEY))
        within(lambda: call(channel, "GetServerInfo", bearer(new)))
        unauthenticated(channel, bearer(old))


@pytest.mark.parametrize("content", [None, "", "{}", '{"keys": []}'])
def test_a_server_whose_issuers_keys_can_not_be_read_does_not_start(
    config: Config, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_text(content)
    with (
        pytest.raises(StartError, match=r"jwt\.keys: .*jwks\.json cannot be used"),
        secured(replace(config, jwt=replace(config.jwt, keys=str(path)))),
    ):
        pass


def test_credentials_of_a_kind_that_is_off_are_refused(config: Config) -> None:
    with (
        secured(replace(config, auth=Auth(), audit_log="off")) as running,
        grpc.insecure_channel(running.target) as channel,
    ):
        assert "no API keys" in unauthenticated(channel, bearer("plk_a_b")).message
    with secured(replace(config, jwt=Jwt())) as running, grpc.insecure_channel(running.target) as channel:
        assert "no tokens" in unauthenticated(channel, bearer(token())).message


def test_without_authentication_everybody_is_anonymous_whatever_they_send() -> None:
    with secured(Config()) as running, grpc.insecure_channel(running.target) as channel:
        for rpc in RPCS:
            call(channel, rpc, bearer("plk_a_b"))
    assert running.seen == [(rpc, "anonymous", None) for rpc in RPCS]


def test_each_write_and_each_refusal_leaves_a_line_and_reads_leave_none(
    config: Config, keys: BlockingKeys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "plaudit_server.audit")
    with secured(replace(config, audit_log="stderr")) as running, grpc.insecure_channel(running.target) as channel:
        key = add_key(keys, channel, Role.WRITER, "acme/*", name='ju"dge')
        caplog.clear()
        call(channel, "CountFeedback", bearer(key), project="acme/chat")
        call(channel, "BatchCreateFeedback", bearer(key), project="acme/chat", feedback=[{}, {}])
        call(channel, "CreateFeedback", bearer(key), project="acme/chat", feedback={})
        call(channel, "PurgeFeedback", [*bearer(key), ("x-request-id", "r-1")], project="acme/chat", ids=["a"])
        call(channel, "IngestFeedback", bearer(key), project="acme/chat", feedback=[{}] * 3)
        refusal(lambda: call(channel, "CountFeedback", bearer(key), project="other/chat"))
        refusal(lambda: call(channel, "GetServerInfo", bearer("plk_wrong_key")))
    lines = [json.loads(record.message) for record in caplog.records if record.name == "plaudit_server.audit"]
    shown = [(line["rpc"], line["code"], line["user_id"], line["project"], line["rows"]) for line in lines]
    assert shown == [
        ("BatchCreateFeedback", "OK", 'ju"dge', "acme/chat", 2),
        ("CreateFeedback", "OK", 'ju"dge', "acme/chat", 1),
        ("PurgeFeedback", "OK", 'ju"dge', "acme/chat", 1),
        ("IngestFeedback", "OK", 'ju"dge', "acme/chat", 3),
        ("CountFeedback", "PERMISSION_DENIED", 'ju"dge', "other/chat", 0),
        ("GetServerInfo", "UNAUTHENTICATED", None, "", 0),
    ]
    assert lines[2]["request_id"] == "r-1"
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") and line["time"] for line in lines)
    assert key not in caplog.text
    assert key.split("_", 2)[2] not in caplog.text
