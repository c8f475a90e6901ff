"""Feedback tokens for the end users of a product, made by its own backend: no call of the server for each of them.

Needs PyJWT, which `pip install 'plaudit[tokens]'` brings.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from plaudit._contract.feedback_tokens import (
    ALGORITHM,
    DAY_SECONDS,
    DEFAULT_SECONDS,
    REACTION,
    REACTION_RECORDS,
    TYPE,
    Claims,
    SigningKey,
)

__all__ = ["Claims", "SigningKey", "mint"]


def mint(
    key: SigningKey | str,
    *,
    project: str,
    ref: str,
    types: str | Iterable[str],
    records: int | None = None,
    user: str | None = None,
    expires_in: timedelta | None = None,
    origins: Iterable[str] = (),
    payload: Mapping[str, Any] | None = None,
    id: str | None = None,
    now: float | None = None,
) -> str:
    """A signed token that lets its bearer send feedback of the given `types` on one `ref` of a project.

    `key` is what `plaudit-server tokens create-key` prints. `records` is how many records of each type may ever be
    made: 3 for reactions (a click, a change of mind, one more), else 1. `user` is your own name for the user, and
    becomes the record's `user_id` as `token:USER`. The token holds for `expires_in`: a day unless given, at most 90
    days. With `origins` (`https://chat.acme.dev`) only pages of those can send it from a browser. A fixed `payload`,
    for links in mails, replaces whatever the caller sends: at most 14 days, one record of each type.

    Raises ValueError for what the server would refuse, as far as that is known here; the key may allow less.
    """
    jwt = _library()
    signing = SigningKey.parse(key) if isinstance(key, str) else key
    named = (types,) if isinstance(types, str) else tuple(types)
    if records is None:
        records = REACTION_RECORDS if named == (REACTION,) and payload is None else 1
    seconds = DEFAULT_SECONDS if expires_in is None else expires_in.total_seconds()
    claims = Claims(
        id=id or secrets.token_urlsafe(12),
        expires_at=int((time.time() if now is None else now) + seconds),
        project=project,
        ref=ref,
        types=named,
        records=records,
        subject=user,
        origins=tuple(origins),
        payload=payload,
    )
    if not 0 < seconds <= claims.longest_days * DAY_SECONDS:
        raise ValueError(f"exp: a token like this one holds at most {claims.longest_days} days, and more than none")
    token: str = jwt.encode(claims.as_mapping(), signing.secret, ALGORITHM, {"typ": TYPE, "kid": signing.id})
    return token


def _library() -> Any:
    try:
        import jwt
    except ImportError as error:
        raise ImportError("plaudit.tokens needs PyJWT, which pip install 'plaudit[tokens]' brings") from error
    return jwt
