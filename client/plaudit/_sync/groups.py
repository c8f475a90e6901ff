"""Questions about many records that block: groups of a query's records, its measures, and how far raters agree."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from plaudit._core.errors import PlauditError
from plaudit._core.expr import Expr
from plaudit._core.grouping import Grouped, Measured
from plaudit._results.agreement import Agreement
from plaudit._results.groups import Group, grid_of, table_of
from plaudit._show.grid import Grid
from plaudit._show.shown import Shown
from plaudit._steps.analysis import Analyzed, AskedGroups, top
from plaudit._steps.step import Steps
from plaudit._sync.run import ResultT, finish

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from plaudit._sync.client import Client


class Groups(Shown, AskedGroups["Client"]):
    """Groups of the records of a query; nothing is sent before they are looked at.

    Methods such as `agg`, `having`, `sort` and `limit` return a new question. The groups are kept once fetched.
    """

    def execute(self) -> list[Group]:
        """All groups, fetched at the first call; later calls return the same list, until `refresh()`."""
        return finish(self._all(), self.client.transport, self._options)

    def refresh(self) -> list[Group]:
        """Fetch again, keep the new groups and return them."""
        return finish(self._again(), self.client.transport, self._options)

    @property
    def total(self) -> Group:
        """One more group over all records, whatever `having` and `limit` keep; fetched at the first use."""
        return finish(self._over_all(), self.client.transport, self._options)

    def mean(self, path: str | Expr) -> Groups:
        """The mean of the numbers of each group, as `mean`."""
        groups: Groups = self.agg(mean=(path, "mean"))
        return groups

    def count(self) -> Groups:
        """The groups as they are: each has its `row_count`."""
        return self

    def to_arrow(self, *, counts: bool = False) -> pyarrow.Table:
        """A table of Arrow with the columns of `to_pandas`. Needs pyarrow."""
        from plaudit._frames.arrow import table

        return table(*table_of(self._request, self.execute(), counts))

    def to_pandas(self, *, counts: bool = False) -> pandas.DataFrame:
        """A DataFrame with a column for each key, `row_count`, and one for each measure. Needs pandas.

        Of several percentiles each has a column, as `p_50`; `counts` adds how many records had a value, as
        `score_count`.
        """
        from plaudit._frames.dataframes import dataframe

        return dataframe(*table_of(self._request, self.execute(), counts))

    def __iter__(self) -> Iterator[Group]:
        return iter(self.execute())

    def __len__(self) -> int:
        return len(self.execute())

    def __getitem__(self, index: int) -> Group:
        return self.execute()[index]

    def _grid(self) -> Grid:
        groups = self.execute()
        try:
            better = finish(self._better(), self.client.transport, self._options)
        except PlauditError:  # an older server, or no right to read them: the groups are shown all the same
            better = {}
        return grid_of(self._request, groups, better)


class Analysis(Analyzed):
    """What `FeedbackQuery` can be asked about all of its records at once; the server computes it."""

    @property
    @abstractmethod
    def client(self) -> Client:
        """The client that is asked."""

    def group_by(self, *keys: Grouped, **named: Grouped) -> Groups:
        """Groups of the records: by paths, expressions, or keys such as `field("created_at").day("Europe/Berlin")`."""
        return Groups(self._grouping().by(keys, named), self.client, self._options)

    def agg(self, **measures: Measured) -> Groups:
        """One group of all records, with measures."""
        return Groups(self._grouping().measured(measures), self.client, self._options)

    def newest_of(self, *paths: str | Expr) -> Groups:
        """One group; of records that agree in all of these only the newest counts."""
        return Groups(self._grouping().newest(paths), self.client, self._options)

    def mean(self, path: str | Expr) -> float | None:
        """The mean of the numbers; None of none."""
        found: float | None = self._done(self._one(path, "mean"))
        return found

    def sum(self, path: str | Expr) -> int | float | None:
        """The sum of the numbers; None of none."""
        found: int | float | None = self._done(self._one(path, "sum"))
        return found

    def min(self, path: str | Expr) -> Any:
        """The least number, text or time; None of none."""
        return self._done(self._one(path, "min"))

    def max(self, path: str | Expr) -> Any:
        """The greatest number, text or time; None of none."""
        return self._done(self._one(path, "max"))

    def count_distinct(self, path: str | Expr) -> int:
        """How many distinct values there are."""
        found: int = self._done(self._one(path, "count_distinct"))
        return found

    def value_counts(self, path: str | Expr, top_values: int = 10) -> list[tuple[Any, int]]:
        """The most frequent values with their counts, ties by value."""
        found: list[tuple[Any, int]] = self._done(self._measured(top(path, top_values), "top"))
        return found

    def describe(self, path: str | Expr) -> dict[str, Any]:
        """count, mean, std, min, 25%, 50%, 75% and max of the numbers, as pandas has them."""
        return self._done(self._statistics(path))

    def fields(self, newest: int | None = 10_000) -> list[dict[str, Any]]:
        """The payload paths and keys of maps that there are, by type, with kinds and counts.

        The newest records are looked at; all of them for None.
        """
        return self._done(self._fields(newest))

    def agreement(
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
        return self._done(self._agreement(value, unit, rater, scale, categories, repeats, raters))

    def _done(self, steps: Steps[ResultT]) -> ResultT:
        return finish(steps, self.client.transport, self._options)
