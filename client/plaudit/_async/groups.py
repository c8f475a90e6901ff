"""Questions about many records that are awaited: groups, measures of a query, and how far raters agree."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from plaudit._async.run import ResultT, finish
from plaudit._core.expr import Expr
from plaudit._core.grouping import Grouped, Measured
from plaudit._results.agreement import Agreement
from plaudit._results.groups import Group, grid_of, key_name, table_of
from plaudit._show.grid import FIELD_COLUMNS, Grid, field_row
from plaudit._show.shown import Shown
from plaudit._steps.analysis import Analyzed, AskedGroups, top
from plaudit._steps.step import Steps

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from plaudit._async.client import AsyncClient


class AsyncGroups(Shown, AskedGroups["AsyncClient"]):
    """`Groups` whose reads are awaited: `async for group in groups`, `await groups.execute()`."""

    async def execute(self) -> list[Group]:
        """As `Groups.execute`."""
        return await finish(self._all(), self.client.transport, self._options)

    async def refresh(self) -> list[Group]:
        """As `Groups.refresh`."""
        return await finish(self._again(), self.client.transport, self._options)

    async def total(self) -> Group:
        """As `Groups.total`."""
        return await finish(self._over_all(), self.client.transport, self._options)

    def mean(self, path: str | Expr) -> AsyncGroups:
        """As `Groups.mean`."""
        groups: AsyncGroups = self.agg(mean=(path, "mean"))
        return groups

    def count(self) -> AsyncGroups:
        """As `Groups.count`."""
        return self

    async def to_arrow(self, *, counts: bool = False) -> pyarrow.Table:
        """As `Groups.to_arrow`."""
        from plaudit._frames.arrow import table

        return table(*table_of(self._request, await self.execute(), counts))

    async def to_pandas(self, *, counts: bool = False) -> pandas.DataFrame:
        """As `Groups.to_pandas`."""
        from plaudit._frames.dataframes import dataframe

        return dataframe(*table_of(self._request, await self.execute(), counts))

    async def __aiter__(self) -> AsyncIterator[Group]:
        for group in await self.execute():
            yield group

    def _grid(self) -> Grid:
        """The groups that are kept; before they are read, their keys and measures."""
        request = self._request
        if self._groups is not None:
            return grid_of(request, self._groups, self._known_better())
        rows = [field_row("project", request.project)]
        rows += [field_row("group by", key_name(key)) for key in request.group_by]
        rows += [field_row("measure", measure.name) for measure in request.measures]
        return Grid(FIELD_COLUMNS, rows, "not read yet: await groups.execute()")


class AsyncAnalysis(Analyzed):
    """What `AsyncFeedbackQuery` can be asked about all of its records at once; the server computes it."""

    @property
    @abstractmethod
    def client(self) -> AsyncClient:
        """The client that is asked."""

    def group_by(self, *keys: Grouped, **named: Grouped) -> AsyncGroups:
        """Groups of the records: by paths, expressions, or keys such as `field("created_at").day("Europe/Berlin")`."""
        return AsyncGroups(self._grouping().by(keys, named), self.client, self._options)

    def agg(self, **measures: Measured) -> AsyncGroups:
        """One group of all records, with measures."""
        return AsyncGroups(self._grouping().measured(measures), self.client, self._options)

    def newest_of(self, *paths: str | Expr) -> AsyncGroups:
        """One group; of records that agree in all of these only the newest counts."""
        return AsyncGroups(self._grouping().newest(paths), self.client, self._options)

    async def mean(self, path: str | Expr) -> float | None:
        """The mean of the numbers; None of none."""
        found: float | None = await self._done(self._one(path, "mean"))
        return found

    async def sum(self, path: str | Expr) -> int | float | None:
        """The sum of the numbers; None of none."""
        found: int | float | None = await self._done(self._one(path, "sum"))
        return found

    async def min(self, path: str | Expr) -> Any:
        """The least number, text or time; None of none."""
        return await self._done(self._one(path, "min"))

    async def max(self, path: str | Expr) -> Any:
        """The greatest number, text or time; None of none."""
        return await self._done(self._one(path, "max"))

    async def count_distinct(self, path: str | Expr) -> int:
        """How many distinct values there are."""
        found: int = await self._done(self._one(path, "count_distinct"))
        return found

    async def value_counts(self, path: str | Expr, top_values: int = 10) -> list[tuple[Any, int]]:
        """The most frequent values with their counts, ties by value."""
        found: list[tuple[Any, int]] = await self._done(self._measured(top(path, top_values), "top"))
        return found

    async def describe(self, path: str | Expr) -> dict[str, Any]:
        """count, mean, std, min, 25%, 50%, 75% and max of the numbers, as pandas has them."""
        return await self._done(self._statistics(path))

    async def fields(self, newest: int | None = 10_000) -> list[dict[str, Any]]:
        """The payload paths and keys of maps that there are, by type, with kinds and counts.

        The newest records are looked at; all of them for None.
        """
        return await self._done(self._fields(newest))

    async def agreement(
        self,
        value: str | Expr,
        *,
        unit: str | Expr | None = None,
        rater: str | Expr | None = None,
        scale: str = "nominal",
        categories: Sequence[Any] = (),
        repeats: str = "latest",
        raters: Iterable[str] = (),
    ) -> Agreement:
        """How far raters agree on `value`, by unit (`ref` unless given) and rater (the owner unless given).

        `scale` is nominal, ordinal, interval or ratio; `repeats` which of several values of one rater on one unit
        counts: latest, first, or their mean.
        """
        return await self._done(self._agreement(value, unit, rater, scale, categories, repeats, raters))

    async def _done(self, steps: Steps[ResultT]) -> ResultT:
        return await finish(steps, self.client.transport, self._options)
