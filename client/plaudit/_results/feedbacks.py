"""Feedback that was read, as a collection, which asks no server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

from plaudit._core.model import Feedback
from plaudit._results.refs import Refs
from plaudit._show.shown import Shown

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from plaudit._frames.columns import PayloadForm
    from plaudit._show.grid import Grid


class Feedbacks(Shown, Sequence[Feedback]):
    """Records in order; with `show_refs` a table of them has a column for their refs."""

    def __init__(self, show_refs: bool, feedbacks: Iterable[Feedback] | None = None) -> None:
        self.show_refs = show_refs
        self._feedbacks = list(() if feedbacks is None else feedbacks)

    def refs(self) -> Refs:
        """The unique refs of the records, in the order in which they are first seen."""
        counts: dict[str, int] = {}
        for feedback in self._feedbacks:
            counts[feedback.ref] = counts.get(feedback.ref, 0) + 1
        return Refs(counts, counts)

    def to_arrow(self, payload: PayloadForm = "json") -> pyarrow.Table:
        """A table of Arrow with a row for each record and a column for each field: see `plaudit.frames.to_arrow`."""
        from plaudit.frames import to_arrow

        return to_arrow(self._feedbacks, payload)

    def to_pandas(self, payload: PayloadForm = "dict") -> pandas.DataFrame:
        """A DataFrame with a row for each record and a column for each field: see `plaudit.frames.to_pandas`."""
        from plaudit.frames import to_pandas

        return to_pandas(self._feedbacks, payload)

    def to_polars(self, payload: PayloadForm = "json") -> polars.DataFrame:
        """The same of polars: see `plaudit.frames.to_polars`."""
        from plaudit.frames import to_polars

        return to_polars(self._feedbacks, payload)

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

    def _grid(self) -> Grid:
        from plaudit._results.view import grid_of

        return grid_of(self._feedbacks, self.show_refs)


class Preview(Feedbacks):
    """The first records of a result, to be shown; `total` is the number of all, which were not read."""

    def __init__(self, show_refs: bool, feedbacks: Iterable[Feedback], total: int) -> None:
        super().__init__(show_refs, feedbacks)
        self._total = total

    def _grid(self) -> Grid:
        from plaudit._results.view import grid_of

        return grid_of(self._feedbacks, self.show_refs, self._total)
