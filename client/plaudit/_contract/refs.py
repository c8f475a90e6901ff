"""The grammar of refs: from a URI to its parts and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from plaudit._contract import limits

RefKind = Literal["object", "op", "call", "table", "agent_turn", "agent_span", "agent_conversation", "external"]
"""What a ref names."""

_PREFIX: Final = "weave:///"
_CACHED_CHARACTERS: Final = 256
_EDGES: Final = frozenset(("attr", "key", "index", "id"))
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# Unicode blanks too; C0, DEL and C1 are the control characters.
_BLANK_OR_CONTROL: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


class InvalidRefError(ValueError):
    """The text is not a ref; the message says why."""


class RefEdge(NamedTuple):
    """One step of the path at the end of a ref: `edge` is attr, key, index or id; `value` is decoded."""

    edge: str
    value: str


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed ref: an immutable value, made by `parse_ref`. Parts that its kind does not have are None.

    Two refs are equal when kind and parts are equal. So `…/object/n` and `…/object/n:latest` parse to equal refs,
    although feedback on one is not feedback on the other: refs are stored and matched as exact text.
    """

    kind: RefKind
    uri: str
    """The URI in its normal form; that of an external ref is unchanged."""
    entity: str | None = None
    project: str | None = None
    name: str | None = None
    digest: str | None = None
    id: str | None = None
    path: tuple[RefEdge, ...] = ()

    def __str__(self) -> str:
        return self.uri

    @property
    def project_id(self) -> str | None:
        """`entity/project`; None for an external ref."""
        return None if self.entity is None else f"{self.entity}/{self.project}"

    @property
    def extra(self) -> list[str]:
        """The path as a flat list: `["attr", "rows", "id", "abc"]`."""
        return [text for edge in self.path for text in edge]

    @property
    def call_id(self) -> str | None:
        """The id of a call; None for other kinds."""
        return self.id if self.kind == "call" else None

    @property
    def trace_id(self) -> str | None:
        """The id of an agent's turn; None for other kinds."""
        return self.id if self.kind == "agent_turn" else None

    @property
    def span_id(self) -> str | None:
        """The id of an agent's span; None for other kinds."""
        return self.id if self.kind == "agent_span" else None

    @property
    def conversation_id(self) -> str | None:
        """The decoded id of a conversation; None for other kinds."""
        return self.id if self.kind == "agent_conversation" else None


def parse_ref(uri: str) -> Ref:
    """Parse a ref. Raises InvalidRefError, a ValueError, for a text that breaks a rule of the grammar."""
    if not isinstance(uri, str):
        raise TypeError(f"a ref is a str, not {type(uri).__name__}")
    return _parse(uri) if len(uri) > _CACHED_CHARACTERS else _parse_again(uri)


def names_digest(uri: str) -> bool:
    """Whether the URI of an object or op names its digest (`n:d`); without one it means `latest`."""
    return ":" in uri[len(_PREFIX) :].split("/", 4)[3]


def _parse(uri: str) -> Ref:
    _check_text(uri)
    if not uri.startswith(_PREFIX):
        return _external(uri)
    entity, project, kind, *rest = _parts(uri)
    head = f"{_PREFIX}{entity}/{project}/{kind}/"
    match kind:
        case "object" | "op":
            name, colon, digest = rest[0].partition(":")
            if not colon:
                digest = "latest"
            if not name or not digest or ":" in digest:
                raise InvalidRefError(f"the {kind} is not written as name:digest")
            path = _path(rest[1:])
            return Ref(
                kind, f"{head}{name}:{digest}{_rendered(path)}", entity, project, name=name, digest=digest, path=path
            )
        case "call":
            path = _path(rest[1:])
            return Ref(kind, f"{head}{rest[0]}{_rendered(path)}", entity, project, id=rest[0], path=path)
        case "table":
            digest = _alone(rest)
            if ":" in digest:
                raise InvalidRefError("the digest of a table holds no colon")
            return Ref(kind, head + digest, entity, project, digest=digest)
        case "agent_turn" | "agent_span":
            id = _alone(rest)
            return Ref(kind, head + id, entity, project, id=id)
        case "agent_conversation":
            id = _decoded(_alone(rest))
            return Ref(kind, head + _encoded(id), entity, project, id=id)
    raise InvalidRefError("the kind is none of object, op, call, table, agent_turn, agent_span, agent_conversation")


# The same refs come many times, and each create parses its own. Long ones would make the cache too large.
_parse_again: Final = lru_cache(maxsize=2048)(_parse)


def _check_text(uri: str) -> None:
    """Check the rules for any text of a record: its size in bytes, no NUL, no lone surrogate."""
    try:
        size = len(uri) if uri.isascii() else len(uri.encode())
    except UnicodeEncodeError:
        raise InvalidRefError("the ref holds a lone surrogate") from None
    if size > limits.REF_BYTES:
        raise InvalidRefError(f"the ref has {size} bytes, the limit is {limits.REF_BYTES}")
    if "\0" in uri:
        raise InvalidRefError("the ref holds a NUL character")


def _parts(uri: str) -> list[str]:
    """Entity, project, kind and at least one more part; these four are not empty."""
    parts = uri[len(_PREFIX) :].split("/")
    if len(parts) < 4 or not all(parts[:4]):
        raise InvalidRefError("a weave ref is written as weave:///<entity>/<project>/<kind>/<name or id>")
    return parts


def _alone(rest: list[str]) -> str:
    """The digest or id of a kind that has no path."""
    if len(rest) > 1:
        raise InvalidRefError("nothing may follow the digest or id of this kind of ref")
    return rest[0]


def _path(parts: list[str]) -> tuple[RefEdge, ...]:
    if len(parts) % 2:
        raise InvalidRefError("the path is not made of pairs edge/value")
    edges = []
    for edge, text in zip(parts[::2], parts[1::2], strict=True):
        value = _decoded(text)
        if edge not in _EDGES:
            raise InvalidRefError("an edge of the path is none of attr, key, index, id")
        if edge == "index":
            if not (value.isascii() and value.isdigit()):
                raise InvalidRefError("an index is no integer from 0")
            value = value.lstrip("0") or "0"
        edges.append(RefEdge(edge, value))
    return tuple(edges)


def _rendered(path: tuple[RefEdge, ...]) -> str:
    return "".join([f"/{edge}/{_encoded(value)}" for edge, value in path])


def _decoded(text: str) -> str:
    """Percent-decode. A `%` without two hex digits is kept as it is; an escape that is not UTF-8 is refused."""
    if "%" not in text:
        return text
    try:
        value = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidRefError("an escape of the ref is no UTF-8") from None
    if "\0" in value:
        raise InvalidRefError("the ref holds a NUL character")
    return value


def _encoded(value: str) -> str:
    return quote(value, safe="")  # quote keeps exactly A-Z a-z 0-9 _ . - ~


def _external(uri: str) -> Ref:
    scheme = _SCHEME.match(uri)
    if scheme is None:
        raise InvalidRefError("a ref is an absolute URI: weave:///<entity>/<project>/…, or a scheme, a colon and more")
    name = scheme[1].lower()
    if name == "weave" or name.startswith("weave-"):
        raise InvalidRefError("a weave ref starts with weave:///, in lower case and with three slashes")
    if scheme.end() == len(uri):
        raise InvalidRefError("nothing follows the scheme")
    if _BLANK_OR_CONTROL.search(uri):
        raise InvalidRefError("an external ref holds no blank or control character")
    return Ref("external", uri)
