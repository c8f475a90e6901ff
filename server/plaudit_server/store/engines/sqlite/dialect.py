"""SQLite's dialect: a payload is JSON text, read by the engine's own functions."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Final

from plaudit_server.query.compile.dialect import Dialect, Indexed, Prefilter
from plaudit_server.query.fields import is_position

# A plain decimal of up to 19 characters is converted exactly; the engine's conversion of others is not always
# the nearest double (1e23 and 20 digits are), so those few leave the engine. So do decimals of 16 digits before the
# point: of what is whole, the engine makes an integer below 2^51 only.
_SQLITE_NUMERAL = (
    "case when {t} not glob '*[eE]*' and (length({t}) < 17 or (length({t}) < 20 and instr({t}, '.') < 17))"
    " then cast({t} as numeric) else plaudit_number({t}) end"
)

# It equals its own number only when all of it is one; then signs, points and exponents are in allowed places.
_SQLITE_TEXT_NUMBER = (
    "(select case when t glob '[-+.0-9]*' and length(t) <= 40 and t not glob '*[^-+.0-9eE]*'"
    " and t not glob '*[eE]*[0-9][0-9][0-9]' and t = cast(t as numeric) then "
    + _SQLITE_NUMERAL.format(t="t")
    + " end from (select {value} as t))"
)

# A fraction of zeros is removed; 10 and 1.5e10 keep their zeros.
_SQLITE_NUMBER_TEXT = (
    "(select case when rtrim(t, '0') glob '*.' then rtrim(rtrim(t, '0'), '.') else t end from (select {value} as t))"
)

_SQLITE_JSON_NUMBER = (
    "case json_type({json}, {path}) when 'integer' then {json} ->> {path}"
    " when 'real' then (select " + _SQLITE_NUMERAL.format(t="t") + " from (select {json} -> {path} as t))"
    " when 'text' then " + _SQLITE_TEXT_NUMBER.replace("{value}", "{json} ->> {path}") + " end"
)


def _sqlite_path(segments: Sequence[str]) -> str:
    """Every key as a JSON string: only in this form can a path find any key."""
    return "$" + "".join(f".{json.dumps(segment, ensure_ascii=False)}" for segment in segments)


def _sqlite_position(segments: Sequence[str], container: Sequence[str] = ()) -> str | None:
    """The first segment as a position; a number with more digits than a payload can have elements would overflow."""
    first, *rest = segments
    return f"{_sqlite_path(container)}[{first}]{_sqlite_path(rest)[1:]}" if len(first) < 10 else None


def _sqlite_json(column: str, ways: Sequence[Sequence[str | int]]) -> tuple[str, str]:
    """The paths are literals in the SQL; of this engine, only a quote ends a literal."""
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
    json_kind=(
        "(case json_type({json}, {path}) when 'integer' then 'number' when 'real' then 'number' when 'true' then 'bool'"
        " when 'false' then 'bool' else json_type({json}, {path}) end)"
    ),
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
    # The engine lowers text that is ASCII only: a call of Python for each row would wait for the interpreter.
    fold=(
        "(select case when length(t) = octet_length(t) then lower(t) else plaudit_fold(t) end"
        " from (select {value} as t))"
    ),
    contains="instr({value}, {needle}) > 0",
    without_index="+{test}",
    starts_with="substr({value}, 1, length({prefix})) = {prefix}",
    prefix="substr({value}, 1, {length})",
    first_steps="coalesce({json} -> {as_position}, {json} -> {as_key})",
    prefilter=Prefilter(
        value="{json} ->> {path}",
        value_of_steps="coalesce({json} ->> {as_position}, {json} ->> {as_key})",
        number_between="({value}) + 0 between {low} and {high}",
        text_between="{value} between {low} and {high}",
        # An array is its JSON text, in which a text without escapes is found unchanged.
        may_contain=(
            "(select instr(t, {needle}) > 0 or instr(t, '\\') > 0 or typeof(t) <> 'text' from (select {value} as t))"
        ),
    ),
    # Neither subqueries nor registered functions, which an index cannot hold or other programs do not have.
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
        # Numerals of up to 15 digits are converted exactly by every version of the engine.
        exact_number=(
            "(case json_type({json}, {path}) when 'integer' then case when length({json} -> {path}) < 19"
            " then {json} ->> {path} else '' end when 'real' then case when length({json} -> {path}) < 17"
            " and ({json} -> {path}) not glob '*[eE]*' then cast({json} -> {path} as numeric) else '' end"
            " when 'text' then case when ({json} ->> {path}) glob '[-+.0-9]*' then '' end end)"
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
