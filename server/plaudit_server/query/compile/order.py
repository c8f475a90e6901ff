"""An order as SQL: what to sort by, and where the next page starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from plaudit._contract import limits
from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.fragments import Sql, fill, join
from plaudit_server.query.compile.literals import bound
from plaudit_server.query.compile.paths import Paths
from plaudit_server.query.fields import Column, MapKey
from plaudit_server.query.kinds import ScalarKind
from plaudit_server.query.tree import SortKey


@dataclass(frozen=True, slots=True)
class SortPart:
    """One expression of an order.

    `absent` is what null means: it never occurs, it sorts last, or it is decided by the parts before, so that all
    rows that are equal in those are null together.
    """

    sql: Sql
    kind: ScalarKind
    descending: bool
    absent: Literal["never", "last", "together"]

    def compared(self, dialect: Dialect, operator: Literal["beyond", "from"], value: Any) -> Sql:
        """Whether a row comes after a value in this part's direction, or (`from`) not before it."""
        sign = ("<" if self.descending else ">") + ("" if operator == "beyond" else "=")
        limit = bound(dialect, self.kind, value)
        return Sql(f"{self.sql.text} {sign} {limit.text}", self.sql.params + limit.params)


@dataclass(frozen=True, slots=True)
class Ordering:
    """An order as SQL. Its sort key is a tuple of `width` values: text, integers, doubles and nulls."""

    _parts: tuple[SortPart, ...]
    _dialect: Dialect

    @property
    def width(self) -> int:
        """How many values a row's sort key has."""
        return len(self._parts)

    @property
    def columns(self) -> Sql:
        """The sort key as result columns k0, k1, …"""
        columns = (f"{part.sql.text} as k{index}" for index, part in enumerate(self._parts))
        return Sql(", ".join(columns), tuple(param for part in self._parts for param in part.sql.params))

    @property
    def order_by(self) -> Sql:
        """What follows ORDER BY; it names the result columns, so that nothing is computed twice."""
        return Sql(
            ", ".join(
                f"k{index}{' desc' if part.descending else ''}{' nulls last' if part.absent == 'last' else ''}"
                for index, part in enumerate(self._parts)
            )
        )

    def after(self, key: Sequence[Any]) -> Sql:
        """The condition that a row comes after the one with this sort key; an index in this order serves it."""
        return self._after(
            [
                (part, value)
                for part, value in zip(self._parts, key, strict=True)
                if value is not None or part.absent != "together"
            ]
        )

    def _after(self, rest: list[tuple[SortPart, Any]]) -> Sql:
        (part, value), *later = rest
        if value is None:  # only rows without a value follow
            return join("and", (Sql(f"{part.sql.text} is null", part.sql.params), self._after(later)))
        if all(p.absent == "never" and p.descending == part.descending for p, _ in rest):
            # Row values: the whole condition is one range of an index.
            bounds = [bound(self._dialect, p.kind, v) for p, v in rest]
            return Sql(
                f"({', '.join(p.sql.text for p, _ in rest)}) {'<' if part.descending else '>'}"
                f" ({', '.join(limit.text for limit in bounds)})",
                tuple(x for p, _ in rest for x in p.sql.params) + tuple(x for limit in bounds for x in limit.params),
            )
        beyond = part.compared(self._dialect, "beyond", value)
        # The first half bounds the scan of an index, the second half is exact.
        condition = join("and", (part.compared(self._dialect, "from", value), join("or", (beyond, self._after(later)))))
        if part.absent == "last":
            condition = join("or", (Sql(f"{part.sql.text} is null", part.sql.params), condition))
        return condition


def compile_order(order: Sequence[SortKey], dialect: Dialect, alias: str = "f") -> Ordering:
    """An order that ends with `id`, as parse_order gives it, over the rows of the table `alias`."""
    paths = Paths(dialect, alias)
    return Ordering(tuple(part for key in order for part in _parts_of(paths, key)), dialect)


def _parts_of(paths: Paths, key: SortKey) -> tuple[SortPart, ...]:
    """The expressions that a key sorts by."""
    ref = key.ref
    if isinstance(ref, Column):
        assert ref.kind in ("text", "number", "time")
        absent: Literal["never", "last"] = "last" if ref.nullable else "never"
        return (SortPart(paths.column(ref.name), ref.kind, key.descending, absent),)
    if isinstance(ref, MapKey):
        return (SortPart(paths.value(ref, ref.kind), ref.kind, key.descending, "last"),)
    return (
        SortPart(paths.at(ref, partial(_rank, paths.dialect)), "number", False, "never"),
        SortPart(paths.value(ref, "number"), "number", key.descending, "together"),
        SortPart(paths.at(ref, partial(_text, paths.dialect)), "text", key.descending, "together"),
    )


def _rank(dialect: Dialect, json: Sql, path: Sql) -> Sql:
    return fill(
        dialect.json_rank,
        json=json,
        path=path,
        number=fill(dialect.json_number, json=json, path=path),
        text=fill(dialect.json_text, json=json, path=path),
    )


def _text(dialect: Dialect, json: Sql, path: Sql) -> Sql:
    text = fill(dialect.json_text, json=json, path=path)
    return fill(
        "case {rank} when 1 then {prefix} end",
        rank=_rank(dialect, json, path),
        prefix=fill(dialect.prefix, value=text, length=Sql(str(limits.SORT_TEXT_CHARACTERS))),
    )
