"""Feedback that was read, and the refs that it is about: ordered collections, which ask no server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from plaudit._contract.refs import Ref, parse_ref
from plaudit._core.model import Feedback

if TYPE_CHECKING:
    import pandas
    from rich.console import Console, ConsoleOptions, RenderResult


class Refs(Sequence[str]):
    """Unique URIs in order; `counts` tells how many records are about each."""

    def __init__(self, refs: Iterable[str] = (), counts: Mapping[str, int] | None = None) -> None:
        self._uris = list(dict.fromkeys(refs))
        self._counts = dict(counts or {})

    @property
    def counts(self) -> dict[str, int]:
        """The number of records by URI, among those that the refs were taken from."""
        return dict(self._counts)

    def parsed(self) -> list[Ref]:
        """The refs with their parts. Raises InvalidRefError, a ValueError, for a text that is none."""
        return [parse_ref(uri) for uri in self._uris]

    def call_refs(self) -> list[Ref]:
        """Those that are calls, with their parts."""
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

    def __repr__(self) -> str:
        return f"Refs({self._uris!r})"


class Feedbacks(Sequence[Feedback]):
    """Records in order; `show_refs` adds what they are about when they are shown."""

    def __init__(self, show_refs: bool, feedbacks: Iterable[Feedback] | None = None) -> None:
        self.show_refs = show_refs
        self._feedbacks = list(() if feedbacks is None else feedbacks)

    def refs(self) -> Refs:
        """The unique refs of the records, in the order in which they are first seen."""
        counts: dict[str, int] = {}
        for feedback in self._feedbacks:
            counts[feedback.ref] = counts.get(feedback.ref, 0) + 1
        return Refs(counts, counts)

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame with a row for each record and a column for each field. Needs pandas."""
        from plaudit._show.table import dataframe

        return dataframe(self._feedbacks)

    @overload
    def __getitem__(self, index: int) -> Feedback: ...
    @overload
    def __getitem__(self, index: slice) -> list[Feedback]: ...
    def __getitem__(self, index: int | slice) -> Feedback | list[Feedback]:
        return self._feedbacks[index]

    def __len__(self) -> int:
        return len(self._feedbacks)

    def __iter__(self) -> Iterator[Feedback]:
        return iter(self._feedbacks)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Feedbacks):
            return self._feedbacks == other._feedbacks
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Feedbacks(show_refs={self.show_refs}, {len(self)} records)"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from plaudit._show.table import table

        yield table(self, options.max_width)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from plaudit._show.table import text

        printer.text("Feedbacks(...)" if cycle else text(self))

    def _repr_html_(self) -> str:
        from plaudit._show.table import html

        return html(self)
