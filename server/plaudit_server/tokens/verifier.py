"""What a feedback token allows, once its signature, its time and its key have been checked; no storage."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from plaudit._contract.feedback_tokens import ALGORITHM, TOKEN_BYTES, TYPE, Claims, SigningKey
from plaudit_server.errors import Unauthenticated
from plaudit_server.tokens.keyring import Keyring, KeyScope

CREDENTIAL: Final = "feedback_token"
_CACHED_TOKENS: Final = 4096


@dataclass(frozen=True, slots=True)
class FeedbackToken:
    """A valid token, with the key that signed it."""

    claims: Claims
    scope: KeyScope
    key: SigningKey


class FeedbackTokenVerifier:
    """Verifies tokens with the current keys; a valid token is remembered until it expires."""

    def __init__(self, keys: Callable[[], Keyring]) -> None:
        """`keys` returns the keys without waiting."""
        self._keys = keys
        self._known: OrderedDict[bytes, FeedbackToken] = OrderedDict()
        self._known_for: Keyring | None = None

    def verify(self, token: str, now: float) -> FeedbackToken:
        """The token at `now`, in Unix seconds. Raises Unauthenticated, and whatever `keys` raises."""
        keys = self._keys()
        if keys is not self._known_for:
            # Tokens of a key that was revoked end with it.
            self._known.clear()
            self._known_for = keys
        if len(token) > TOKEN_BYTES:
            raise Unauthenticated(f"the feedback token has more than {TOKEN_BYTES} bytes")
        fingerprint = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = self._known.get(fingerprint)
        if found is None:
            found = self._verified(token, keys, now)
            self._known[fingerprint] = found
            if len(self._known) > _CACHED_TOKENS:
                self._known.popitem(last=False)
        if found.claims.expires_at <= now:
            raise Unauthenticated("the feedback token has expired")
        return found

    def _verified(self, token: str, keys: Keyring, now: float) -> FeedbackToken:
        import jwt  # here and not above: most servers have no feedback tokens, and it takes time to load

        try:
            header: Any = jwt.get_unverified_header(token)
            found = keys.find(header.get("kid"))
            # By their type, tokens of other issuers are refused here, and ours elsewhere.
            if header.get("typ") != TYPE or header.get("alg") != ALGORITHM or "crit" in header:
                raise Unauthenticated(f"the token is no feedback token: its header must say {TYPE} and {ALGORITHM}")
            if found is None:
                raise Unauthenticated("the feedback token's key is not one of those in force here")
            scope, key = found
            # What the claims mean is checked by us; the library checks only that the required ones are there.
            options: Any = {"verify_exp": False, "verify_sub": False, "verify_jti": False, "verify_aud": False}
            claims = Claims.parse(jwt.decode(token, key.secret, algorithms=[ALGORITHM], options=options))
        except (jwt.PyJWTError, RecursionError):
            raise Unauthenticated("the feedback token does not hold") from None
        except ValueError as error:
            raise Unauthenticated(f"the feedback token has a claim that is not allowed: {error}") from None
        excess = scope.excess(claims, now)
        if excess is not None:
            raise Unauthenticated(excess)
        if keys.is_revoked(key.id, claims.id):
            raise Unauthenticated("the feedback token was revoked")
        return FeedbackToken(claims, scope, key)


def unchecked(token: str) -> tuple[Claims, str]:
    """The claims of a token and the id of its key, valid or not. Raises Unauthenticated for other text."""
    if len(token) > TOKEN_BYTES:
        raise Unauthenticated(f"the feedback token has more than {TOKEN_BYTES} bytes")
    import jwt

    try:
        header: Any = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
        return Claims.parse(claims), str(header.get("kid"))
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthenticated("the token is no feedback token") from None


def signed(claims: Claims, key: SigningKey) -> str:
    """The token with these claims."""
    import jwt

    return jwt.encode(claims.as_mapping(), key.secret, ALGORITHM, {"typ": TYPE, "kid": key.id})
