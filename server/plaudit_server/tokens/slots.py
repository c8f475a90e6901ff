"""The ids of the records that a token may make: derived from it, so that its uses are counted without a table; pure."""

from __future__ import annotations

import hmac
from typing import Final
from uuid import UUID

from plaudit._contract.feedback_tokens import Claims, SigningKey

_PURPOSE: Final = b"plaudit feedback slot"


def slot_id(key: SigningKey, claims: Claims, feedback_type: str, number: int) -> str:
    """The id of a token's record of a type, the given one from 0: UUIDv8, the same on every server and at every retry.

    Nobody without the key can predict the id, so nobody can take it.
    """
    digest = hmac.new(key.secret, digestmod="sha256")
    parts = (_PURPOSE, key.id.encode(), claims.id.encode(), claims.ref.encode(), feedback_type.encode())
    for part in (*parts, str(number).encode()):
        # With its length, so that no two lists of parts are the same bytes.
        digest.update(len(part).to_bytes(4) + part)
    bits = int.from_bytes(digest.digest()[:16])
    bits = bits & ~(0xF << 76) | 8 << 76
    bits = bits & ~(0x3 << 62) | 2 << 62
    return str(UUID(int=bits))


def slots(key: SigningKey, claims: Claims, feedback_type: str) -> list[str]:
    """Every id that a token's records of a type may have, in the order in which they are used."""
    return [slot_id(key, claims, feedback_type, number) for number in range(claims.records)]
