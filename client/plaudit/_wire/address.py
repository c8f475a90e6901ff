"""Where a server listens: the target as a user writes it, read once; opening the channel is in `channel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_SECURE_SCHEMES: Final = ("https", "grpcs")
_PLAIN_SCHEMES: Final = ("http", "grpc")


@dataclass(frozen=True, slots=True)
class Address:
    """A target of gRPC, and whether the connection to it uses TLS."""

    target: str
    secure: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`, `https://host:port`, `grpcs://…`, `http://…`, `grpc://…` or a name of gRPC's (`unix:…`).

        Raises ValueError for an address with a path, or without a host.
        """
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in _SECURE_SCHEMES + _PLAIN_SCHEMES:
            if not text:
                raise ValueError("the target is empty; write host:port")
            return cls(text, secure=False)
        parts = urlsplit(text)
        if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"not an address of a server: {text!r}; write {scheme}://host:port")
        return cls(rest.rstrip("/"), secure=scheme in _SECURE_SCHEMES)
