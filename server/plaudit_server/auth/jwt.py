"""JSON Web Tokens of one issuer: its public keys, and who a token stands for."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import jwt

from plaudit_server.auth.principals import Principal, usable_name
from plaudit_server.config import Jwt
from plaudit_server.config.grants import Grant, Role, known_role
from plaudit_server.errors import Unauthenticated

CREDENTIAL: Final = "jwt"
_FETCH_SECONDS: Final = 5.0
_KEYS_BYTES: Final = 1024 * 1024
_RSA_BITS: Final = 2048
_CACHED_TOKENS: Final = 4096

# What a key can sign, by `kty` and for curves by `crv`. Symmetric keys are not here on purpose.
_FAMILIES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}


class KeySet:
    """The issuer's keys as they were last read; each verifies only the algorithms that fit it."""

    def __init__(self, document: Any, algorithms: tuple[str, ...]) -> None:
        """Read a JWKS document. Raises ValueError when it is none, or has no key for any of the algorithms."""
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise ValueError("is no JWKS: an object with a list `keys`")
        self._keys: dict[str | None, dict[str, jwt.PyJWK]] = {}
        for entry in entries:
            if isinstance(entry, dict):
                self._add(entry, algorithms)
        if not self._keys:
            raise ValueError(f"has no usable key for {', '.join(algorithms)}")

    def _add(self, entry: dict[str, Any], algorithms: tuple[str, ...]) -> None:
        kind = str(entry.get("kty", ""))
        family = _FAMILIES.get((kind, "" if kind == "RSA" else str(entry.get("crv", ""))), ())
        declared = entry.get("alg")
        usable = [a for a in algorithms if a in family and declared in (None, a)]
        if entry.get("use", "sig") != "sig":
            return
        for algorithm in usable:
            try:
                key = jwt.PyJWK({k: v for k, v in entry.items() if k != "d"}, algorithm)
            except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
                raise ValueError(f"has a broken key {entry.get('kid')!r}") from error
            if kind == "RSA" and key.key.key_size < _RSA_BITS:
                raise ValueError(f"has an RSA key of fewer than {_RSA_BITS} bits, {entry.get('kid')!r}")
            self._keys.setdefault(entry.get("kid"), {})[algorithm] = key

    def find(self, kid: str | None, algorithm: object) -> jwt.PyJWK | None:
        """The key for a token's header; a token without a key id fits only a set of one key."""
        if kid is None and len(self._keys) == 1:
            [by_algorithm] = self._keys.values()
        else:
            by_algorithm = self._keys.get(kid, {})
        return by_algorithm.get(algorithm) if isinstance(algorithm, str) else None

    def has(self, kid: str | None) -> bool:
        """Whether the set knows this key id."""
        return kid in self._keys


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none: the operator decides where the keys come from."""


def load_keys(config: Jwt) -> KeySet:
    """Read the issuer's keys from their file or URL; blocks some seconds at most. Raises OSError and ValueError."""
    if config.keys.startswith(("https://", "http://")):
        opener = urllib.request.build_opener(_NoRedirects())
        with opener.open(config.keys, timeout=_FETCH_SECONDS) as response:
            raw = response.read(_KEYS_BYTES + 1)
    else:
        raw = Path(config.keys).read_bytes()
    if len(raw) > _KEYS_BYTES:
        raise ValueError("is larger than 1 MiB")
    return KeySet(json.loads(raw), config.algorithms)


class TokenVerifier:
    """Verifies tokens with the current keys; a valid token is remembered until it expires."""

    def __init__(self, config: Jwt, keys: Callable[[], KeySet], missing: Callable[[], None] = lambda: None) -> None:
        """`keys` returns the keys at once; `missing` is called when a token names a key that is not among them."""
        self._config = config
        self._keys = keys
        self._missing = missing
        self._known: OrderedDict[bytes, Principal] = OrderedDict()
        self._known_for: KeySet | None = None

    def verify(self, token: str, now: float) -> Principal:
        """The principal of a token, at `now` in Unix seconds. Raises Unauthenticated, and StoreUnavailable
        when there are no keys.
        """
        keys = self._keys()
        if keys is not self._known_for:
            # Tokens that were signed with a key end when the issuer withdraws it.
            self._known.clear()
            self._known_for = keys
        fingerprint = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        principal = self._known.get(fingerprint)
        if principal is None or (principal.expires_at or 0.0) <= now:
            principal = self._verified(token, keys)
            self._known[fingerprint] = principal
            if len(self._known) > _CACHED_TOKENS:
                self._known.popitem(last=False)
        return principal

    def _verified(self, token: str, keys: KeySet) -> Principal:
        config = self._config
        try:
            header = jwt.get_unverified_header(token)
            key = keys.find(header.get("kid"), header.get("alg"))
            if key is None:
                if not keys.has(header.get("kid")):
                    self._missing()
                raise Unauthenticated("the token's key or algorithm is not one of those that this server accepts")
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=config.issuer,
                audience=config.audience,
                leeway=config.leeway_seconds,
                # Whether `sub` can be a name is checked by `_principal`.
                options={"require": ["exp", "iss", "aud", "sub"], "verify_sub": False},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired") from None
        except jwt.InvalidAudienceError:
            raise Unauthenticated("the token is for another audience") from None
        except jwt.InvalidIssuerError:
            raise Unauthenticated("the token is of another issuer") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token has no claim {error.claim}") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthenticated("the token is not valid") from None
        return self._principal(claims)

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        name = claims["sub"]
        if not usable_name(name):
            raise Unauthenticated("the token's sub cannot be a principal's name")
        return Principal(name, self._grants(claims), CREDENTIAL, float(claims["exp"]) + self._config.leeway_seconds)

    def _grants(self, claims: Mapping[str, Any]) -> tuple[Grant, ...]:
        """The highest of plaudit's roles among those named, on the projects named; other roles are ignored."""
        labels = {role.label: role for role in Role}
        named = _texts(_claim(claims, self._config.role_claim))
        role = max((labels[name] for name in named if name in labels), default=None)
        if role is None:
            for name in named:
                known_role(name, f"the claim {self._config.role_claim} of tokens")
            return ()
        try:
            return (Grant(role, tuple(_texts(_claim(claims, self._config.projects_claim)))),)
        except ValueError:
            raise Unauthenticated(f"the token's {self._config.projects_claim} are no project patterns") from None


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path of names with dots."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _texts(value: Any) -> list[str]:
    """A claim's texts: those of a list, or one text split at spaces."""
    if isinstance(value, str):
        return value.split()
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
