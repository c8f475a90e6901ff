"""Who makes a call: from the `authorization` metadata, or the peer's certificate; no I/O happens here per call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from plaudit_server.auth import keys as api_keys
from plaudit_server.auth.keys import KeyReader
from plaudit_server.auth.keystore import StoredKeys
from plaudit_server.auth.principals import ANONYMOUS, Principal
from plaudit_server.auth.refresh import Refreshed
from plaudit_server.config import Config
from plaudit_server.config.grants import Grant
from plaudit_server.errors import StartError, Unauthenticated
from plaudit_server.store.base import Engine, SqlEngine

AUTHORIZATION: Final = "authorization"
# Revocations must take effect: keys that could not be read again for this time are no longer trusted.
_KEYS_STALE_SECONDS: Final = 60.0

Metadata = Iterable[tuple[str, str | bytes]]
Verify = Callable[[str, float], Principal]


def bearer(metadata: Metadata) -> str:
    """The credential that came with a call as `authorization: Bearer …`. Raises Unauthenticated."""
    given = [value for key, value in metadata if key == AUTHORIZATION]
    if not given:
        raise Unauthenticated("no credentials came with the call; send the metadata `authorization: Bearer …`")
    return _credential(given)


def _credential(given: Sequence[str | bytes]) -> str:
    [value, *more] = given
    scheme, _, credential = value.partition(" ") if isinstance(value, str) else ("", "", "")
    credential = credential.strip()
    if more or scheme.lower() != "bearer" or not credential:
        raise Unauthenticated("the metadata `authorization` must be one text: Bearer, a space, the credential")
    return credential


class Authenticator:
    """Turns a call's credentials into a Principal; `start` and `close` with the server, on its loop."""

    def __init__(self, config: Config, store: Engine) -> None:
        """As `config` says, with the keys in `store`; if it asks for no authentication, everybody is ANONYMOUS."""
        self._config = config
        self._store = store
        self._named_grants = config.auth.grants
        self._grants_of = lru_cache(maxsize=4096)(self._find_grants)
        self._refreshed: list[Refreshed[Any]] = []
        self._verify_key: Verify | None = None
        self._verify_token: Verify | None = None

    async def start(self) -> None:
        """Read the keys, now and from time to time. To be called after the store is open. Raises StartError."""
        if self._config.auth.api_keys:
            await self._start_keys()
        if self._config.jwt.issuer:
            await self._start_tokens()

    async def close(self) -> None:
        """Stop reading. Safe to call twice."""
        for refreshed in self._refreshed:
            await refreshed.close()

    def authenticate(self, metadata: Metadata, auth_context: Callable[[], object] | None = None) -> Principal:
        """The principal of a call. A credential in the metadata has precedence over the certificate, and must be valid.

        `auth_context` returns grpc's own, and is called only where clients have certificates. Raises Unauthenticated,
        and StoreUnavailable when the keys could not be read for too long.
        """
        if not self._config.authenticated:
            return ANONYMOUS
        given = [value for key, value in metadata if key == AUTHORIZATION]
        if given:
            return self._bearer(given)
        if self._config.tls.client_ca and auth_context is not None:
            from plaudit_server.auth.tls import certificate_principal

            principal = certificate_principal(auth_context())  # type: ignore[arg-type]
            if principal is not None:
                return self._with_named_grants(principal)
        raise Unauthenticated("no credentials came with the call; send the metadata `authorization: Bearer …`")

    def _bearer(self, given: Sequence[str | bytes]) -> Principal:
        credential = _credential(given)
        now = time.time()
        if api_keys.is_key(credential):
            if self._verify_key is None:
                raise Unauthenticated("this server accepts no API keys")
            return self._verify_key(credential, now)
        if self._verify_token is None:
            raise Unauthenticated("this server accepts no tokens")
        return self._with_named_grants(self._verify_token(credential, now))

    def _with_named_grants(self, principal: Principal) -> Principal:
        extra = self._grants_of(principal.name)
        return replace(principal, grants=principal.grants + extra) if extra else principal

    def _find_grants(self, name: str) -> tuple[Grant, ...]:
        return tuple(named.grant for named in self._named_grants if named.names(name))

    async def _start_keys(self) -> None:
        if not isinstance(self._store, SqlEngine):
            raise StartError(f"API keys are kept in the store, and a {self._store.name} store has none")
        reader = KeyReader(StoredKeys(self._store))
        ring = Refreshed(
            "API keys", reader.read, self._config.auth.key_refresh_seconds, stale_after=_KEYS_STALE_SECONDS
        )
        await ring.start()
        self._refreshed.append(ring)
        self._verify_key = lambda text, now: ring.get().verify(text, now)

    async def _start_tokens(self) -> None:
        try:
            from plaudit_server.auth.jwt import TokenVerifier, load_keys
        except ImportError as error:
            raise StartError(
                f"tokens need PyJWT and cryptography, which pip install 'plaudit[server,jwt]' brings ({error})"
            ) from error
        config = self._config.jwt
        keys = Refreshed(
            "the issuer's keys", lambda: asyncio.to_thread(load_keys, config), config.key_refresh_seconds, earliest=5.0
        )
        try:
            await keys.start()
        except (OSError, ValueError) as error:
            raise StartError(f"jwt.keys: {config.keys} cannot be used: {error}") from error
        self._refreshed.append(keys)
        self._verify_token = TokenVerifier(config, keys.get, keys.soon).verify
