"""Feedback tokens on a running server: it reads the keys regularly, checks tokens, and limits their rates."""

from __future__ import annotations

import time
from typing import Final

from plaudit_server.auth.principals import Principal
from plaudit_server.auth.refresh import Refreshed
from plaudit_server.config import Config
from plaudit_server.errors import QuotaExceeded, StartError, Unauthenticated
from plaudit_server.rpc.access import Bearer
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.deadlines import address_of
from plaudit_server.rpc.quotas import Quota
from plaudit_server.store.base import Engine, SqlEngine
from plaudit_server.tokens.keyring import Keyring, KeyScope, read_master
from plaudit_server.tokens.stored import StoredTokens
from plaudit_server.tokens.verifier import CREDENTIAL, FeedbackTokenVerifier

QUOTAS: Final = ("token_per_minute", "address_per_minute", "signing_key_per_minute")

_STALE_SECONDS: Final = 60.0
_MINUTE: Final = 60.0


class FeedbackTokens:
    """`opened` and `closed` with the server. Without a master secret it refuses every token."""

    def __init__(self, config: Config, store: Engine) -> None:
        self._config = config
        self._store = store
        self._ring: Refreshed[Keyring] | None = None
        self._verifier = FeedbackTokenVerifier(self.keyring)
        self._by_token = Quota("token_per_minute", config.tokens.token_per_minute / _MINUTE, _MINUTE)
        self._by_address = Quota("address_per_minute", config.tokens.address_per_minute / _MINUTE, _MINUTE)
        self._by_key: dict[KeyScope, Quota] = {}
        self._last: Keyring | None = None

    @property
    def stored(self) -> StoredTokens:
        """Where keys and revoked tokens are stored. Raises Unauthenticated where tokens are not accepted."""
        if self._ring is None or not isinstance(self._store, SqlEngine):
            raise Unauthenticated("this server accepts no feedback tokens")
        return StoredTokens(self._store)

    async def opened(self) -> None:
        """Read the keys, now and from time to time. Raises StartError."""
        path = self._config.tokens.master_file
        if not path:
            return
        if not isinstance(self._store, SqlEngine):
            raise StartError(f"signing keys are kept in the store, and a {self._store.name} store has none")
        try:
            master = read_master(path)
        except (OSError, ValueError) as error:
            raise StartError(f"tokens.master_file: {path} cannot be used: {error}") from error
        stored = StoredTokens(self._store)

        async def load() -> Keyring:
            self._last = await stored.keyring(master, self._last)
            return self._last

        ring = Refreshed(
            "signing keys", load, self._config.auth.key_refresh_seconds, stale_after=_STALE_SECONDS, earliest=0.05
        )
        await ring.start()
        self._ring = ring

    async def closed(self) -> None:
        """Stop reading. Safe to call twice."""
        if self._ring is not None:
            await self._ring.close()

    def keyring(self) -> Keyring:
        """The keys in force. Raises Unauthenticated where tokens are not accepted, StoreUnavailable for old ones."""
        if self._ring is None:
            raise Unauthenticated("this server accepts no feedback tokens")
        return self._ring.get()

    def refresh(self) -> None:
        """Read the keys again soon: one of this server's own calls has changed them."""
        if self._ring is not None:
            self._ring.soon()

    def verify(self, call: Call, token: str, now: float) -> Bearer:
        """What a token that came with a call stands for. Raises Unauthenticated, QuotaExceeded, StoreUnavailable."""
        found = self._verifier.verify(token, now)
        claims = found.claims
        self._charge(found.scope, claims.id, address_of(call.context.peer()))
        principal = Principal(claims.principal, (), CREDENTIAL, float(claims.expires_at), project=claims.project)
        return Bearer(principal, found)

    def _charge(self, scope: KeyScope, token_id: str, address: str) -> None:
        now = time.monotonic()
        charges = [(self._by_token, f"{scope.id}/{token_id}"), (self._by_address, address)]
        if scope.per_minute:
            quota = self._by_key.get(scope)
            if quota is None:
                quota = self._by_key[scope] = Quota("signing_key_per_minute", scope.per_minute / _MINUTE, _MINUTE)
            charges.append((quota, scope.id))
        delay, name = max((quota.delay(key, 1, now), quota.name) for quota, key in charges)
        if delay > 0:
            raise QuotaExceeded(name, delay)
        for quota, key in charges:
            quota.take(key, 1, now)
