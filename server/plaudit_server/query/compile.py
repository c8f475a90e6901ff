"""Operations and orders to SQL text and bound values; no text of a request is ever in the SQL.

Truth is SQL's own three-valued logic: every part is true, false or null, and null means unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from typing import Literal as Word

from plaudit._contract import limits
from plaudit_server.query.condition import IndexCondition
from plaudit_server.query.fields import PAYLOAD, Column, FieldRef, MapKey, PayloadPath
from plaudit_server.query.hints import range_of
from plaudit_server.query.indexes import COMPLEMENT, MIRRORED, NO_INDEXES, DeclaredIndex, Indexes, Span
from plaudit_server.query.order import Ordering, SortPart
from plaudit_server.query.parse import (
    And,
    Compare,
    Contains,
    Convert,
    Field,
    In,
    Literal,
    Not,
    Op,
    Operand,
    Operation,
    Or,
    SortKey,
    Target,
    kind_of,
)
from plaudit_server.query.sql import ScalarKind, Sql, bound, compare, fill, join

if TYPE_CHECKING:
    from plaudit_server.store.dialect import Dialect, Hints


__all__ = ["Filter", "Ordering", "Sql", "compile_filter", "compile_indexed", "compile_order"]

# Each may cost a statement that asks whether it pays.
_MOST_CONDITIONS: Final = 8


class Filter(NamedTuple):
    """A condition, and the parts of it that a declared index serves."""

    sql: Sql
    conditions: tuple[IndexCondition, ...]


def compile_filter(operation: Operation, dialect: Dialect, alias: str = "f") -> Sql:
    """A condition that is true for the rows of the table `alias` that match, and false or null for all others."""
    return _Compiler(dialect, alias).match(operation)


def compile_indexed(
    operation: Operation,
    dialect: Dialect,
    alias: str,
    indexes: Indexes,
    without: Collection[IndexCondition] = (),
) -> Filter:
    """The same condition, put so that declared indexes serve it, but for the conditions `without`."""
    compiler = _Compiler(dialect, alias, indexes, without)
    return Filter(compiler.match(operation), tuple(compiler.conditions))


def compile_order(order: Sequence[SortKey], dialect: Dialect, alias: str = "f") -> Ordering:
    """An order that ends with `id`, as parse_order gives it, over the rows of the table `alias`."""
    compiler = _Compiler(dialect, alias)
    return Ordering(tuple(part for key in order for part in compiler.sort_parts(key)), dialect)


# Typed, for in a subquery an engine may take a bare null for text.
_NULL: Final = Sql("cast(null as boolean)")
_TRUE: Final = Sql("true")
_FALSE: Final = Sql("false")


class _Readings(NamedTuple):
    """All that a payload value may be read as, when what it meets is another payload value."""

    type: Sql
    number: Sql
    text: Sql


class _Compiler:
    """Compiles for one engine and one table."""

    def __init__(
        self,
        dialect: Dialect,
        alias: str,
        indexes: Indexes = NO_INDEXES,
        without: Collection[IndexCondition] = (),
    ) -> None:
        self._dialect = dialect
        self._alias = alias
        self._indexes = indexes
        self._without = without
        self.conditions: list[IndexCondition] = []

    # Operations -------------------------------------------------------------------------------------------

    def match(self, operation: Operation, wanted: bool = True) -> Sql:
        """Whether an operation is `wanted`: false and unknown are then the same, so a cheap condition may go first."""
        match operation:
            case Not(operand):
                return self.match(operand, not wanted)
            case And(operands) | Or(operands):
                if isinstance(operation, And) == wanted:
                    return self._match_all(operands, wanted)
                return join("or", [self.match(operand, wanted) for operand in operands])
            case _:
                return self._match_all((operation,), wanted)

    def _match_all(self, operands: Iterable[Operation], wanted: bool) -> Sql:
        """Whether all operations are `wanted`; first what an index knows of them all."""
        spans: dict[DeclaredIndex, list[tuple[Span, ...]]] = {}
        parts: list[tuple[Operation, bool, DeclaredIndex | None]] = []
        for operand in operands:
            leaf, is_wanted = _unwrapped(operand, wanted)
            exact_numbers = self._dialect.indexed.exact_numbers
            narrowing = self._indexes.narrowing(leaf, is_wanted, exact_numbers)
            if narrowing is not None:
                spans.setdefault(narrowing[0], []).append(narrowing[1])
            parts.append((leaf, is_wanted, narrowing and narrowing[0]))
        serving = {index: found for index, each in spans.items() if (found := self._conditions(index, each))}
        conditions = [condition.sql for found in serving.values() for condition in found]
        leaves = (self._match_leaf(leaf, is_wanted, hint=index not in serving) for leaf, is_wanted, index in parts)
        return join("and", [*conditions, *leaves])

    def _conditions(self, index: DeclaredIndex, each: list[tuple[Span, ...]]) -> list[IndexCondition]:
        """Conditions on the values of an index, all of which are to hold; none when one of them is not wanted."""
        single = [spans[0] for spans in each if len(spans) == 1]
        wanted = [spans for spans in each if len(spans) > 1]
        if single:
            wanted.append((reduce(Span.common, single),))
        found = [IndexCondition.of(self._dialect, self._alias, index, spans) for spans in wanted]
        if len(self.conditions) + len(found) > _MOST_CONDITIONS or any(c in self._without for c in found):
            return []
        self.conditions += found
        return found

    def _match_leaf(self, operation: Operation, wanted: bool, hint: bool) -> Sql:
        match operation:
            case And() | Or():
                return self.match(operation, wanted)
            case Compare(op, left, right) if not wanted:
                return self._match_leaf(Compare(COMPLEMENT[op], left, right), True, hint)
            case Compare() | In() | Contains() if wanted and hint and (cheap := self._hint(operation)) is not None:
                return join("and", (cheap, self.truth(operation)))
            case _:
                truth = self.truth(operation)
                return truth if wanted else fill("(not {truth})", truth=truth)

    def truth(self, operation: Operation) -> Sql:
        """True, false or null."""
        match operation:
            case And(operands):
                return join("and", map(self.truth, operands))
            case Or(operands):
                return join("or", map(self.truth, operands))
            case Not(operand):
                return fill("(not {value})", value=self.truth(operand))
            case Compare():
                return self._compare(operation)
            case In():
                return self._in(operation)
            case Contains():
                return self._contains(operation)
            case Convert():
                return fill("({value})", value=self._convert(operation))

    def _compare(self, node: Compare) -> Sql:
        if _is_null(node.left) or _is_null(node.right):
            return _NULL
        kind = _common_kind(node.left, node.right)
        if kind is not None:
            return compare(node.op, self._value(node.left, kind), self._value(node.right, kind))
        left, right = _payload_path(node.left), _payload_path(node.right)

        def with_left(json: Sql, path: Sql) -> Sql:
            mine = self._readings(json, path)
            return self._at(right, lambda *other: self._compare_readings(node.op, mine, self._readings(*other)), "w")

        return self._at(left, with_left)

    def _reading_templates(self) -> tuple[str, str, str]:
        dialect = self._dialect
        return dialect.json_type, dialect.json_number, dialect.json_text

    def _readings(self, json: Sql, path: Sql) -> _Readings:
        return _Readings(*(fill(template, json=json, path=path) for template in self._reading_templates()))

    def _equal_readings(self, mine: _Readings, json: Sql, path: Sql) -> Sql:
        return self._compare_readings("eq", mine, self._readings(json, path))

    def _compare_readings(self, op: Op, left: _Readings, right: _Readings) -> Sql:
        """Two payload values: as numbers where both are JSON numbers, else as text."""
        return fill(
            "(case when {both_numbers} then {as_numbers} else {as_texts} end)",
            both_numbers=fill(self._dialect.both_numbers, left=left.type, right=right.type),
            as_numbers=compare(op, left.number, right.number),
            as_texts=compare(op, left.text, right.text),
        )

    def _in(self, node: In) -> Sql:
        if not node.members:
            return _FALSE
        operand, kind = node.operand, kind_of(node.operand)
        if _is_null(operand):
            return _NULL
        # What takes an expression of any length is computed once, not for each member.
        if kind == "payload" and any(kind_of(member) == "payload" for member in node.members):
            readings = _Readings(Sql("x_type"), Sql("x_number"), Sql("x_text"))
            sql = self._any_member(node, partial(self._value, operand), readings)
            for name, template in zip(readings, self._reading_templates(), strict=True):
                sql = self._once(name.text, self._at(_payload_path(operand), self._filled(template)), sql)
            return sql
        if isinstance(operand, Literal | Field):
            return self._any_member(node, partial(self._value, operand))
        assert kind in ("text", "number", "bool")
        return self._once("x", self._value(operand, kind), self._any_member(node, lambda _: Sql("x")))

    def _any_member(self, node: In, value: Callable[[ScalarKind], Sql], readings: _Readings | None = None) -> Sql:
        """Whether the operand, which `value` gives as each kind, equals any member."""
        dialect = self._dialect
        texts: dict[str, None] = {}
        numbers: dict[int | float, None] = {}
        has_null = False
        parts: list[Sql] = []
        for member in node.members:
            match member:
                case _ if _is_null(member):
                    has_null = True
                case Literal(str() as text):
                    texts[text] = None
                case Literal(int() | float() as number) if not isinstance(number, bool):
                    numbers[number] = None
                case Field(PayloadPath() as ref) if readings is not None:
                    parts.append(self._at(ref, partial(self._equal_readings, readings)))
                case _:
                    kind = _common_kind(node.operand, member)
                    assert kind is not None
                    parts.append(compare("eq", value(kind), self._value(member, kind)))
        if texts:
            listed = Sql(dialect.text_slot, (dialect.bind_texts(list(texts)),))
            parts.append(fill(f"({dialect.in_texts})", value=value("text"), list=listed))
        if numbers:
            listed = Sql(dialect.text_slot, (dialect.bind_numbers(list(numbers)),))
            if kind_of(node.operand) == "time":
                parts.append(fill(f"({dialect.in_times})", value=value("time"), list=listed))
            else:
                parts.append(fill(f"({dialect.in_numbers})", value=value("number"), list=listed))
        if has_null:
            parts.append(_NULL)
        return join("or", parts)

    def _contains(self, node: Contains) -> Sql:
        if _is_null(node.input) or _is_null(node.needle):
            return _NULL
        needle = self._value(node.needle, "text")
        if node.case_insensitive:
            needle = fill(self._dialect.fold, value=needle)
        if isinstance(node.needle, Literal):
            return self._contains_needle(node, needle)
        return self._once("needle", needle, self._contains_needle(node, Sql("needle")))

    def _contains_needle(self, node: Contains, needle: Sql) -> Sql:
        dialect = self._dialect

        def folded(text: Sql) -> Sql:
            return fill(dialect.fold, value=text) if node.case_insensitive else text

        def in_text(text: Sql) -> Sql:
            return fill(f"({dialect.contains})", value=folded(text), needle=needle)

        def in_array(json: Sql, path: Sql) -> Sql:
            test = compare("eq", folded(Sql(dialect.element)), needle)
            found = fill(dialect.any_element, json=json, path=path, test=test)
            return fill("(case when {needle} is not null then {found} end)", needle=needle, found=found)

        def in_json(json: Sql, path: Sql) -> Sql:
            return fill(
                "(case when {is_array} then {in_array} else {in_text} end)",
                is_array=fill(dialect.is_array, json=json, path=path),
                in_array=in_array(json, path),
                in_text=in_text(fill(dialect.json_text, json=json, path=path)),
            )

        match node.input:
            case Field(Column(kind="array") as column):
                return in_array(self._column(column.name), Sql(dialect.whole))
            case Field(PayloadPath() as ref):
                return self._at(ref, in_json)
            case _:
                return in_text(self._value(node.input, "text"))

    # Operands ---------------------------------------------------------------------------------------------

    def _value(self, operand: Operand, kind: ScalarKind) -> Sql:
        """An operand as a kind: its own, or for a payload value any but time."""
        match operand:
            case Literal(value):
                return bound(self._dialect, kind, value)
            case Field(ref):
                return self._field(ref, kind)
            case Convert():
                return self._convert(operand)
            case _:
                return self.truth(operand)

    def _field(self, ref: FieldRef, kind: ScalarKind) -> Sql:
        dialect = self._dialect
        if isinstance(ref, Column):
            return self._column(ref.name)
        if isinstance(ref, MapKey):
            return self._at(ref, self._filled(dialect.map_text if kind == "text" else dialect.map_number))
        templates = {"text": dialect.json_text, "number": dialect.json_number, "bool": dialect.json_bool}
        return self._at(ref, self._filled(templates[kind]))

    def _convert(self, node: Convert) -> Sql:
        if node.to == "exists":
            return self._exists(node.input)
        if _is_null(node):
            return _NULL
        kind = kind_of(node.input)
        match kind, node.to:
            case "payload", "string":
                return self._value(node.input, "text")
            case "payload", "bool":
                return self._value(node.input, "bool")
            case "payload", _:
                return self._cast("number", node.to, self._value(node.input, "number"))
            case "number", "string":
                return self._number_text(node.input)
            case (("text" | "number" | "bool"), to):
                return self._cast(kind, to, self._value(node.input, kind))
            case _:
                raise AssertionError(f"a {kind} has no cast")

    def _cast(self, kind: Word["text", "number", "bool"], to: Target, value: Sql) -> Sql:
        dialect = self._dialect
        match kind, to:
            case "text", "double":
                return fill(dialect.text_number, value=value)
            case "text", "int":
                return fill(dialect.number_integer, value=fill(dialect.text_number, value=value))
            case "text", "bool":
                return fill(dialect.text_bool, value=value)
            case "number", "int":
                return fill(dialect.number_integer, value=value)
            case "number", "bool":
                return fill(dialect.number_bool, value=value)
            case "bool", "string":
                return fill(dialect.bool_text, value=value)
            case _:  # to its own kind
                return value

    def _number_text(self, operand: Operand) -> Sql:
        match operand:
            case Literal(float() as value):
                return bound(self._dialect, "text", repr(value).removesuffix(".0"))
            case Literal(value):
                return bound(self._dialect, "text", str(value))
            case Field(MapKey() as ref):
                return self._at(ref, self._filled(self._dialect.map_number_text))
            case _:
                return fill(self._dialect.number_text, value=self._value(operand, "number"))

    def _exists(self, operand: Operand) -> Sql:
        if isinstance(operand, Literal):
            return _FALSE if operand.value is None else _TRUE
        if not isinstance(operand, Field):
            return fill("({value} is not null)", value=self.truth(operand))
        ref = operand.ref
        if isinstance(ref, Column):
            return fill("({value} is not null)", value=self._column(ref.name))
        template = self._dialect.map_exists if isinstance(ref, MapKey) else self._dialect.json_exists
        return self._at(ref, self._filled(template))

    # Fields -----------------------------------------------------------------------------------------------

    def _column(self, name: str) -> Sql:
        return Sql(f"{self._alias}.{name}")

    def _path(self, bound: Any) -> Sql:
        return Sql(self._dialect.path_slot, (bound,))

    def _at(self, ref: MapKey | PayloadPath, build: Callable[[Sql, Sql], Sql], name: str = "v") -> Sql:
        """What `build` makes of a JSON text and a path into it, where the value of `ref` is; `name` is taken in it.

        A path is bound once, however often it is used: engines limit the number of bound values.
        """
        dialect = self._dialect
        if isinstance(ref, MapKey):
            return build(self._column(ref.column), self._path(dialect.bind_path((ref.key,))))
        if len(ref.segments) > limits.PAYLOAD_DEPTH:  # no payload is that deep
            return build(Sql("cast(null as text)"), Sql(dialect.whole))
        first, *later = self._steps(ref.segments)
        if not later:
            return self._once(name, self._path(dialect.bind_path(first)), build(self._column(PAYLOAD), Sql(name)))
        return self._once(name, self._walk(first, later), build(Sql(name), Sql(dialect.whole)))

    def _walk(self, first: list[str], later: list[list[str]]) -> Sql:
        """The JSON at the end of a path of several steps."""
        dialect = self._dialect
        if dialect.first_steps is not None:
            second, *later = later
            value = self._two_steps(dialect.first_steps, first, second)
        else:
            value = fill(dialect.get, json=self._column(PAYLOAD), path=self._path(dialect.bind_path(first)))
        for step in later:
            value = fill(
                dialect.step,
                value=value,
                as_position=self._path(dialect.bind_position(step)),
                as_key=self._path(dialect.bind_path(step)),
            )
        return value

    def _two_steps(self, template: str, first: list[str], second: list[str]) -> Sql:
        return fill(
            template,
            json=self._column(PAYLOAD),
            as_position=self._path(self._dialect.bind_position(second, first)),
            as_key=self._path(self._dialect.bind_path((*first, *second))),
        )

    def _steps(self, segments: Iterable[str]) -> list[list[str]]:
        """A path cut before each segment that needs to know what it is a part of; the payload itself is an object."""
        steps: list[list[str]] = []
        for segment in segments:
            if steps and not self._dialect.opens_step(segment):
                steps[-1].append(segment)
            else:
                steps.append([segment])
        return steps

    def _filled(self, template: str) -> Callable[[Sql, Sql], Sql]:
        return lambda json, path: fill(template, json=json, path=path)

    def _once(self, name: str, value: Sql, body: Sql) -> Sql:
        return fill(self._dialect.once, name=Sql(name), value=value, body=body)

    # Orders -----------------------------------------------------------------------------------------------

    def sort_parts(self, key: SortKey) -> tuple[SortPart, ...]:
        """The expressions that a key sorts by."""
        ref = key.ref
        if isinstance(ref, Column):
            assert ref.kind in ("text", "number", "time")
            absent: Word["never", "last"] = "last" if ref.nullable else "never"
            return (SortPart(self._column(ref.name), ref.kind, key.descending, absent),)
        if isinstance(ref, MapKey):
            return (SortPart(self._field(ref, ref.kind), ref.kind, key.descending, "last"),)
        return (
            SortPart(self._at(ref, self._rank), "number", False, "never"),
            SortPart(self._field(ref, "number"), "number", key.descending, "together"),
            SortPart(self._at(ref, self._sort_text), "text", key.descending, "together"),
        )

    def _rank(self, json: Sql, path: Sql) -> Sql:
        dialect = self._dialect
        return fill(
            dialect.json_rank,
            json=json,
            path=path,
            number=fill(dialect.json_number, json=json, path=path),
            text=fill(dialect.json_text, json=json, path=path),
        )

    def _sort_text(self, json: Sql, path: Sql) -> Sql:
        dialect = self._dialect
        text = fill(dialect.json_text, json=json, path=path)
        return fill(
            "case {rank} when 1 then {prefix} end",
            rank=self._rank(json, path),
            prefix=fill(dialect.prefix, value=text, length=Sql(str(limits.SORT_TEXT_CHARACTERS))),
        )

    # Hints ------------------------------------------------------------------------------------------------

    def _hint(self, node: Compare | In | Contains) -> Sql | None:
        """A condition that costs less than comparing a payload value with literals, and holds wherever they match.

        None where there is none: for other operands, and where almost every value would pass.
        """
        hints = self._dialect.hints
        match node:
            case Compare(op, Field(PayloadPath() as ref), Literal(value)):
                values = [value]
            case Compare(mirrored, Literal(value), Field(PayloadPath() as ref)):
                op, values = MIRRORED[mirrored], [value]
            case In(Field(PayloadPath() as ref), members) if members:
                op, values = "eq", [member.value if isinstance(member, Literal) else None for member in members]
            case Contains(Field(PayloadPath() as ref), Literal(str() as needle), False) if hints is not None:
                sql = self._hint_value(ref, hints)
                return sql and fill(hints.may_contain, value=sql, needle=bound(self._dialect, "text", needle))
            case _:
                return None
        bounds = range_of(op, values)
        if hints is None or bounds is None:
            return None
        sql = self._hint_value(ref, hints)
        return sql and fill(
            f"({hints.text_between if isinstance(values[0], str) else hints.number_between})",
            value=sql,
            low=self._path(bounds.low),
            high=self._path(bounds.high),
        )

    def _hint_value(self, ref: PayloadPath, hints: Hints) -> Sql | None:
        """A payload value as the engine reads it; None for a path of so many steps that nothing would be saved."""
        first, *later = self._steps(ref.segments)
        if len(ref.segments) > limits.PAYLOAD_DEPTH or len(later) > 1:
            return None
        if later:
            return self._two_steps(hints.value_of_steps, first, later[0])
        return fill(hints.value, json=self._column(PAYLOAD), path=self._path(self._dialect.bind_path(first)))


def _unwrapped(operation: Operation, wanted: bool) -> tuple[Operation, bool]:
    """An operation without the negations around it."""
    while isinstance(operation, Not):
        operation, wanted = operation.operand, not wanted
    return operation, wanted


def _is_null(operand: Operand) -> bool:
    """Whether an operand is unknown for every row: a null, or a cast of it, or of a truth to a number."""
    match operand:
        case Literal(None):
            return True
        case Convert(input, to) if to != "exists":
            return _is_null(input) or (kind_of(input) == "bool" and to in ("double", "int"))
        case _:
            return False


def _payload_path(operand: Operand) -> PayloadPath:
    assert isinstance(operand, Field)
    assert isinstance(operand.ref, PayloadPath)
    return operand.ref


def _common_kind(left: Operand, right: Operand) -> ScalarKind | None:
    """The kind that two operands are compared as; None for two payload values."""
    for operand in (left, right):
        kind = kind_of(operand)
        if kind == "time":
            return "time"
    for operand in (left, right):
        kind = kind_of(operand)
        if kind in ("text", "number", "bool"):
            return kind
    return None
