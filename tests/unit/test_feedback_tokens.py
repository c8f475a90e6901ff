"""Feedback tokens: minted by a product's backend, checked by the server, their records' ids derived from them."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit import tokens
from plaudit._contract.feedback_tokens import PREFIX, TYPE, Claims, SigningKey
from plaudit.tokens import mint
from plaudit_server.errors import Unauthenticated
from plaudit_server.tokens.keyring import Keyring, KeyScope, read_master, signing_key
from plaudit_server.tokens.slots import slot_id, slots
from plaudit_server.tokens.verifier import FeedbackTokenVerifier

NOW = 1_800_000_000.0
DAY = 86_400
MASTER = bytes(range(32))
SCOPE = KeyScope("web", ("acme/*",), ("wandb.reaction.1", "wandb.note.1"), 30, 0, created_at=0)
KEY = signing_key(MASTER, "web")
REF = "weave:///acme/chat/call/1"


def verifier(*scopes: KeyScope) -> FeedbackTokenVerifier:
    ring = Keyring(MASTER, scopes or (SCOPE,))
    return FeedbackTokenVerifier(lambda: ring)


def minted(**changes: Any) -> str:
    given: dict[str, Any] = {"project": "acme/chat", "ref": REF, "types": "wandb.reaction.1", "now": NOW}
    return mint(KEY, **(given | changes))


def signed(
    claims: dict[str, Any], header: dict[str, Any] | None = None, secret: Any = KEY.secret, algorithm: str = "HS256"
) -> str:
    return jwt.encode(claims, secret, algorithm, {"typ": TYPE, "kid": "web", **(header or {})})


def good(**changes: Any) -> dict[str, Any]:
    claims = {"jti": "abcdefgh", "exp": int(NOW) + 60, "prj": "acme/chat", "ref": REF, "typ": ["wandb.note.1"]}
    return {name: value for name, value in (claims | changes).items() if value is not None}


def refusal(token: str, now: float = NOW, *scopes: KeyScope) -> str:
    with pytest.raises(Unauthenticated) as refused:
        verifier(*scopes).verify(token, now)
    return refused.value.why


def test_what_was_minted_is_what_is_read() -> None:
    token = minted(
        types=["wandb.reaction.1", "wandb.note.1"], records=2, user="user-17", id="a" * 8,
        origins=["https://chat.acme.dev"], expires_in=timedelta(hours=3),
    )  # fmt: skip
    found = verifier().verify(token, NOW)
    assert found.claims == Claims(
        id="a" * 8, expires_at=int(NOW) + 3 * 3600, project="acme/chat", ref=REF,
        types=("wandb.reaction.1", "wandb.note.1"), records=2, subject="user-17", origins=("https://chat.acme.dev",),
    )  # fmt: skip
    assert found.claims.principal == "token:user-17"
    assert (found.scope, found.key) == (SCOPE, KEY)


def test_defaults() -> None:
    found = verifier().verify(minted(), NOW).claims
    assert (found.records, found.expires_at, found.subject) == (3, int(NOW) + DAY, None)
    assert found.principal == f"token:{found.id}"
    assert verifier().verify(minted(types="wandb.note.1"), NOW).claims.records == 1
    assert minted() != minted()  # each has an id of its own


def test_a_key_as_text_is_the_key() -> None:
    assert SigningKey.parse(KEY.text) == SigningKey.parse(f" {KEY.text}\n") == KEY
    assert KEY.text.startswith(f"{PREFIX}_web_")
    token = mint(KEY.text, project="acme/chat", ref=REF, types="wandb.note.1", now=NOW)
    assert verifier().verify(token, NOW).claims.types == ("wandb.note.1",)
    assert str(KEY.secret) not in repr(KEY)


@given(st.binary(min_size=32, max_size=32), st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True))
def test_any_key_as_text(secret: bytes, id: str) -> None:
    assert SigningKey.parse(SigningKey(id, secret).text) == SigningKey(id, secret)


@pytest.mark.parametrize("text", [
    "", "x", KEY.text[:-1], KEY.text + "A", KEY.text.replace("_web_", "__"), KEY.text.replace("_web_", "_WEB_"),
    KEY.text.replace(PREFIX, "plk"), KEY.text + "é",
])  # fmt: skip
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="signing key") as refused:
        SigningKey.parse(text)
    assert KEY.text[-20:] not in str(refused.value)


@pytest.mark.parametrize(("changes", "why"), [
    ({"expires_in": timedelta(days=91)}, "90 days"), ({"expires_in": timedelta(0)}, "more than none"),
    ({"expires_in": timedelta(seconds=-1)}, "more than none"),
    ({"payload": {"emoji": "👍"}, "expires_in": timedelta(days=15)}, "14 days"),
    ({"payload": {"emoji": "👍"}, "records": 2}, "max"), ({"payload": {"a": "x" * 2000}}, "pay"),
    ({"payload": {"a": float("nan")}}, "pay"), ({"payload": {"a": object()}}, "pay"),
    ({"project": "acme"}, "prj"), ({"project": "a/b/c"}, "prj"), ({"ref": ""}, "ref"), ({"ref": "x" * 3000}, "ref"),
    ({"types": []}, "typ"), ({"types": ["a", "a"]}, "typ"), ({"types": [str(n) for n in range(9)]}, "typ"),
    ({"types": ""}, "typ"), ({"types": "a\nb"}, "typ"), ({"records": 0}, "max"), ({"records": 101}, "max"),
    ({"user": ""}, "sub"), ({"user": "x" * 201}, "sub"), ({"user": "a\x00"}, "sub"),
    ({"origins": ["chat.acme.dev"]}, "org"), ({"origins": ["https://a/x"]}, "org"),
    ({"origins": ["https://a"] * 9}, "org"),
    ({"id": "short"}, "jti"), ({"id": "with a blank"}, "jti"),
])  # fmt: skip
def test_what_is_not_minted(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        minted(**changes)


def test_a_token_for_a_mail() -> None:
    token = minted(payload={"emoji": "👍"}, expires_in=timedelta(days=14))
    found = verifier().verify(token, NOW).claims
    assert (found.records, dict(found.payload or {})) == (1, {"emoji": "👍"})


@pytest.mark.parametrize("name", ["jti", "exp", "prj", "ref", "typ"])
def test_a_claim_that_is_missing(name: str) -> None:
    assert name in refusal(signed(good(**{name: None})))


@pytest.mark.parametrize(("name", "value"), [
    ("jti", 5), ("jti", "x"), ("exp", "soon"), ("exp", True), ("exp", 1.5), ("exp", -1), ("exp", 2**50),
    ("prj", ["a/b"]), ("prj", "nope"), ("ref", 1), ("typ", "wandb.note.1"), ("typ", [1]), ("typ", []),
    ("typ", {"a": 1}), ("max", "3"), ("max", True), ("max", 0), ("max", 10**6), ("sub", 5), ("sub", ""),
    ("org", "https://a"), ("org", ["a"]), ("pay", []), ("pay", "x"), ("scope", "all"), ("aud", "x"), ("iss", "x"),
    ("nbf", 0), ("user_id", "admin"),
])  # fmt: skip
def test_a_claim_that_is_not_allowed(name: str, value: Any) -> None:
    assert name in refusal(signed(good(**{name: value})))


_GOOD = json.dumps(good()).encode()


@pytest.mark.parametrize("make", [
    lambda: minted()[:-2] + "AA",
    lambda: minted().replace(".", "", 1),
    lambda: minted() + "." + minted(),
    lambda: "",
    lambda: "é.é.é",
    lambda: "\ud800.a.b",
    lambda: signed(good(), secret=b"x" * 32),
    lambda: signed(good(), {"typ": "JWT"}),
    lambda: signed(good(), {"kid": "other"}),
    lambda: _raw(b'{"typ":"%s","alg":"HS256","kid":["web"]}' % TYPE.encode(), _GOOD),
    lambda: signed(good(), algorithm="HS512", secret=KEY.secret * 2),
    lambda: jwt.encode(good(), "", "none", {"typ": TYPE, "kid": "web"}),
    lambda: jwt.encode(good(), KEY.secret, "HS256", {"kid": "web"}),
    lambda: jwt.encode(good(), KEY.secret, "HS256", {"typ": TYPE}),
    lambda: "x" * 5000,
    lambda: _raw(b"[" * 3000, b"{}"),
    lambda: _raw(b'{"typ":"%s","alg":"HS256","kid":"web"}' % TYPE.encode(), b"[" * 2500),
    lambda: _raw(b'{"typ":"%s","alg":"HS256","kid":"web"}' % TYPE.encode(), b"[]"),
    lambda: _raw(b"[]", b"{}"),
    lambda: _raw(b'{"typ":"%s","alg":"HS256","kid":"web","crit":["x"],"x":1}' % TYPE.encode(), _GOOD),
])  # fmt: skip
def test_what_does_not_hold(make: Callable[[], str]) -> None:
    assert "token" in refusal(make())


def _raw(header: bytes, payload: bytes) -> str:
    """A token of any bytes, whose signature holds."""

    def encoded(part: bytes) -> bytes:
        return base64.urlsafe_b64encode(part).rstrip(b"=")

    body = encoded(header) + b"." + encoded(payload)
    return (body + b"." + encoded(hmac.digest(KEY.secret, body, "sha256"))).decode()


def test_a_key_narrows() -> None:
    assert "project" in refusal(minted(project="other/chat"))
    assert "project" in refusal(minted(project="acme2/chat"))
    assert "type" in refusal(minted(types="mine"))
    assert "type" in refusal(minted(types=["wandb.note.1", "mine"]))
    assert "longer" in refusal(minted(expires_in=timedelta(days=31)))
    verifier().verify(minted(expires_in=timedelta(days=30)), NOW)
    # A payload makes it a link for mails, whatever its key allows.
    assert "longer" in refusal(signed(good(pay={}, exp=int(NOW) + 15 * DAY)))


def test_time_and_revocation() -> None:
    checked = verifier()
    token = minted()
    assert checked.verify(token, NOW) is checked.verify(token, NOW + DAY - 1)  # remembered
    with pytest.raises(Unauthenticated, match="expired"):
        checked.verify(token, NOW + DAY)
    assert "expired" in refusal(token, NOW + DAY)
    rings = [Keyring(MASTER, [SCOPE])]
    following = FeedbackTokenVerifier(lambda: rings[-1])
    following.verify(token, NOW)
    rings.append(Keyring(MASTER, [KeyScope("web", ("*",), ("wandb.reaction.1",), 90, 0, 0, revoked_at=1)]))
    with pytest.raises(Unauthenticated, match="key"):
        following.verify(token, NOW)


def test_another_master_secret_makes_other_keys() -> None:
    assert signing_key(bytes(32), "web") != KEY != signing_key(MASTER, "app")
    ring = Keyring(bytes(32), [SCOPE])
    with pytest.raises(Unauthenticated):
        FeedbackTokenVerifier(lambda: ring).verify(minted(), NOW)


@pytest.mark.parametrize("changes", [
    {"id": "Web"}, {"id": ""}, {"projects": ()}, {"projects": ("acme",)}, {"types": ()}, {"max_days": 0},
    {"max_days": 91}, {"per_minute": -1},
])  # fmt: skip
def test_scopes_that_cannot_be(changes: dict[str, Any]) -> None:
    values: dict[str, Any] = {
        "id": "web",
        "projects": ("*",),
        "types": ("a",),
        "max_days": 1,
        "per_minute": 0,
        "created_at": 0,
    }
    with pytest.raises(ValueError, match=r"key|token|pattern|rate"):
        KeyScope(**(values | changes))


def test_the_master_secret_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "master"
    file.write_text(MASTER.hex() + "\n")
    assert read_master(str(file)) == MASTER
    for text in ("", "zz", MASTER.hex()[:-2]):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"hex|bytes"):
            read_master(str(file))
    with pytest.raises(FileNotFoundError):
        read_master(str(tmp_path / "none"))


CLAIMS = Claims("abcdefgh", int(NOW), "acme/chat", REF, ("wandb.reaction.1", "wandb.note.1"), records=3)


def test_ids_are_uuids_of_version_8_and_the_same_every_time() -> None:
    ids = slots(KEY, CLAIMS, "wandb.reaction.1")
    assert ids == slots(KEY, CLAIMS, "wandb.reaction.1")
    assert len(set(ids)) == 3
    for id in ids:
        assert (UUID(id).version, UUID(id).variant, str(UUID(id))) == (8, "specified in RFC 4122", id)
    # Written down: other releases and other languages must make the same.
    assert ids[0] == PINNED


PINNED = "7cf37f80-2822-8e43-82c9-ec0207d47666"


def test_ids_of_everything_else_differ() -> None:
    other_ref = Claims("abcdefgh", int(NOW), "acme/chat", REF + "2", CLAIMS.types, records=3)
    other_id = Claims("abcdefgi", int(NOW), "acme/chat", REF, CLAIMS.types, records=3)
    ids = [
        *slots(KEY, CLAIMS, "wandb.reaction.1"),
        *slots(KEY, CLAIMS, "wandb.note.1"),
        *slots(KEY, other_ref, "wandb.reaction.1"),
        *slots(KEY, other_id, "wandb.reaction.1"),
        *slots(signing_key(MASTER, "app"), CLAIMS, "wandb.reaction.1"),
        *slots(SigningKey("web", bytes(32)), CLAIMS, "wandb.reaction.1"),
    ]
    assert len(set(ids)) == 18


@given(
    st.text(st.characters(codec="ascii"), min_size=1, max_size=8),
    st.text(st.characters(codec="ascii"), min_size=1, max_size=8),
)
def test_parts_do_not_run_into_each_other(left: str, right: str) -> None:
    def of(ref: str, type: str) -> str:
        return slot_id(KEY, Claims("abcdefgh", 1, "a/b", ref, ("t",)), type, 0)

    assert of(left + right, "x") != of(left, right + "x")
    assert (of(left, right) == of(right, left)) == (left == right)


def test_without_the_library_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jwt", None)
    with pytest.raises(ImportError, match=r"plaudit\[tokens\]"):
        tokens.mint(KEY, project="a/b", ref=REF, types="a")
