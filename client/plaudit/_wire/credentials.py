"""Who the client is, and whom it trusts: the metadata of each call, and the credentials of a connection."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, Final

import grpc

from plaudit._settings import Pairs, Settings, check_key
from plaudit._wire.address import Address

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY: Final = b"PRIVATE KEY-----"


class KeyFile:
    """The key in a file, read again when the file has changed. Raises ValueError when it has none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: object = None
        self._key = ""
        self()

    def __call__(self) -> str:
        try:
            status = os.stat(self._path)
            seen = status.st_mtime_ns, status.st_ino, status.st_size
            if seen != self._seen:
                with open(self._path, encoding="ascii", errors="surrogateescape") as file:
                    self._key = check_key(file.read().strip())
                self._seen = seen
        except OSError as error:
            raise ValueError(f"api_key_file (or PLAUDIT_API_KEY_FILE) cannot be read: {error}") from error
        except ValueError as error:
            raise ValueError(f"the file {self._path} has no usable key: {error}") from None
        return self._key


class CallMetadata:
    """The metadata of each call: the key as a bearer token, what the settings say, and what the call adds."""

    def __init__(self, settings: Settings) -> None:
        self._key: Callable[[], Any] | None = None
        self._fixed: Pairs = settings.metadata
        if settings.api_key_file is not None:
            self._key = KeyFile(settings.api_key_file)
        elif callable(settings.api_key):
            self._key = settings.api_key
        elif settings.api_key is not None:
            self._fixed = (_bearer(settings.api_key), *self._fixed)

    def blocking(self, more: Pairs = ()) -> Pairs | None:
        """The metadata of a call; None when there is none. Raises what the function of the key raises."""
        if self._key is None:
            return _joined(self._fixed, more)
        key = self._key()
        if inspect.isawaitable(key):
            if inspect.iscoroutine(key):
                key.close()
            raise TypeError("the api_key of a Client is a function that returns a str; only AsyncClient can await it")
        return _joined((_bearer(check_key(key)), *self._fixed), more)

    async def awaited(self, more: Pairs = ()) -> Pairs | None:
        """As `blocking`; the function may return an awaitable of the key."""
        if self._key is None:
            return _joined(self._fixed, more)
        key = self._key()
        if inspect.isawaitable(key):
            key = await key
        return _joined((_bearer(check_key(key)), *self._fixed), more)


def _bearer(key: str) -> tuple[str, str]:
    return "authorization", f"Bearer {key}"


def _joined(fixed: Pairs, more: Pairs) -> Pairs | None:
    """What a call adds replaces what has the same key."""
    if more:
        replaced = {key for key, _ in more}
        fixed = (*(pair for pair in fixed if pair[0] not in replaced), *more)
    return fixed or None


def credentials_for(address: Address, settings: Settings) -> grpc.ChannelCredentials | None:
    """The credentials of a connection: those given, else of the files, else the system's with TLS, else None (no TLS).

    Raises ValueError for files that cannot be read or hold something else, and for a scheme without TLS.
    """
    files = settings.ca_file or settings.certificate_file
    if (files or settings.credentials is not None) and address.scheme in ("http", "grpc"):
        raise ValueError(f"{address.scheme}:// is without TLS, and the client has certificates: write https://")
    if settings.credentials is not None:
        return settings.credentials
    if not files:
        return grpc.ssl_channel_credentials() if address.secure else None
    return grpc.ssl_channel_credentials(
        root_certificates=_pem("ca_file", settings.ca_file, _CERTIFICATE),
        private_key=_pem("key_file", settings.key_file, _PRIVATE_KEY),
        certificate_chain=_pem("certificate_file", settings.certificate_file, _CERTIFICATE),
    )


def _pem(name: str, path: str | None, mark: bytes) -> bytes | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    if mark not in text:
        raise ValueError(f"{name} {path} is not a PEM file with a {mark.decode().strip('-').removeprefix('BEGIN ')}")
    return text
