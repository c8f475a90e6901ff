"""What SQL engines do differently in questions about many records, as data; the query language has its own dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Any, Final, get_args

from plaudit_server.analytics.arithmetic import FIRST_INTEGER, LAST_INTEGER, nearest
from plaudit_server.query.refparts import RefPartName

MOMENT: Final = 10**18
"""What is added to a time in microseconds, so that every one has as many digits, and is positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticsDialect:
    """One engine's SQL, and how its rows are read."""

    nulls: Mapping[str, str]
    """A null of a kind, where the engine must know the kind."""
    whole: str
    """The number `{value}` of a map, an integer where it is whole and within 64 bits."""
    moment: str
    """The time and the id of a record as one text, in whose order records are; a time in MOMENT's digits."""
    fence: str
    """Ends a subquery that must not be merged into the one around it, which would compute values at each use."""
    greatest: str
    ref_parts: Mapping[RefPartName, str]
    """A part of the ref `{value}`."""
    entries: str
    """A table `e` of the entries of the array `{json}`, each once, that are a text, number or bool."""
    entry: str
    """The text of such an entry."""
    keys: str
    """A table `e` of the keys of the map `{json}`."""
    key: str
    """Such a key."""
    array: str
    """The array at `{path}` of `{json}` as JSON text; null for another value."""
    listed: str
    """All texts `{value}` as a JSON array; null, or empty, for none."""
    true_count: str
    """How often the bool `{value}` is true."""
    summed: tuple[str, ...]
    """Aggregates of the number `{value}` of which `total` makes the sum."""
    averaged: tuple[str, ...]
    """Aggregates of the number `{value}` of which `near_total` makes the sum."""
    near_total: Callable[[Sequence[Any]], Fraction]
    """The sum of all numbers, within 2^-50 of the sum of their magnitudes."""
    total: Callable[[Sequence[Any]], tuple[Fraction, bool]]
    """The sum, and whether all numbers are whole and within 64 bits."""
    share: str
    """`{part}` / `{whole}` of two counts as a double, null for none."""
    squared: tuple[str, ...]
    """Aggregates of the number `{value}`: its squares' sum and its greatest magnitude; none where squares lose bits."""
    near_number: str | None = None
    """The number at `{path}` of `{json}` as the engine reads it, which may be off by a bit; `{exact}` is how it is
    read exactly. None where that saves nothing."""
    binds_paths_at_each_use: bool = False
    """Whether a bound path is read faster than one that has a name."""
    center: str = ""
    """A number near the mean of `{value}`, an integer if all are; for where squares lose bits."""


def number(value: Any) -> int | float:
    """A number of a row, of any engine: an integer where it is whole and within 64 bits."""
    if isinstance(value, int):
        return value
    if FIRST_INTEGER <= value <= LAST_INTEGER and value == int(value):
        return int(value)
    return float(value)


def rounded(exact: Fraction) -> float | None:
    """The double that is closest to a fraction."""
    return nearest(exact.numerator, exact.denominator)


# SQLite: a sum of integers fails beyond 64 bits, hence by halves; a sum of doubles that leaves their range is taken of
# what is 2^64 times smaller. Whole doubles are integers.
_INTEGER: Final = "typeof({value}) = 'integer'"


def _sqlite_near_total(parts: Sequence[Any]) -> Fraction:
    total, scaled = parts
    return Fraction(total) if total is not None and isfinite(total) else Fraction(scaled) * 2**64


def _sqlite_total(parts: Sequence[Any]) -> tuple[Fraction, bool]:
    high, low, total, scaled = parts
    exact = Fraction((high or 0) * 2**32 + (low or 0))
    if scaled is not None:  # there are doubles
        is_sum = total is not None and isfinite(total)
        exact += Fraction(total) if is_sum else Fraction(scaled) * 2**64
    return exact, scaled is None


_SQLITE_SUMMED: Final = (
    f"sum(case when {_INTEGER} then {{value}} >> 32 end)",
    f"sum(case when {_INTEGER} then {{value}} & 4294967295 end)",
    "sum(case when typeof({value}) = 'real' then {value} end)",
    "sum(case when typeof({value}) = 'real' then {value} * 5.421010862427522e-20 end)",
)

SQLITE: Final = AnalyticsDialect(
    nulls=dict.fromkeys(("number", "text", "bool", "time"), "null"),
    whole="(select case when n = cast(n as integer) then cast(n as integer) else n end from (select {value} as n))",
    moment=f"(created_at + {MOMENT}) || id",
    fence="limit -1",
    greatest="max",
    ref_parts={part: f"plaudit_ref_{part}({{value}})" for part in get_args(RefPartName)},
    entries="json_each(plaudit_entries({json})) as e",
    entry="e.value",
    keys="json_each({json}) as e",
    key="e.key",
    array="case when json_type({json}, {path}) = 'array' then {json} -> {path} end",
    listed="json_group_array({value})",
    true_count="coalesce(sum({value}), 0)",
    summed=_SQLITE_SUMMED,
    averaged=("total({value})", "total({value} * 5.421010862427522e-20)"),
    near_total=_sqlite_near_total,
    binds_paths_at_each_use=True,
    near_number=(
        "case json_type({json}, {path}) when 'real' then {json} ->> {path} when 'integer' then {json} ->> {path}"
        " else {exact} end"
    ),
    total=_sqlite_total,
    share="({part} * 1.0 / nullif({whole}, 0))",
    squared=(),
    center=(
        "case when coalesce(sum(typeof({value}) = 'real'), 0) = 0 then cast(avg({value}) as integer)"
        " else avg({value}) end"
    ),
)


def _postgres_total(parts: Sequence[Any]) -> tuple[Fraction, bool]:
    total, *odd = parts
    return Fraction(total if total is not None else Decimal()), not any(odd)


_SPLIT: Final = "split_part(substr({value}, 10), '/', {place})"
_HEAD: Final = _SPLIT.replace("{place}", "4")
_KIND: Final = _SPLIT.replace("{place}", "3")
_OF_WEAVE: Final = "(case when {value} is null then null when {value} ^@ 'weave:///' then {part} {other}end)"


def _weave(part: str, other: str = "") -> str:
    return _OF_WEAVE.replace("{part}", part).replace("{other}", f"else {other} " if other else "")


_NAMED: Final = f"{_KIND} in ('object', 'op')"

POSTGRES: Final = AnalyticsDialect(
    nulls={
        kind: f"cast(null as {type})"
        for kind, type in (("number", "numeric"), ("text", "text"), ("bool", "boolean"), ("time", "bigint"))
    },
    whole="{value}",
    moment=f'((created_at + {MOMENT})::text || id) collate "C"',
    fence="offset 0",
    greatest="greatest",
    ref_parts={
        "kind": _weave(_KIND, "'external'"),
        "project": _weave(f"{_SPLIT.replace('{place}', '1')} || '/' || {_SPLIT.replace('{place}', '2')}"),
        "name": _weave(f"case when {_NAMED} then split_part({_HEAD}, ':', 1) end"),
        "digest": _weave(
            f"case when {_NAMED} then coalesce(nullif(split_part({_HEAD}, ':', 2), ''), 'latest')"
            f" when {_KIND} = 'table' then {_HEAD} end"
        ),
        "id": _weave(f"case when not {_NAMED} and {_KIND} <> 'table' then {_HEAD} end"),
        "base": _weave(
            "'weave:///' || " + " || '/' || ".join(_SPLIT.replace("{place}", str(place)) for place in range(1, 5)),
            "{value}",
        ),
    },
    entries=(
        "lateral (select distinct (case when json_typeof(v) = 'number' then regexp_replace(v #>> '{{}}', '[.]0+$', '')"
        " else v #>> '{{}}' end) collate \"C\" as t from json_array_elements(({json})::json) as x (v)"
        " where json_typeof(v) in ('string', 'number', 'boolean')) as e"
    ),
    entry="e.t",
    keys='lateral (select k collate "C" as t from json_object_keys(({json})::json) as x (k)) as e',
    key="e.t",
    array="case when json_typeof(({json})::json #> {path}) = 'array' then (({json})::json #> {path})::text end",
    listed="json_agg({value})::text",
    true_count="count(*) filter (where {value})",
    summed=(
        "sum({value})",
        "count(*) filter (where {value} <> trunc({value})"
        f" or {{value}} not between {FIRST_INTEGER} and {LAST_INTEGER})",
    ),
    averaged=("sum({value})",),
    near_total=lambda parts: _postgres_total(parts)[0],
    total=_postgres_total,
    share="(({part})::float8 / nullif({whole}, 0))",
    squared=("sum(({value})::numeric * {value})", "max(abs(({value})::numeric))"),
)

DIALECTS: Final[Mapping[str, AnalyticsDialect]] = {"sqlite": SQLITE, "postgresql": POSTGRES}
"""By the name of the query language's dialect."""
