"""Tokens: which are valid, and every way in which one is forged, misused or too old."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from plaudit_server.auth.jwt import KeySet, TokenVerifier, load_keys
from plaudit_server.config import Jwt
from plaudit_server.config.grants import Grant, Role
from plaudit_server.errors import Unauthenticated

NOW = 2_000_000_000.0
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
PUBLIC_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

CONFIG = Jwt(issuer="https://issuer.test", audience="plaudit", keys="keys.json", leeway_seconds=5.0)
CLAIMS: dict[str, Any] = {"iss": "https://issuer.test", "aud": "plaudit", "sub": "judge"}


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyJWT reads the clock itself, so it gets the time of these tests."""

    class Clock(jwt.api_jwt.datetime):  # type: ignore[name-defined, misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(NOW, tz)

    monkeypatch.setattr(jwt.api_jwt, "datetime", Clock)


def jwk(key: Any, kid: str | None = "k1", **more: Any) -> dict[str, Any]:
    public = key.public_key()
    maker = {rsa.RSAPublicKey: RSAAlgorithm, ec.EllipticCurvePublicKey: ECAlgorithm}
    algorithm = next((a for kind, a in maker.items() if isinstance(public, kind)), OKPAlgorithm)
    document: dict[str, Any] = json.loads(algorithm.to_jwk(public))  # type: ignore[attr-defined]
    document = {k: v for k, v in document.items() if k != "key_ops"}
    return {**document, **({} if kid is None else {"kid": kid}), **more}


def key_set(*keys: dict[str, Any], algorithms: tuple[str, ...] = ("RS256", "ES256")) -> KeySet:
    return KeySet({"keys": list(keys)}, algorithms)


def verifier(*keys: dict[str, Any], config: Jwt = CONFIG) -> TokenVerifier:
    found = key_set(*(keys or (jwk(RSA_KEY),)), algorithms=config.algorithms)
    return TokenVerifier(config, lambda: found)


def token(key: Any = RSA_KEY, alg: str = "RS256", kid: str | None = "k1", **claims: Any) -> str:
    content = {**CLAIMS, "exp": NOW + 60, **claims}
    content = {name: value for name, value in content.items() if value is not None}
    return jwt.encode(content, key, alg, headers=None if kid is None else {"kid": kid})


def forged(header: dict[str, Any], signature_of: bytes | None = None, **claims: Any) -> str:
    """A token made by hand, signed with HMAC or not at all."""

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    body = {**CLAIMS, "exp": NOW + 60, **claims}
    signed = part(json.dumps(header).encode()) + b"." + part(json.dumps(body).encode())
    signature = b"" if signature_of is None else hmac.new(signature_of, signed, hashlib.sha256).digest()
    return (signed + b"." + part(signature)).decode()


def why(verify: TokenVerifier, text: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        verify.verify(text, NOW)
    return refused.value.why


@pytest.mark.parametrize(
    ("key", "alg"),
    [(RSA_KEY, "RS256"), (RSA_KEY, "PS512"), (EC_KEY, "ES256"), (ED_KEY, "EdDSA")],
    ids=["RS256", "PS512", "ES256", "EdDSA"],
)
def test_a_token_of_each_family_holds_when_its_algorithm_is_listed(key: Any, alg: str) -> None:
    config = Jwt(issuer=CONFIG.issuer, audience="plaudit", keys="x", algorithms=(alg,))
    principal = verifier(jwk(key), config=config).verify(token(key, alg), NOW)
    assert (principal.name, principal.grants, principal.credential) == ("judge", (), "jwt")


def test_alg_none_is_refused() -> None:
    for alg in ("none", "None", "NONE", ""):
        assert "algorithm" in why(verifier(), forged({"alg": alg, "typ": "JWT", "kid": "k1"}))


def test_hs256_signed_with_the_public_key_is_refused() -> None:
    der = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (PUBLIC_PEM, PUBLIC_PEM.strip(), der):
        for kid in ({"kid": "k1"}, {}):
            assert "algorithm" in why(verifier(), forged({"alg": "HS256", **kid}, secret))


def test_a_symmetric_key_in_the_set_is_never_used() -> None:
    secret = {"kty": "oct", "kid": "s", "alg": "HS256", "k": base64.urlsafe_b64encode(b"x" * 32).decode()}
    assert "algorithm" in why(verifier(jwk(RSA_KEY), secret), forged({"alg": "HS256", "kid": "s"}, b"x" * 32))


def test_an_algorithm_that_is_not_listed_is_refused_though_the_key_could() -> None:
    assert "algorithm" in why(verifier(), token(alg="RS512"))


def test_a_key_with_a_declared_algorithm_verifies_no_other() -> None:
    config = Jwt(issuer=CONFIG.issuer, audience="plaudit", keys="x", algorithms=("RS256", "PS256"))
    verify = verifier(jwk(RSA_KEY, alg="PS256"), config=config)
    assert "algorithm" in why(verify, token(alg="RS256"))
    assert verify.verify(token(alg="PS256"), NOW).name == "judge"


def test_a_key_of_another_signature_is_refused() -> None:
    assert why(verifier(), token(OTHER_RSA_KEY)) == "the token is not valid"


def test_a_changed_token_is_refused() -> None:
    head, _, signature = token().split(".")
    other = token(sub="administrator").split(".")[1]
    assert why(verifier(), f"{head}.{other}.{signature}") == "the token is not valid"


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"aud": "other"}, "audience"),
        ({"aud": ["other", "third"]}, "audience"),
        ({"aud": None}, "no claim aud"),
        ({"iss": "https://evil.test"}, "issuer"),
        ({"iss": None}, "no claim iss"),
        ({"sub": None}, "no claim sub"),
        ({"sub": 5}, "principal's name"),
        ({"sub": ""}, "principal's name"),
        ({"sub": "token:user-17"}, "principal's name"),
        ({"sub": "a\nb"}, "principal's name"),
        ({"exp": None}, "no claim exp"),
        ({"exp": NOW - 6}, "expired"),
        ({"exp": "soon"}, "is not valid"),
        ({"nbf": NOW + 60}, "is not valid"),
        ({"plaudit_role": "writer", "plaudit_projects": ["acme"]}, "no project patterns"),
    ],
)
def test_a_claim_that_is_missing_or_wrong_is_named(claims: dict[str, Any], told: str) -> None:
    assert told in why(verifier(), token(**claims))


def test_clocks_may_differ_by_the_leeway() -> None:
    assert verifier().verify(token(exp=NOW - 4), NOW).name == "judge"


def test_a_list_of_audiences_may_hold_ours() -> None:
    assert verifier().verify(token(aud=["other", "plaudit"]), NOW).name == "judge"


def test_an_unknown_key_id_is_refused_and_asks_for_newer_keys() -> None:
    asked: list[int] = []
    found = key_set(jwk(RSA_KEY))
    verify = TokenVerifier(CONFIG, lambda: found, lambda: asked.append(1))
    assert "key" in why(verify, token(kid="k2"))
    assert asked == [1]


def test_a_token_without_key_id_fits_a_single_key_alone() -> None:
    assert verifier(jwk(RSA_KEY)).verify(token(kid=None), NOW).name == "judge"
    assert "key" in why(verifier(jwk(RSA_KEY), jwk(OTHER_RSA_KEY, "k2")), token(kid=None))


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c", "..", "é.é.é", "\ud800", "." * 9000])
def test_what_is_no_token_is_refused(text: str) -> None:
    assert why(verifier(), text)


@pytest.mark.parametrize("header", [{"alg": 5}, {"alg": ["RS256"]}, {"alg": "RS256", "kid": 5}, {"kid": "k1"}])
def test_a_header_of_the_wrong_types_is_refused(header: dict[str, Any]) -> None:
    assert why(verifier(), forged(header))


def test_a_valid_token_is_remembered_until_it_expires() -> None:
    verify = verifier()
    text = token(exp=NOW + 10)
    first = verify.verify(text, NOW)
    assert verify.verify(text, NOW + 14) is first
    # PyJWT's clock stands still in these tests: what comes is a new verification.
    assert verify.verify(text, NOW + 16) is not first


def test_a_withdrawn_key_ends_its_tokens_at_once() -> None:
    sets = [key_set(jwk(RSA_KEY))]
    verify = TokenVerifier(CONFIG, lambda: sets[0])
    assert verify.verify(token(), NOW).name == "judge"
    sets[0] = key_set(jwk(OTHER_RSA_KEY, "k2"))
    assert "key" in why(verify, token())


@pytest.mark.parametrize(
    ("claims", "grants"),
    [
        ({}, ()),
        ({"plaudit_role": "writer"}, (Grant(Role.WRITER, ()),)),
        (
            {"plaudit_role": "writer", "plaudit_projects": ["acme/*", "b/c"]},
            (Grant(Role.WRITER, ("acme/*", "b/c")),),
        ),
        ({"plaudit_role": "reader", "plaudit_projects": "acme/* b/c"}, (Grant(Role.READER, ("acme/*", "b/c")),)),
        (
            {"plaudit_role": ["billing", "reader", "editor"], "plaudit_projects": ["*"]},
            (Grant(Role.EDITOR, ("*",)),),
        ),
        ({"plaudit_role": "billing", "plaudit_projects": ["*"]}, ()),
        ({"plaudit_role": {"writer": True}, "plaudit_projects": ["*"]}, ()),
    ],
)
def test_claims_grant_the_highest_role_named_on_the_projects_named(
    claims: dict[str, Any], grants: tuple[Grant, ...]
) -> None:
    assert verifier().verify(token(**claims), NOW).grants == grants


def test_claims_may_be_nested_or_have_dots_in_their_names() -> None:
    config = Jwt(
        issuer=CONFIG.issuer,
        audience="plaudit",
        keys="x",
        role_claim="realm.roles",
        projects_claim="https://plaudit.dev/projects",
    )
    claims: dict[str, Any] = {"realm": {"roles": ["reader"]}, "https://plaudit.dev/projects": ["a/b"]}
    assert verifier(config=config).verify(token(**claims), NOW).grants == (Grant(Role.READER, ("a/b",)),)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "is no JWKS"),
        ({"keys": {}}, "is no JWKS"),
        ({"keys": []}, "has no usable key"),
        ({"keys": [{"kty": "oct", "k": "eA"}]}, "has no usable key"),
        ({"keys": [{"kty": "RSA", "kid": "b", "n": "!", "e": "AQAB"}]}, "broken key 'b'"),
        ({"keys": [jwk(RSA_KEY, use="enc")]}, "has no usable key"),
        ({"keys": ["x", None]}, "has no usable key"),
    ],
)
def test_a_key_set_that_can_not_be_used_says_why(document: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        KeySet(document, ("RS256",))


def test_short_rsa_keys_are_refused() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ValueError, match="fewer than 2048 bits"):
        key_set(jwk(short))


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [jwk(RSA_KEY)]}))
    assert load_keys(Jwt(issuer="i", audience="a", keys=str(path))).has("k1")
    path.write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(ValueError, match="1 MiB"):
        load_keys(Jwt(issuer="i", audience="a", keys=str(path)))


@contextmanager
def web_server(status: int, body: bytes, location: str | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if location is not None:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}/keys"
        finally:
            web.shutdown()
            thread.join()


def test_keys_are_read_from_a_url() -> None:
    with web_server(200, json.dumps({"keys": [jwk(RSA_KEY)]}).encode()) as url:
        assert load_keys(Jwt(issuer="i", audience="a", keys=url)).has("k1")


def test_redirects_are_not_followed() -> None:
    with (
        web_server(200, json.dumps({"keys": [jwk(RSA_KEY)]}).encode()) as other,
        web_server(302, b"", other) as url,
        pytest.raises(OSError, match="302"),
    ):
        load_keys(Jwt(issuer="i", audience="a", keys=url))
