"""API keys: how they are made, kept as hashes, and checked; a KeyStore stores them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from plaudit_server.auth.principals import Principal, usable_name
from plaudit_server.config.grants import Grant, Role
from plaudit_server.errors import Unauthenticated

PREFIX: Final = "plk"
CREDENTIAL: Final = "api_key"
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_NO_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored of a key. Times in microseconds since 1970 UTC; `hash` is the SHA-256 of the secret."""

    id: str
    principal: str
    hash: bytes
    role: Role
    projects: tuple[str, ...]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None


class KeyStore(Protocol):
    """Where keys are kept, for all servers on one store."""

    async def add(self, key: ApiKey) -> None:
        """Store a new key, durably."""

    async def revoke(self, id: str, now: int) -> bool:
        """Mark a key as revoked; False when there is no such key. Revoking it again keeps the first time."""

    async def all(self) -> list[ApiKey]:
        """Every key, revoked ones too, oldest first."""

    async def stamp(self) -> Hashable:
        """A value that differs whenever keys were added or revoked, cheaper than reading them."""


def new_key(
    principal: str, role: Role, projects: Iterable[str], now: int, expires_at: int | None = None
) -> tuple[str, ApiKey]:
    """A fresh key: the text for its bearer, shown once and kept nowhere, and what is stored of it.

    Times in microseconds. Raises ValueError for a name or a pattern that cannot be used.
    """
    if not usable_name(principal):
        raise ValueError(f"{principal!r} cannot be a principal's name; use 1 to 256 bytes of printable text")
    grant = Grant(role, tuple(projects))
    if not grant.projects:
        raise ValueError("a key needs at least one project pattern, such as acme/chat or acme/*")
    id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return f"{PREFIX}_{id}_{secret}", ApiKey(id, principal, _hash(secret), role, grant.projects, now, expires_at)


def is_key(text: str) -> bool:
    """Whether a bearer credential has the form of an API key, and not of a token."""
    return text.startswith(PREFIX + "_")


class KeyRing:
    """The keys as they were last read, ready for checking, without those that are revoked."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._entries = {
            key.id: (
                key.hash,
                Principal(
                    key.principal,
                    (Grant(key.role, key.projects),),
                    CREDENTIAL,
                    None if key.expires_at is None else key.expires_at / 1_000_000,
                ),
            )
            for key in keys
            if key.revoked_at is None
        }

    def verify(self, text: str, now: float) -> Principal:
        """The principal of a key, at `now` in Unix seconds. Raises Unauthenticated, the same for any fault."""
        _, id, secret = (*text.split("_", 2), "", "")[:3]
        hash, principal = self._entries.get(id, (_NO_HASH, None))
        # Compared for unknown ids too, so that the time does not reveal which ids exist.
        right = hmac.compare_digest(hash, _hash(secret))
        expired = principal is not None and principal.expires_at is not None and principal.expires_at <= now
        if not right or principal is None or expired:
            raise Unauthenticated("the API key is unknown, expired or revoked")
        return principal


class KeyReader:
    """Reads a KeyStore into KeyRings, again only when its stamp has changed."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._stamp: Hashable = None
        self._ring = KeyRing(())

    async def read(self) -> KeyRing:
        """The keys as they are stored now."""
        stamp = await self._store.stamp()
        if stamp != self._stamp:
            self._ring = KeyRing(await self._store.all())
            self._stamp = stamp
        return self._ring


def _hash(secret: str) -> bytes:
    # A slow hash protects secrets that can be guessed. These are 256 random bits: nobody can guess them, however
    # fast the hash is, and a slow one would delay every call.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
