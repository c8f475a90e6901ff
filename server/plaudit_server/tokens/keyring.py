"""Signing keys: what each may sign, and its secret, made from a master secret that is in no database; no storage."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plaudit._contract.feedback_tokens import DAY_SECONDS, MOST_DAYS, Claims, SigningKey, check_key_id
from plaudit_server.config.grants import check_pattern, matches

MASTER_BYTES: Final = 32
_PURPOSE: Final = b"plaudit feedback token signing key\x00"


@dataclass(frozen=True, slots=True)
class KeyScope:
    """What a signing key may sign at most; a token may only narrow it. Times in microseconds since 1970 UTC."""

    id: str
    projects: tuple[str, ...]
    """Patterns."""
    types: tuple[str, ...]
    """Feedback types."""
    max_days: int
    """For how many days a token may be valid."""
    per_minute: int
    """How many writes all its tokens together may make in a minute; 0 for any number."""
    created_at: int
    revoked_at: int | None = None

    def __post_init__(self) -> None:
        check_key_id(self.id)
        for pattern in self.projects:
            check_pattern(pattern)
        if not self.projects or not self.types:
            raise ValueError("a signing key needs a project and a feedback type that it may sign for")
        if not 0 < self.max_days <= MOST_DAYS:
            raise ValueError(f"a token holds 1 to {MOST_DAYS} days")
        if self.per_minute < 0:
            raise ValueError("a rate is not below 0")

    def covers(self, project: str) -> bool:
        """Whether the key may sign for a project."""
        return any(matches(pattern, project) for pattern in self.projects)

    def excess(self, claims: Claims, now: float) -> str | None:
        """In what a token goes beyond its key, as a sentence for its bearer; None when it does not."""
        if not self.covers(claims.project):
            return "the token is for a project that its signing key does not cover"
        if not set(claims.types) <= set(self.types):
            return "the token names a feedback type that its signing key does not cover"
        if claims.expires_at > now + min(self.max_days, claims.longest_days) * DAY_SECONDS + 60:
            return "the token holds longer than its signing key allows"
        return None


def signing_key(master: bytes, id: str) -> SigningKey:
    """The key of an id: a copy of the database without the master secret is not enough to mint a token."""
    return SigningKey(id, hmac.digest(master, _PURPOSE + id.encode(), "sha256"))


def read_master(path: str) -> bytes:
    """The master secret from a file: its first 32 bytes as hex, on one line. Raises OSError and ValueError."""
    text = Path(path).read_text(encoding="ascii").strip()
    master = bytes.fromhex(text)
    if len(master) != MASTER_BYTES:
        raise ValueError(f"must hold {MASTER_BYTES} bytes as {2 * MASTER_BYTES} hex digits")
    return master


class Keyring:
    """The keys in force at a moment, and the tokens that were revoked."""

    def __init__(self, master: bytes, scopes: Iterable[KeyScope], revoked: Iterable[tuple[str, str]] = ()) -> None:
        """`revoked` are the ids of signing keys and tokens."""
        self.scopes = tuple(scope for scope in scopes if scope.revoked_at is None)
        self._revoked = frozenset(revoked)
        self._keys = {scope.id: (scope, signing_key(master, scope.id)) for scope in self.scopes}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyring) and self._keys == other._keys and self._revoked == other._revoked

    __hash__ = None  # type: ignore[assignment]

    def find(self, id: object) -> tuple[KeyScope, SigningKey] | None:
        """A key in force by its id."""
        return self._keys.get(id) if isinstance(id, str) else None

    def covering(self, claims: Iterable[Claims], now: float) -> tuple[KeyScope, SigningKey] | None:
        """The newest key in force that may sign all of the tokens."""
        wanted = list(claims)
        for scope in reversed(self.scopes):
            if all(scope.excess(one, now) is None for one in wanted):
                return self._keys[scope.id]
        return None

    def is_revoked(self, key_id: str, token_id: str) -> bool:
        """Whether a token was revoked."""
        return (key_id, token_id) in self._revoked
