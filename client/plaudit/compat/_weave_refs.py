"""Weave's classes of refs, one for each kind; the grammar is that of `plaudit.parse_ref`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Self
from urllib.parse import quote

from plaudit._contract.refs import InvalidRefError, parse_ref
from plaudit._contract.refs import Ref as PlauditRef


class Uri(str):
    """A URI that may be called, too: Weave has `ref.uri`, and had `ref.uri()`."""

    __slots__ = ()

    def __call__(self) -> str:
        """The URI."""
        return str(self)


@dataclass(frozen=True)
class Ref(ABC):
    """What feedback is about. `Ref.parse_uri` makes the class of its kind."""

    @property
    @abstractmethod
    def uri(self) -> Uri:
        """The URI."""

    def __str__(self) -> str:
        return str(self.uri)

    def as_param_dict(self) -> dict[str, Any]:
        """The parts by their names."""
        return asdict(self)

    @classmethod
    def parse_uri(cls, uri: str) -> Any:
        """The ref of a URI. Raises ValueError for another text, TypeError for a ref that is not of this class."""
        made = of(parse_ref(uri))
        if not isinstance(made, cls):
            raise TypeError(f"URI is not for {cls.__name__}: {uri}")
        return made

    @staticmethod
    def maybe_parse_uri(s: str) -> Ref | None:
        """The ref of a URI; None for another text."""
        try:
            return of(parse_ref(s))
        except InvalidRefError:
            return None


@dataclass(frozen=True)
class ExternalRef(Ref):
    """Any other URI, such as `https://…`; Weave has none."""

    address: str

    @property
    def uri(self) -> Uri:
        """The URI."""
        return Uri(self.address)


@dataclass(frozen=True)
class _ProjectRef(Ref):
    entity: str
    project: str

    @property
    def project_id(self) -> str:
        """`entity/project`."""
        return f"{self.entity}/{self.project}"

    def _uri(self, kind: str, rest: str, extra: tuple[str, ...] = ()) -> Uri:
        path = "".join(f"/{quote(part, safe='')}" for part in extra)
        return Uri(f"weave:///{self.project_id}/{kind}/{rest}{path}")


@dataclass(frozen=True)
class TableRef(_ProjectRef):
    """A table."""

    _digest: str

    @property
    def digest(self) -> str:
        """The digest."""
        return self._digest

    @property
    def uri(self) -> Uri:
        """The URI."""
        return self._uri("table", self._digest)


class _WithExtra(_ProjectRef):
    _extra: tuple[str, ...]

    @property
    def extra(self) -> tuple[str, ...]:
        """The path: edges and their values."""
        return self._extra

    def with_extra(self, extra: tuple[str, ...]) -> Self:
        """The ref of a part."""
        return type(self)(**{**vars(self), "_extra": self._extra + tuple(extra)})

    def with_key(self, key: str) -> Self:
        """The ref of a value of a dict."""
        return self.with_extra(("key", key))

    def with_attr(self, attr: str) -> Self:
        """The ref of an attribute."""
        return self.with_extra(("attr", attr))

    def with_index(self, index: int) -> Self:
        """The ref of an item of a list."""
        return self.with_extra(("index", str(index)))

    def with_item(self, item_digest: str) -> Self:
        """The ref of a row of a table."""
        return self.with_extra(("id", item_digest))


@dataclass(frozen=True)
class ObjectRef(_WithExtra):
    """An object, in one version."""

    name: str
    _digest: str
    _extra: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The version."""
        return self._digest

    @property
    def uri(self) -> Uri:
        """The URI."""
        return self._uri("object", f"{self.name}:{self._digest}", self._extra)


@dataclass(frozen=True)
class OpRef(ObjectRef):
    """An op, in one version; it is an object, too."""

    @property
    def uri(self) -> Uri:
        """The URI."""
        return self._uri("op", f"{self.name}:{self._digest}", self._extra)


@dataclass(frozen=True)
class CallRef(_WithExtra):
    """A call."""

    id: str
    _extra: tuple[str, ...] = ()

    @property
    def uri(self) -> Uri:
        """The URI."""
        return self._uri("call", self.id, self._extra)


@dataclass(frozen=True)
class AgentTurnRef(_ProjectRef):
    """A turn of an agent."""

    trace_id: str

    @property
    def uri(self) -> Uri:
        """The URI."""
        return self._uri("agent_turn", self.trace_id)


@dataclass(frozen=True)
class AgentConversationRef(_ProjectRef):
    """A conversation with an agent."""

    conversation_id: str

    @property
    def uri(self) -> Uri:
        """The URI."""
        return self._uri("agent_conversation", quote(self.conversation_id, safe=""))


@dataclass(frozen=True)
class AgentSpanRef(_ProjectRef):
    """A span of an agent."""

    span_id: str

    @property
    def uri(self) -> Uri:
        """The URI."""
        return self._uri("agent_span", self.span_id)


def of(parsed: PlauditRef) -> Ref:
    """Weave's object for a parsed ref."""
    if parsed.entity is None or parsed.project is None:
        return ExternalRef(parsed.uri)
    extra = tuple(parsed.extra)
    name, digest, id = parsed.name or "", parsed.digest or "", parsed.id or ""
    home = (parsed.entity, parsed.project)
    match parsed.kind:
        case "object":
            return ObjectRef(*home, name, digest, extra)
        case "op":
            return OpRef(*home, name, digest, extra)
        case "call":
            return CallRef(*home, id, extra)
        case "table":
            return TableRef(*home, digest)
        case "agent_turn":
            return AgentTurnRef(*home, id)
        case "agent_span":
            return AgentSpanRef(*home, id)
        case _:
            return AgentConversationRef(*home, id)
