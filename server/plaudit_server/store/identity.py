"""The identity of a store: which history its revisions and page tokens belong to; a restore or a copy ends it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from plaudit_server.store.base import Statement, Steps, StoreError
from plaudit_server.store.prepared import Prepared, Traits

_SECRET_BYTES: Final = 32
_PUBLIC_BYTES: Final = 16
_PERSON: Final = b"plaudit store id"
# The former identities that are remembered, the newest ones: only they are told from identities of other stores.
_REMEMBERED: Final = 16

_KEY: Final = "store_id"
_FORMER_KEY: Final = "former_store_ids"
SELECT: Final = f"SELECT key, value FROM meta WHERE key IN ('{_KEY}', '{_FORMER_KEY}')"
"""Reads an identity: see `StoreId.of`."""


@dataclass(frozen=True, slots=True)
class StoreId:
    """Random, made with the store. `secret` seals page tokens and never leaves it; `former` are the ones before."""

    secret: bytes
    former: tuple[bytes, ...] = ()

    @property
    def public(self) -> str:
        """The identity as clients see it, in hex; the secret cannot be found from it."""
        return blake2b(key=self.secret, digest_size=_PUBLIC_BYTES, person=_PERSON).hexdigest()

    @classmethod
    def new(cls, former: Iterable[bytes] = ()) -> StoreId:
        """Another identity, after others, the newest of which come first."""
        return cls(os.urandom(_SECRET_BYTES), tuple(dict.fromkeys(former))[:_REMEMBERED])

    @classmethod
    def of(cls, rows: Iterable[Sequence[Any]]) -> StoreId:
        """The identity in the rows of SELECT. Raises StoreError when it is not there."""
        values: Mapping[str, bytes] = {key: bytes(value) for key, value in rows}
        if _KEY not in values:
            raise StoreError("the store has no id: it was not made by this program")
        former = values.get(_FORMER_KEY, b"")
        parts = [former[place : place + _SECRET_BYTES] for place in range(0, len(former), _SECRET_BYTES)]
        return cls(values[_KEY], tuple(parts))


class IdentityStatements:
    """The statements about a store's identity."""

    def __init__(self, traits: Traits) -> None:
        # A write, so that of two who renew a store at once the second sees what the first has done.
        self.lock = f"UPDATE meta SET value = value WHERE key = '{_KEY}'"
        self.put = traits.sql(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        )


def renew(sql: Prepared, after: StoreId | None = None) -> Steps[StoreId]:
    """Give the store a new identity, and return it: its last one, and `after` with those before, are former ones."""
    statements = sql.of(IdentityStatements)
    yield Statement(statements.lock)
    old = StoreId.of((yield Statement(SELECT)))
    others = () if after is None else (after.secret, *after.former)
    new = StoreId.new((old.secret, *others, *old.former))
    yield Statement(statements.put, (_KEY, new.secret))
    yield Statement(statements.put, (_FORMER_KEY, b"".join(new.former)))
    return new
