"""The refs that feedback is about, as a collection, and what there is on each at a glance; neither asks a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

from plaudit import v1
from plaudit._contract.refs import Ref, parse_ref
from plaudit._core.measures import result_of
from plaudit._core.model import Feedback
from plaudit._show.grid import FIELD_COLUMNS, Column, Grid, cell, field_row
from plaudit._show.shown import Shown

_SHOWN: Final = 200
_COLUMN: Final = Column("Ref", 120, 16)


class Refs(Shown, Sequence[str]):
    """Unique URIs in order; `counts` has the number of records about each."""

    def __init__(self, refs: Iterable[str] = (), counts: Mapping[str, int] | None = None) -> None:
        self._uris = list(dict.fromkeys(refs))
        self._counts = dict(counts or {})

    @property
    def counts(self) -> dict[str, int]:
        """The number of records by URI, among those that the refs were taken from."""
        return dict(self._counts)

    def parsed(self) -> list[Ref]:
        """The refs with their parts. Raises InvalidRefError, a ValueError, for a text that is not a ref."""
        return [parse_ref(uri) for uri in self._uris]

    def call_refs(self) -> list[Ref]:
        """The refs of calls, with their parts."""
        return [ref for ref in self.parsed() if ref.kind == "call"]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._uris[index]

    def __len__(self) -> int:
        return len(self._uris)

    def __iter__(self) -> Iterator[str]:
        return iter(self._uris)

    def __contains__(self, value: object) -> bool:
        return value in self._uris

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Refs):
            return self._uris == other._uris
        return self._uris == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _grid(self) -> Grid:
        """A row for each of the first refs, with the number of its records where that is known."""
        shown = self._uris[:_SHOWN]
        hidden = len(self._uris) - len(shown)
        caption = f"… and {hidden} more, not shown here" if hidden else ""
        if not self._counts:
            return Grid([_COLUMN], [[cell(uri, 2_048)] for uri in shown], caption)
        rows = [[cell(uri, 2_048), str(self._counts.get(uri, 0))] for uri in shown]
        return Grid([_COLUMN, Column("Records", 12, 7)], rows, caption)

    def __repr__(self) -> str:
        return f"Refs({self._uris!r})"


@dataclass(frozen=True, slots=True)
class Reaction:
    """One emoji on one ref: its records, the distinct users who own them, and whether one is the caller's."""

    emoji: str
    count: int
    user_count: int
    mine: bool


class RefOverview(Shown):
    """What there is on one ref; `overview["score"]` is a measure, None where there is no value."""

    __slots__ = ("_measures", "newest", "newest_id", "reactions", "ref", "row_count", "types")

    def __init__(self, request: v1.SummarizeRefsRequest, message: v1.RefOverview) -> None:
        self.ref = message.ref
        self.row_count = message.row_count
        """How many records it has; 0 is an answer, too."""
        self.types = {each.feedback_type: each.count for each in message.types}
        """How many records have each type."""
        self.reactions = [reaction_of(each) for each in message.reactions]
        """In the order in which each first came."""
        self.newest_id = message.newest_id or None
        self.newest = Feedback(message.newest) if message.HasField("newest") else None
        """The newest record, if it was asked for."""
        pairs = zip(request.measures, message.measures, strict=True)
        self._measures = {asked.name: result_of(asked, result) for asked, result in pairs}

    def __getitem__(self, name: str) -> Any:
        return self._measures[name]

    def _grid(self) -> Grid:
        """What there is, and each measure."""
        reactions = ", ".join(f"{each.emoji} {each.count}{' (mine)' if each.mine else ''}" for each in self.reactions)
        rows = [
            field_row("ref", self.ref),
            field_row("row_count", self.row_count),
            *(field_row(feedback_type, count) for feedback_type, count in self.types.items()),
            *([field_row("reactions", reactions)] if reactions else []),
            *([field_row("newest_id", self.newest_id)] if self.newest_id else []),
            *(field_row(name, "–" if value is None else value) for name, value in self._measures.items()),
        ]
        return Grid(FIELD_COLUMNS, rows)

    def __repr__(self) -> str:
        return f"RefOverview({self.ref!r}, row_count={self.row_count}, reactions={self.reactions})"


def reaction_of(message: v1.ReactionCount) -> Reaction:
    """One emoji on one ref."""
    return Reaction(message.emoji, message.count, message.user_count, message.mine)
