"""PostgreSQL's dialect: a number is a `numeric`, a payload is read as `json` and never as `jsonb` or by jsonpath.

Every text that these templates make is compared by code point, since the database's own order may be any. `offset 0`
keeps a subquery from being merged into the outer one, which would compute a value at each use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from plaudit_server.query.compile.dialect import Dialect, Indexed
from plaudit_server.query.fields import is_position

_INT64: Final = "between -9223372036854775808 and 9223372036854775807"

# What `#>` accepts as a position in an array; the language accepts fewer.
_TAKEN_FOR_POSITION: Final = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+")


def _numeral(text: str) -> str:
    """A numeral as a numeric of its exact value: a 64-bit integer, or the nearest double.

    A double goes through its shortest text, which keeps equality and order among doubles; where integers are
    denser than doubles it becomes the integer that it is. A short one without an exponent has this value already.
    """
    double = f"{text}::float8"
    return (
        f"case when length({text}) < 16 and strpos({text}, 'e') = 0 and strpos({text}, 'E') = 0 then {text}::numeric"
        f" when {text} ~ '^[-+]?[0-9]+$' and {text}::numeric {_INT64} then {text}::numeric"
        f" when abs({double}) >= 9007199254740992 and {double} between -9223372036854775808 and 9223372036854774784"
        f" then {double}::int8::numeric else {double}::text::numeric end"
    )


# Cast only after the pattern has matched, so that the cast cannot fail.
_TEXT_NUMBER: Final = (
    "case when length(t) <= 40 and t ~ '^[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9][0-9]?)?$' then "
    + _numeral("t")
    + " end"
)
_NUMBER_TEXT: Final = "regexp_replace(t, '[.]0+$', '')"


def _of_json(body: str) -> str:
    """`body` over `k`, the type of the JSON at a path, and `t`, its text."""
    return (
        f"(select {body} from (select json_typeof(j) as k, (j #>> '{{{{}}}}') collate \"C\" as t"
        " from (select ({json})::json #> {path} as j offset 0) as a offset 0) as b)"
    )


def _of_text(body: str, value: str = "({value})") -> str:
    """`body` over `t`, a text."""
    return f'(select {body} from (select {value} collate "C" as t offset 0) as a)'


_MAP_TEXT: Final = '(({json})::json #>> {path}) collate "C"'


def _exact(value: int | float) -> Decimal:
    """A number as the numeric that `_numeral` makes of it."""
    if isinstance(value, float) and abs(value) >= 2.0**53 and -(2.0**63) <= value < 2.0**63:
        return Decimal(int(value))
    return Decimal(repr(value))


def _array(texts: Sequence[str]) -> str:
    """An array as the text of its literal."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def _position(segments: Sequence[str]) -> list[str] | None:
    """The segments, if the first is a position in the language too."""
    return list(segments) if is_position(segments[0]) else None


def _opens_step(segment: str) -> bool:
    return _TAKEN_FOR_POSITION.fullmatch(segment) is not None


def _literal(text: str) -> str:
    """A text as SQL: all characters but letters, digits and a few signs are escaped, whatever the session's settings.

    That takes care of the driver's own placeholders too.
    """
    plain = (c if c.isascii() and (c.isalnum() or c in '_,{}" ') else _escape(c) for c in text)
    return f"E'{''.join(plain)}'"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json(column: str, ways: Sequence[Sequence[str | int]]) -> tuple[str, str]:
    """One way for all: `#>` reads digits as a position or as a key, whichever is there."""
    return column, f"{_literal(_array([str(step) for step in ways[0]]))}::text[]"


# JSON and its text at the path of an index, written out each time: an index holds no subquery.
_AT: Final = "(({json})::json #> {path})"
_TEXT_AT: Final = "(({json})::json #>> {path})"

_INDEXED: Final = Indexed(
    json=_json,
    # A cast that could fail follows a pattern, or is of a JSON number, which is known to be a double.
    as_number=(
        f"(case when {_TEXT_AT} ~ '^(?=.{{{{1,40}}}}$)[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9][0-9]?)?$'"
        f" then {_TEXT_AT}::float8 when json_typeof({_AT}) = 'number' then {_TEXT_AT}::float8 end)"
    ),
    as_text=(
        f"(left(case json_typeof({_AT}) when 'string' then {_TEXT_AT}"
        f" when 'number' then regexp_replace({_TEXT_AT}, '[.]0+$', '') when 'boolean' then {_TEXT_AT} end,"
        ' {length}) collate "C")'
    ),
    as_bool=(
        f"(case json_typeof({_AT}) when 'boolean' then case {_TEXT_AT} when 'true' then 1 else 0 end"
        f" when 'string' then case {_TEXT_AT} when 'true' then 1 when 'false' then 0 end"
        f" when 'number' then case {_TEXT_AT}::float8 when 1 then 1 when 0 then 0 end end)"
    ),
    exact_number=None,
    number_slot="%s::float8",
    bool_slot="%s::int",
    least=None,
    greatest=None,
    exact_numbers=True,
    most_points=1000,
)


def postgres(fold_collation: str) -> Dialect:
    """The dialect for a database whose collation `fold_collation` folds case by Unicode."""
    lowered = f"lower(replace({{value}}, 'İ', 'i') collate \"{fold_collation}\")"
    return Dialect(
        name="postgresql",
        text_slot='(%s::text collate "C")',
        number_slot="%s::numeric",
        bool_slot="%s::boolean",
        time_slot="%s::bigint",
        bind_number=_exact,
        bind_numbers=lambda values: _array([str(_exact(value)) for value in values]),
        bind_texts=_array,
        once="(select {body} from (select {value} as {name} offset 0) as s)",
        in_texts="{value} = any({list}::text[])",
        in_numbers="{value} = any({list}::numeric[])",
        in_times="{value} = any({list}::bigint[])",
        path_slot="%s::text[]",
        bind_path=list,
        whole="array[]::text[]",
        get="(({json})::json #> {path})::text",
        opens_step=_opens_step,
        step=(
            "(select (case json_typeof(j) when 'array' then j #> {as_position} else j #> {as_key} end)::text"
            " from (select ({value})::json as j offset 0) as a)"
        ),
        bind_position=_position,
        json_exists="(({json})::json #> {path} is not null)",
        json_number=_of_json(f"case k when 'number' then {_numeral('t')} when 'string' then {_TEXT_NUMBER} end"),
        json_text=_of_json(f"case k when 'string' then t when 'number' then {_NUMBER_TEXT} when 'boolean' then t end"),
        json_bool=_of_json(
            "case when k in ('boolean', 'string') then case t when 'true' then true when 'false' then false end"
            f" when k = 'number' then case {_numeral('t')} when 1 then true when 0 then false end end"
        ),
        json_rank=(
            "case when {number} is not null then 0 when {text} is not null then 1"
            " when (({json})::json #> {path}) is not null then 2 else 3 end"
        ),
        both_numbers="({left} = 'number' and {right} = 'number')",
        json_type="json_typeof(({json})::json #> {path})",
        json_kind=(
            "((select case k when 'string' then 'text' when 'boolean' then 'bool' else k end"
            ' from (select json_typeof(({json})::json #> {path}) as k offset 0) as a) collate "C")'
        ),
        is_array="json_typeof(({json})::json #> {path}) = 'array'",
        any_element=(
            "exists (select 1 from json_array_elements(({json})::json #> {path}) as e (value)"
            " where json_typeof(e.value) = 'string' and {test})"
        ),
        element="((e.value #>> '{}') collate \"C\")",
        map_exists="(({json})::json #> {path} is not null)",
        map_number=_of_text(_numeral("t"), f"({_MAP_TEXT})"),
        map_text=f"({_MAP_TEXT})",
        map_number_text=_of_text(_NUMBER_TEXT, f"({_MAP_TEXT})"),
        text_number=_of_text(_TEXT_NUMBER),
        text_bool="case {value} when 'true' then true when 'false' then false end",
        number_integer=(
            f"(select case when n = trunc(n) and n {_INT64} then n end"
            " from (select ({value})::numeric as n offset 0) as a)"
        ),
        number_text='(({value})::text collate "C")',
        number_bool="case {value} when 1 then true when 0 then false end",
        bool_text="(case {value} when true then 'true' when false then 'false' end collate \"C\")",
        fold=f"(replace({lowered}, 'ς', 'σ') collate \"C\")",
        contains="strpos({value}, {needle}) > 0",
        starts_with="starts_with({value}, {prefix})",
        prefix="left({value}, {length})",
        indexed=_INDEXED,
    )
