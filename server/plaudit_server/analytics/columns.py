"""The columns that a question reads of each record, as SQL in one subquery that computes each of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from plaudit._contract import limits
from plaudit_server.analytics.buckets import Calendar
from plaudit_server.analytics.dialects import AnalyticsDialect
from plaudit_server.analytics.labels import label_sql
from plaudit_server.analytics.records import ByEach, ByRefPart, ByTime, Grouping, Measure, Value
from plaudit_server.query.compile.dialect import MARK, Dialect
from plaudit_server.query.compile.filters import compile_filter
from plaudit_server.query.compile.fragments import Sql, fill, join
from plaudit_server.query.compile.indexed import expression
from plaudit_server.query.compile.operators import Operators
from plaudit_server.query.compile.paths import Paths
from plaudit_server.query.fields import PAYLOAD, Column, MapKey, PayloadPath
from plaudit_server.query.indexes.declared import DeclaredIndex
from plaudit_server.query.kinds import is_null
from plaudit_server.query.tree import Field


class _FieldPaths(Paths):
    """Paths of whole values, which are few: each is bound as often as it is used, which makes it faster to read."""

    def at(self, ref: MapKey | PayloadPath, build: Callable[[Sql, Sql], Sql], name: str = "v") -> Sql:
        """What `build` makes of a JSON text and the path of `ref` in it."""
        if isinstance(ref, PayloadPath) and len(ref.segments) <= limits.PAYLOAD_DEPTH:
            first, *later = self.steps(ref.segments)
            if not later:
                return build(self.column(PAYLOAD), self.placeholder(self.dialect.bind_path(first)))
        return super().at(ref, build, name)


class Columns:
    """Expressions of a question over the table `f`, in the SQL of one engine."""

    def __init__(self, dialect: Dialect, own: AnalyticsDialect) -> None:
        self.dialect = dialect
        self.own = own
        self._paths = Paths(dialect, "f")
        self._operators = Operators(self._paths)
        self._fields = _FieldPaths(dialect, "f") if own.binds_paths_at_each_use else self._paths

    def value(self, value: Value, *, is_near: bool = False) -> Sql:
        """The value of an expression; null for none. With `is_near` a number may be off by a bit."""
        kind = value.kind
        assert kind != "range"
        match value.operand:
            case operand if is_null(operand):
                return Sql(self.own.nulls[kind])
            case Field(PayloadPath() as path) if kind != "time":
                if is_near and kind == "number" and self.own.near_number is not None:
                    return self._fields.at(path, self._near)
                return self._fields.value(path, kind)
            case Field(MapKey()) if kind == "number":
                return fill(self.own.whole, value=self._operators.value(value.operand, kind))
            case _:
                return self._operators.value(value.operand, kind)

    def _near(self, json: Sql, path: Sql) -> Sql:
        assert self.own.near_number is not None
        exact = fill(self.dialect.json_number, json=json, path=path)
        return fill(self.own.near_number, json=json, path=path, exact=exact)

    def key(self, grouping: Grouping, calendar: Calendar | None) -> Sql:
        """The key of a record; for a grouping by each entry, the value that has the entries."""
        match grouping.by:
            case Value() as value:
                return self.value(value)
            case ByTime(column=column):
                if calendar is None:  # there is no record that could be in a period
                    return Sql("0")
                return label_sql(calendar, f"f.{column.name}", self._paths, self.own.greatest)
            case ByRefPart(column=column, part=part):
                return fill(self.own.ref_parts[part], value=Sql(f"f.{column.name}"))
            case ByEach(ref=Column(name=name)):
                return Sql(f"f.{name}")
            case ByEach(ref=PayloadPath() as path):
                return self._paths.filled(self.own.array, path)
            case _:
                raise AssertionError("a grouping is by one of these")

    def measured(self, measure: Measure, *, is_near: bool = False) -> Sql:
        """What a measure uses of a record: its value, or 1 where it counts records; null where it uses none."""
        value = Sql("1") if measure.value is None else self.value(measure.value, is_near=is_near)
        if measure.where is None:
            return value
        taken = compile_filter(measure.where, self.dialect, "f")
        return fill("case when {taken} then {value} end", taken=taken, value=value)


class IndexedColumns(Columns):
    """The same, with the numbers of one path as an index for aggregates holds them."""

    def __init__(self, dialect: Dialect, own: AnalyticsDialect, index: DeclaredIndex) -> None:
        super().__init__(dialect, own)
        self._operand = Field(index.ref)
        number = expression(dialect.indexed, index, "f").text
        self._number = Sql(number)
        # Numbers are below the mark, and null compares with nothing; a function would be called for each record.
        self.exact = Sql(f"({number} >= {MARK}) is not true")
        """Whether the index holds the number of a record, or that it has none."""
        self.marked = Sql(f"{number} = {MARK}")
        """Whether the payload must be read for it."""

    def value(self, value: Value, *, is_near: bool = False) -> Sql:
        """The value of an expression; null for none."""
        return self._number if value.operand == self._operand else super().value(value, is_near=is_near)


class Base(NamedTuple):
    """A subquery with a row for each record, and for each of its entries where a question groups by each."""

    sql: Sql
    keys: tuple[str, ...]


def base(
    columns: Columns,
    where: Sql,
    newest_of: Iterable[Value],
    groupings: Iterable[tuple[Grouping, Calendar | None]],
    values: Mapping[str, Sql],
    *,
    is_fenced: bool = True,
) -> Base:
    """Records that match `where`; keys are k0, k1 …, values have the names given.

    It needs no fence as a part of a compound.
    """
    named: dict[str, Sql] = {f"k{place}": columns.key(*grouping) for place, grouping in enumerate(groupings)}
    keys = tuple(named)
    named.update(values)
    parts = {f"n{place}": columns.value(value) for place, value in enumerate(newest_of)}
    fence = columns.own.fence if is_fenced else ""
    sql = _selected({**named, **parts, **_newest(parts)}, Sql("feedback as f"), where, fence)
    if parts:
        ranked = f"row_number() over (partition by {', '.join(parts)} order by created_at desc, id desc) as place"
        listed = ", ".join((*named, ranked))
        inner = Sql(f"(select {listed} from ({sql.text}) as a)", sql.params)
        sql = Sql(f"select {', '.join(named) or '1'} from {inner.text} as b where place = 1", inner.params)
    for place, (grouping, _) in enumerate(groupings):
        if isinstance(grouping.by, ByEach):
            sql = _each(columns, sql, grouping.by, f"k{place}", tuple(named))
    return Base(sql, keys)


def base_with_index(
    columns: Columns,
    indexed: IndexedColumns,
    where: Sql,
    groupings: Sequence[tuple[Grouping, Calendar | None]],
    values: Callable[[Columns], Mapping[str, Sql]],
) -> Base:
    """The same, of what an index for aggregates holds; the payloads of the few marked records are read."""
    held = base(indexed, join("and", (where, indexed.exact)), (), groupings, values(indexed), is_fenced=False)
    read = base(columns, join("and", (where, indexed.marked)), (), groupings, values(columns), is_fenced=False)
    text = f"{held.sql.text} union all {read.sql.text}"
    return Base(Sql(text, held.sql.params + read.sql.params), held.keys)


def _newest(parts: Mapping[str, Sql]) -> dict[str, Sql]:
    return {"created_at": Sql("f.created_at"), "id": Sql("f.id")} if parts else {}


def _selected(named: Mapping[str, Sql], table: Sql, where: Sql, fence: str) -> Sql:
    listed = ", ".join(f"{sql.text} as {name}" for name, sql in named.items()) or "1"
    params = tuple(param for sql in named.values() for param in sql.params)
    return Sql(f"select {listed} from {table.text} where {where.text} {fence}", (*params, *where.params))


def _each(columns: Columns, sql: Sql, by: ByEach, key: str, names: tuple[str, ...]) -> Sql:
    """A row for each entry, and one with null where there is none."""
    is_map = isinstance(by.ref, Column) and by.ref.kind == "map"
    table = fill(columns.own.keys if is_map else columns.own.entries, json=Sql(f"c.{key}"))
    entry = columns.own.key if is_map else columns.own.entry
    listed = ", ".join(f"{entry} as {name}" if name == key else f"c.{name}" for name in names)
    return Sql(f"select {listed} from ({sql.text}) as c left join {table.text} on true", sql.params)
