"""Page tokens: a place in an order, sealed so that only the same question to the same store may use it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, NamedTuple

from plaudit_server.errors import InvalidPageToken, StoreChanged
from plaudit_server.query.tree import SortValue

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from plaudit_server.store.identity import StoreId

_VERSION: Final = b"\x01"
_MAC_BYTES: Final = 16
_TOKEN_CHARACTERS: Final = 1 << 20


class Cursor(NamedTuple):
    """Where a page ended: the sort key of its last row, and how many rows the caller still wants (None: all)."""

    after: tuple[SortValue, ...]
    remaining: int | None


def scope_of(request: Message, caller: str = "") -> bytes:
    """A digest of every argument that a token is bound to: all but the page's size and the token itself.

    `caller` is given where the answer is for that caller only.
    """
    bound = type(request)()
    bound.CopyFrom(request)
    for name in ("page_size", "page_token"):
        if name in bound.DESCRIPTOR.fields_by_name:
            bound.ClearField(name)
    digest = blake2b(type(request).__name__.encode(), digest_size=32)
    digest.update(bound.SerializeToString(deterministic=True))
    digest.update(caller.encode())
    return digest.digest()


def seal(cursor: Cursor, scope: bytes, store_id: StoreId) -> str:
    """An opaque, URL-safe token for `cursor`."""
    body = _VERSION + json.dumps(cursor, separators=(",", ":"), ensure_ascii=False).encode()
    return urlsafe_b64encode(body + _mac(body, scope, store_id.secret)).decode()


def unseal(token: str, scope: bytes, store_id: StoreId) -> Cursor:
    """The cursor of a token. Raises InvalidPageToken for anything that `seal` did not make for this scope.

    Raises StoreChanged when it was made before the store was restored or copied.
    """
    try:
        if len(token) > _TOKEN_CHARACTERS:
            raise InvalidPageToken
        sealed = urlsafe_b64decode(token.encode("ascii"))
    except ValueError as error:
        raise InvalidPageToken from error
    # The decoder skips characters that are not base64: only the canonical text is accepted.
    if urlsafe_b64encode(sealed) != token.encode():
        raise InvalidPageToken
    body, mac = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
    if not compare_digest(mac, _mac(body, scope, store_id.secret)):
        if any(compare_digest(mac, _mac(body, scope, secret)) for secret in store_id.former):
            raise StoreChanged(store_id.public)
        raise InvalidPageToken
    if body[:1] != _VERSION:
        raise InvalidPageToken
    # The seal proves that this server's code wrote the text, so its shape needs no check.
    after, remaining = json.loads(body[1:])
    return Cursor(tuple(after), remaining)


def _mac(body: bytes, scope: bytes, secret: bytes) -> bytes:
    return blake2b(body + scope, key=secret, digest_size=_MAC_BYTES).digest()
