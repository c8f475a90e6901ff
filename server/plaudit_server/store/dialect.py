"""What differs between the SQL engines, as data: the placeholders, and a template for each meaning of the language.

A template is SQL with named parts in braces; query.compile puts SQL and placeholders in their places. Unknown is
SQL's null throughout. In the templates, `{json}` is JSON text and `{path}` the placeholder of a path into it,
`{value}` an expression that may be long: a template that needs it twice gives it a name first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from plaudit_server.query.fields import is_position


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Conditions that every match of a payload value with a literal meets, and that cost less than the exact one.

    They take the value as the engine reads it, in an order in which every number is below every text.
    """

    value: str
    """The value at `{path}` of `{json}`."""
    value_of_steps: str
    """The value at either of two paths, as for `first_steps`."""
    number_between: str
    text_between: str
    may_contain: str
    """Whether a text, or a text in an array, may contain `{needle}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """What an index over a path holds, as an expression that the planner finds again in a filter: no value is bound.

    Each is null or in the wrong place only where a reading of the value as its kind is null; it may hold more.
    """

    json: Callable[[str, Sequence[Sequence[str | int]]], tuple[str, str]]
    """JSON text and a path into it, as SQL: what any of several ways from a column leads to; an integer is a position.
    """
    as_number: str
    """The number as a double, or as the engine reads it."""
    as_text: str
    """The first `{length}` characters of the text."""
    as_bool: str
    """1 or 0."""
    number_slot: str
    bool_slot: str
    least: tuple[float, str] | None
    """What is below every number and below every text; None where a range may be open."""
    greatest: tuple[float, bytes] | None
    exact_numbers: bool
    """Whether a numeral is read as the double that is nearest to it."""
    most_points: int
    """How many values are bound one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One engine's SQL."""

    name: str

    # Placeholders by the kind of value, and values as the driver takes them.
    text_slot: str
    number_slot: str
    bool_slot: str
    time_slot: str
    bind_number: Callable[[int | float], Any]
    bind_numbers: Callable[[Sequence[int | float]], Any]
    bind_texts: Callable[[Sequence[str]], Any]

    once: str
    """`{body}`, in which `{name}` stands for `{value}`, computed once."""
    in_texts: str
    """Whether the text `{value}` is one of the bound `{list}`; a bare column stays one that an index serves."""
    in_numbers: str
    """The same of numbers."""
    in_times: str
    """The same of times."""

    # Paths. A payload path is walked in steps, each from one JSON text to the next.
    path_slot: str
    bind_path: Callable[[Sequence[str]], Any]
    whole: str
    """The path of a JSON text to itself, as SQL."""
    get: str
    """The JSON at a path, as JSON text."""
    opens_step: Callable[[str], bool]
    """Whether a segment can not be read without knowing what it is a part of, an array or an object."""
    step: str
    """The JSON below `{value}` at a run of segments whose first opens a step: {as_position}, {as_key} are its paths."""
    bind_position: Callable[..., Any]
    """The path of such a run read from a position, or None if it is none; with `first_steps`, and the segments
    before it as a second argument, the path from the payload itself."""

    # A value in a JSON text as each kind; null when it is none.
    json_exists: str
    json_number: str
    json_text: str
    json_bool: str
    json_rank: str
    """Where a payload value sorts: 0 a number, 1 a text or bool, 2 anything else, 3 nothing there.

    `{number}` and `{text}` are the value as each.
    """
    both_numbers: str
    """Whether both `{left}` and `{right}` (the types of two values) are JSON numbers."""
    json_type: str
    is_array: str
    """Whether the value is an array."""
    any_element: str
    """Whether a text element of the array passes `{test}`, in which {element} is that text."""
    element: str

    # One value in a scorer_* map; its kind is known.
    map_exists: str
    map_number: str
    map_text: str
    map_number_text: str

    # Casts of values that have a kind.
    text_number: str
    text_bool: str
    number_integer: str
    number_text: str
    number_bool: str
    bool_text: str
    fold: str
    contains: str
    prefix: str
    """The first `{length}` characters of a text."""

    first_steps: str | None = None
    """The first two steps of a path at once, where that is cheaper: `{json}` is the payload's column."""

    hints: Hints | None = None

    indexed: Indexed


# SQLite ------------------------------------------------------------------------------------------------------

# A plain decimal of up to 19 characters is converted exactly; the engine's conversion of others is not always
# the nearest double (1e23 and 20 digits are), so those few leave the engine.
_SQLITE_NUMERAL = (
    "case when length({t}) < 20 and {t} not glob '*[eE]*' then cast({t} as numeric) else plaudit_number({t}) end"
)

# Equal to its own number only when all of it reads as one; then signs, points and exponents are where they may be.
_SQLITE_TEXT_NUMBER = (
    "(select case when t glob '[-+.0-9]*' and length(t) <= 40 and t not glob '*[^-+.0-9eE]*'"
    " and t not glob '*[eE]*[0-9][0-9][0-9]' and t = cast(t as numeric) then "
    + _SQLITE_NUMERAL.format(t="t")
    + " end from (select {value} as t))"
)

# A fraction of zeros goes; 10 and 1.5e10 keep their zeros.
_SQLITE_NUMBER_TEXT = (
    "(select case when rtrim(t, '0') glob '*.' then rtrim(rtrim(t, '0'), '.') else t end from (select {value} as t))"
)

_SQLITE_JSON_NUMBER = (
    "case json_type({json}, {path}) when 'integer' then {json} ->> {path}"
    " when 'real' then (select " + _SQLITE_NUMERAL.format(t="t") + " from (select {json} -> {path} as t))"
    " when 'text' then " + _SQLITE_TEXT_NUMBER.replace("{value}", "{json} ->> {path}") + " end"
)


def _sqlite_path(segments: Sequence[str]) -> str:
    """Every key as a JSON string: only so does a path find each key there may be."""
    return "$" + "".join(f".{json.dumps(segment, ensure_ascii=False)}" for segment in segments)


def _sqlite_position(segments: Sequence[str], container: Sequence[str] = ()) -> str | None:
    """The first segment as a position; one of more digits than any payload has elements would wrap around."""
    first, *rest = segments
    return f"{_sqlite_path(container)}[{first}]{_sqlite_path(rest)[1:]}" if len(first) < 10 else None


def _sqlite_json(column: str, ways: Sequence[Sequence[str | int]]) -> tuple[str, str]:
    """The paths stand in the SQL: a quote is all that ends a literal of this engine."""
    paths = []
    for way in ways:
        path = "".join(f"[{step}]" if isinstance(step, int) else _sqlite_path((step,))[1:] for step in way)
        paths.append("'$" + path.replace("'", "''") + "'")
    if len(paths) == 1:
        return column, paths[0]
    return f"coalesce({', '.join(f'{column} -> {path}' for path in paths)})", "'$'"


SQLITE: Final = Dialect(
    name="sqlite",
    text_slot="?",
    number_slot="?",
    bool_slot="?",
    time_slot="?",
    bind_number=lambda value: value,
    bind_numbers=lambda values: json.dumps([repr(value) for value in values]),
    bind_texts=lambda values: json.dumps(values, ensure_ascii=False),
    # A subquery without FROM is never merged into the outer one, which would compute the value at each use.
    once="(select {body} from (select {value} as {name}))",
    in_texts="{value} in (select value from json_each({list}))",
    in_numbers="{value} in (select plaudit_number(value) from json_each({list}))",
    in_times="{value} in (select cast(value as integer) from json_each({list}))",
    path_slot="?",
    bind_path=_sqlite_path,
    whole="'$'",
    get="{json} -> {path}",
    opens_step=is_position,
    step="(select coalesce(v -> {as_position}, v -> {as_key}) from (select {value} as v))",
    bind_position=_sqlite_position,
    json_exists="(json_type({json}, {path}) is not null)",
    json_number=_SQLITE_JSON_NUMBER,
    json_text=(
        "case json_type({json}, {path}) when 'text' then {json} ->> {path} when 'integer' then {json} -> {path}"
        " when 'real' then " + _SQLITE_NUMBER_TEXT.replace("{value}", "{json} -> {path}") + ""
        " when 'true' then 'true' when 'false' then 'false' end"
    ),
    json_bool=(
        "case json_type({json}, {path}) when 'true' then true when 'false' then false"
        " when 'text' then case {json} ->> {path} when 'true' then true when 'false' then false end"
        " else case " + _SQLITE_JSON_NUMBER + " when 1 then true when 0 then false end end"
    ),
    json_rank=(
        "case json_type({json}, {path}) when 'integer' then 0 when 'real' then 0 when 'true' then 1 when 'false' then 1"
        " when 'text' then case when {number} is null then 1 else 0 end"
        " else case when json_type({json}, {path}) is null then 3 else 2 end end"
    ),
    both_numbers="({left} in ('integer', 'real') and {right} in ('integer', 'real'))",
    json_type="json_type({json}, {path})",
    is_array="json_type({json}, {path}) = 'array'",
    any_element="exists (select 1 from json_each({json}, {path}) as e where e.type = 'text' and {test})",
    element="e.value",
    map_exists="(json_type({json}, {path}) is not null)",
    map_number="{json} ->> {path}",
    map_text="{json} ->> {path}",
    map_number_text=_SQLITE_NUMBER_TEXT.replace("{value}", "{json} -> {path}"),
    text_number=_SQLITE_TEXT_NUMBER,
    text_bool="case {value} when 'true' then true when 'false' then false end",
    # Out of range, the cast gives the nearest integer, which is another number.
    number_integer=("(select case when n = cast(n as integer) then cast(n as integer) end from (select {value} as n))"),
    number_text="cast({value} as text)",
    number_bool="case {value} when 1 then true when 0 then false end",
    bool_text="case {value} when true then 'true' when false then 'false' end",
    # Text of ASCII alone is lowered by the engine: a call of Python in each row would wait for the interpreter.
    fold=(
        "(select case when length(t) = octet_length(t) then lower(t) else plaudit_fold(t) end"
        " from (select {value} as t))"
    ),
    contains="instr({value}, {needle}) > 0",
    prefix="substr({value}, 1, {length})",
    first_steps="coalesce({json} -> {as_position}, {json} -> {as_key})",
    hints=Hints(
        value="{json} ->> {path}",
        value_of_steps="coalesce({json} ->> {as_position}, {json} ->> {as_key})",
        number_between="({value}) + 0 between {low} and {high}",
        text_between="{value} between {low} and {high}",
        # An array is its JSON text, in which a text without escapes stands as it is.
        may_contain=(
            "(select instr(t, {needle}) > 0 or instr(t, '\\') > 0 or typeof(t) <> 'text' from (select {value} as t))"
        ),
    ),
    # Neither subqueries nor registered functions, which an index can not hold or other programs do not have.
    indexed=Indexed(
        json=_sqlite_json,
        as_number=(
            "(case json_type({json}, {path}) when 'integer' then {json} ->> {path} when 'real' then {json} ->> {path}"
            " when 'text' then case when ({json} ->> {path}) glob '[-+.0-9]*' then ({json} ->> {path}) + 0 end end)"
        ),
        as_text=(
            "substr(case json_type({json}, {path}) when 'text' then {json} ->> {path}"
            " when 'integer' then {json} -> {path} when 'real' then case when rtrim({json} -> {path}, '0') glob '*.'"
            " then rtrim(rtrim({json} -> {path}, '0'), '.') else {json} -> {path} end"
            " when 'true' then 'true' when 'false' then 'false' end, 1, {length})"
        ),
        as_bool=(
            "(case json_type({json}, {path}) when 'true' then 1 when 'false' then 0"
            " when 'integer' then case {json} ->> {path} when 1 then 1 when 0 then 0 end"
            " when 'real' then case when abs({json} ->> {path}) < 0.1 then 0"
            " when abs(({json} ->> {path}) - 1) < 0.1 then 1 end"
            " when 'text' then case {json} ->> {path} when 'true' then 1 when 'false' then 0 end end)"
        ),
        number_slot="?",
        bool_slot="?",
        # Between two bounds the planner expects fewer rows than above one, and takes the index.
        least=(-math.inf, ""),
        greatest=(math.inf, b""),
        exact_numbers=False,
        most_points=100,
    ),
)
