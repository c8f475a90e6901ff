"""The refs that feedback is about, as a collection, which asks no server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, overload

from plaudit._contract.refs import Ref, parse_ref
from plaudit._show.grid import Column, Grid, cell
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
