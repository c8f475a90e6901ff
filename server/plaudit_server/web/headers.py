"""Headers as values: reading them, the metadata of a call in both directions, timeouts; no I/O."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from plaudit_server.web.faults import BadRequest

Metadata = Sequence[tuple[str, str | bytes]]
"""Names in lower case; the value of a name that ends with `-bin` is bytes, every other text."""

HeaderPairs = list[tuple[str, str]]

# What belongs to HTTP or to a protocol, and not to the call.
_NOT_METADATA: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-grpc-web",
    }
)
_PROTOCOL_PREFIXES: Final = ("connect-", "grpc-", ":")
_BINARY_SUFFIX: Final = "-bin"
# What the answers of every call have, checked once.
_KNOWN_NAMES: Final = frozenset({"x-request-id"})
_METADATA_NAME: Final = re.compile(r"[0-9a-z_.\-]+")
_METADATA_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_GRPC_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_CONNECT_TIMEOUT: Final = re.compile(r"[0-9]{1,10}")
_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# Printable ASCII but the percent sign stays as it is in grpc-message.
_MESSAGE_SAFE: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Headers:
    """The headers of one request: names in lower case, values as text."""

    __slots__ = ("_values",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """`raw` as a server gives them: names in lower case, in the order in which they came."""
        values: dict[str, list[str]] = {}
        for name, value in raw:
            values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        self._values = values

    def get(self, name: str) -> str | None:
        """The header's value; None when it did not come, or came more than once."""
        found = self._values.get(name)
        return found[0] if found is not None and len(found) == 1 else None

    def all(self, name: str) -> Sequence[str]:
        """Every value that came under this name."""
        return self._values.get(name, ())

    def metadata(self) -> list[tuple[str, str | bytes]]:
        """The call's metadata: every header that is neither HTTP's nor the protocol's.

        Raises BadRequest for a binary value that is no base64.
        """
        pairs: list[tuple[str, str | bytes]] = []
        for name, values in self._values.items():
            if name in _NOT_METADATA or name.startswith(_PROTOCOL_PREFIXES):
                continue
            if not name.endswith(_BINARY_SUFFIX):
                pairs += [(name, value) for value in values]
                continue
            for value in values:
                # Servers on the way may have joined several values into one.
                pairs += [(name, decoded_base64(part.strip(), name)) for part in value.split(",")]
        return pairs


def names_token(values: Iterable[str], token: str) -> bool:
    """Whether comma-separated header values list a token, whatever its case and without a weight of zero."""
    for value in values:
        for part in value.split(","):
            name, _, parameters = part.partition(";")
            if name.strip().lower() == token:
                return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameters) is None
    return False


def decoded_base64(text: str, field: str) -> bytes:
    """The bytes of base64 in either alphabet, with or without padding. Raises BadRequest, which names `field`."""
    try:
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(field, f"{field[:60]} is not base64") from None


def header_pairs(metadata: Metadata, prefix: str = "") -> HeaderPairs:
    """Metadata as headers, each name after a prefix. Raises ValueError for a name or value that a header cannot hold:
    what ends a line in one would begin another header.
    """
    pairs = []
    for name, value in metadata:
        text = base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value
        if not (name in _KNOWN_NAMES or _METADATA_NAME.fullmatch(name)) or not _METADATA_VALUE.fullmatch(text):
            raise ValueError(f"the metadata {name!r} cannot be a header")
        pairs.append((prefix + name, text))
    return pairs


def connect_timeout(text: str | None) -> float | None:
    """`connect-timeout-ms` in seconds. Raises BadRequest."""
    if text is None:
        return None
    if not _CONNECT_TIMEOUT.fullmatch(text):
        raise BadRequest("connect-timeout-ms", "connect-timeout-ms must be 1 to 10 digits")
    return int(text) / 1000


def grpc_timeout(text: str | None) -> float | None:
    """`grpc-timeout` in seconds. Raises BadRequest."""
    if text is None:
        return None
    found = _GRPC_TIMEOUT.fullmatch(text)
    if found is None:
        raise BadRequest("grpc-timeout", "grpc-timeout must be 1 to 8 digits and one of H, M, S, m, u, n")
    return int(found[1]) * _SECONDS[found[2]]


def grpc_message(text: str) -> str:
    """A message as `grpc-message` carries it: percent-encoded UTF-8."""
    return quote(text, safe=_MESSAGE_SAFE, encoding="utf-8", errors="replace")
