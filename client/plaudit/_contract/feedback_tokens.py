"""Feedback tokens as values: their claims, the rules for them, and the text of a signing key; no signatures.

A feedback token lets one end user of a product send a few kinds of feedback on one ref. It is a JWT, signed with HS256,
whose header has the type `plaudit-feedback+jwt`, so that no other token can be one, nor it another.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from plaudit._contract import limits

TYPE: Final = "plaudit-feedback+jwt"
ALGORITHM: Final = "HS256"
PREFIX: Final = "plaudit-signing-key"
SECRET_BYTES: Final = 32
TOKEN_BYTES: Final = 4096

DAY_SECONDS: Final = 86_400
DEFAULT_SECONDS: Final = DAY_SECONDS
MOST_DAYS: Final = 90
MAIL_DAYS: Final = 14
MOST_TYPES: Final = 8
MOST_RECORDS: Final = 100
MOST_ORIGINS: Final = 8
SUBJECT_BYTES: Final = 200
PAYLOAD_BYTES: Final = 1024
REACTION: Final = "wandb.reaction.1"
REACTION_RECORDS: Final = 3

_KEY_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})")
_TOKEN_ID: Final = re.compile(r"[\x21-\x7e]{8,64}")
_ORIGIN: Final = re.compile(r"https?://[^/\s@?#]+")
_NAMES: Final = frozenset({"jti", "exp", "prj", "ref", "typ", "max", "sub", "org", "pay"})


@dataclass(frozen=True, slots=True)
class Claims:
    """What a feedback token allows. Raises ValueError, which names the claim, for what no token may allow."""

    id: str
    """`jti`: 8 to 64 printable characters of ASCII, different for each token."""
    expires_at: int
    """`exp`, in Unix seconds."""
    project: str
    """`prj`, `entity/project`."""
    ref: str
    """`ref`: the only one that feedback may be about."""
    types: tuple[str, ...]
    """`typ`: the feedback types that may be sent, at most 8."""
    records: int = 1
    """`max`: how many records of each type may ever be made, at most 100."""
    subject: str | None = None
    """`sub`: the product's own name for its user."""
    origins: tuple[str, ...] = ()
    """`org`: the origins whose pages may send it; every one when empty."""
    payload: Mapping[str, Any] | None = field(default=None, compare=False)
    """`pay`: the payload that is sent, whatever the caller gives: for links in mails."""

    def __post_init__(self) -> None:
        entity, slash, name = self.project.partition("/")
        if not (entity and slash and name) or "/" in name:
            raise ValueError(f"prj: {self.project[:100]!r} is no entity/project")
        _check("jti", _TOKEN_ID.fullmatch(self.id) is not None, "must be 8 to 64 printable characters of ASCII")
        _check("exp", 0 < self.expires_at < 2**40, "must be Unix seconds")
        _check("ref", 0 < len(self.ref.encode()) <= limits.REF_BYTES, f"must have 1 to {limits.REF_BYTES} bytes")
        _check("typ", 0 < len(self.types) <= MOST_TYPES, f"must name 1 to {MOST_TYPES} types")
        _check("typ", len(set(self.types)) == len(self.types), "must not name a type twice")
        for type in self.types:
            _check(
                "typ", 0 < len(type.encode()) <= limits.FEEDBACK_TYPE_BYTES and type.isprintable(), "must name types"
            )
        _check("max", 0 < self.records <= MOST_RECORDS, f"must be 1 to {MOST_RECORDS}")
        if self.subject is not None:
            usable = 0 < len(self.subject.encode()) <= SUBJECT_BYTES and self.subject.isprintable()
            _check("sub", usable, f"must be 1 to {SUBJECT_BYTES} bytes of printable text")
        _check("org", len(self.origins) <= MOST_ORIGINS, f"must name at most {MOST_ORIGINS} origins")
        for origin in self.origins:
            _check("org", _ORIGIN.fullmatch(origin) is not None, "must name origins, as https://chat.acme.dev")
        if self.payload is not None:
            _check("max", self.records == 1, "must be 1 in a token with a fixed payload")
            try:
                size = len(json.dumps(self.payload, allow_nan=False).encode())
            except (TypeError, ValueError, RecursionError):
                raise ValueError("pay: must be a JSON object") from None
            _check("pay", size <= PAYLOAD_BYTES, f"must have at most {PAYLOAD_BYTES} bytes as JSON")

    @property
    def longest_days(self) -> int:
        """How many days such a token may be valid for at most; links in mails go through many hands."""
        return MOST_DAYS if self.payload is None else MAIL_DAYS

    @property
    def principal(self) -> str:
        """Whose feedback it is: `token:` and the subject, or without one the token's id."""
        return f"token:{self.subject or self.id}"

    def as_mapping(self) -> dict[str, Any]:
        """The claims as a token holds them; those that have their default are left out."""
        claims: dict[str, Any] = {"jti": self.id, "exp": self.expires_at, "prj": self.project, "ref": self.ref}
        claims["typ"] = list(self.types)
        if self.records != 1:
            claims["max"] = self.records
        if self.subject is not None:
            claims["sub"] = self.subject
        if self.origins:
            claims["org"] = list(self.origins)
        if self.payload is not None:
            claims["pay"] = dict(self.payload)
        return claims

    @classmethod
    def parse(cls, claims: Mapping[str, Any]) -> Claims:
        """The claims of a token whose signature holds. Raises ValueError, also for a claim that is not known: it may
        mean to narrow what is allowed.
        """
        unknown = claims.keys() - _NAMES
        if unknown:
            raise ValueError(f"{min(unknown)[:40]}: is not known here")
        return cls(
            id=_text(claims, "jti"),
            expires_at=_number(claims, "exp"),
            project=_text(claims, "prj"),
            ref=_text(claims, "ref"),
            types=_texts(claims, "typ"),
            records=_number(claims, "max", 1),
            subject=_text(claims, "sub") if "sub" in claims else None,
            origins=_texts(claims, "org", ()),
            payload=_object(claims, "pay"),
        )


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret that signs feedback tokens, under an id that they name as `kid`."""

    id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_key_id(self.id)
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"a signing key has {SECRET_BYTES} bytes")

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """The key of the text that `tokens create-key` prints. Raises ValueError, which never shows it."""
        prefix, _, rest = text.strip().partition("_")
        id, _, secret = rest.partition("_")
        try:
            if prefix == PREFIX:
                return cls(id, base64.b64decode(secret.encode() + b"=", altchars=b"-_", validate=True))
        except ValueError:
            pass
        raise ValueError(f"not a signing key; one begins with {PREFIX}_")

    @property
    def text(self) -> str:
        """The key as one word, for a secret store or an environment variable."""
        secret = base64.urlsafe_b64encode(self.secret).decode().rstrip("=")
        return f"{PREFIX}_{self.id}_{secret}"


def check_key_id(id: str) -> str:
    """An id of a signing key as it is. Raises ValueError."""
    if not _KEY_ID.fullmatch(id):
        raise ValueError("the id of a signing key is 1 to 63 small letters, digits and dashes")
    return id


def _check(claim: str, holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"{claim}: {rule}")


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    _check(name, isinstance(value, str), "must be text")
    text = str(value)
    _check(name, text.isascii() or _encodes(text), "must be text")
    return text


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(claims: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = claims.get(name, default)
    # An `exp` may be a fraction in other libraries; what is left of a second does not matter.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    _check(name, isinstance(value, int) and not isinstance(value, bool), "must be a whole number")
    assert isinstance(value, int)
    return value


def _texts(claims: Mapping[str, Any], name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
    values = claims.get(name, default)
    _check(
        name,
        isinstance(values, list | tuple) and all(isinstance(v, str) and _encodes(v) for v in values),
        "must be a list of text",
    )
    assert values is not None
    return tuple(values)


def _object(claims: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = claims.get(name)
    _check(name, value is None or isinstance(value, dict), "must be a JSON object")
    return value if isinstance(value, dict) else None
