"""Operations to SQL text and bound values; no text of a request is ever in the SQL.

Truth is SQL's own three-valued logic: every part is true, false or null, and null means unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from plaudit_server.query.compile.casts import cast
from plaudit_server.query.compile.fragments import Sql, compare, fill, join
from plaudit_server.query.compile.literals import FALSE, NULL, TRUE, bound, bound_numbers, bound_texts
from plaudit_server.query.compile.paths import Paths
from plaudit_server.query.compile.readings import Readings, compare_readings, reading_templates, readings
from plaudit_server.query.fields import Column, FieldRef, MapKey, PayloadPath
from plaudit_server.query.indexes.ranges import after_prefix
from plaudit_server.query.kinds import TYPE_OF_KIND, ScalarKind, common_kind, is_null, kind_of
from plaudit_server.query.tree import (
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
    StartsWith,
    TypeOf,
)


class Operators:
    """Compiles operations on the fields of one table, for one engine."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._dialect = paths.dialect

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
            case StartsWith():
                return self._starts_with(operation)
            case Convert():
                return fill("({value})", value=self._convert(operation))

    def _compare(self, node: Compare) -> Sql:
        if is_null(node.left) or is_null(node.right):
            return NULL
        kind = common_kind(node.left, node.right)
        if kind is not None:
            return compare(node.op, self.value(node.left, kind), self.value(node.right, kind))
        left, right = _payload_path(node.left), _payload_path(node.right)

        def with_left(json: Sql, path: Sql) -> Sql:
            mine = readings(self._dialect, json, path)
            return self._paths.at(right, partial(self._compare_with, node.op, mine), "w")

        return self._paths.at(left, with_left)

    def _compare_with(self, op: Op, mine: Readings, json: Sql, path: Sql) -> Sql:
        """A payload value that has been read, compared with the one at a path."""
        return compare_readings(self._dialect, op, mine, readings(self._dialect, json, path))

    def _in(self, node: In) -> Sql:
        if not node.members:
            return FALSE
        operand, kind = node.operand, kind_of(node.operand)
        if is_null(operand):
            return NULL
        # An operand that may be a long expression is computed once, not for each member.
        if kind == "payload" and any(kind_of(member) == "payload" for member in node.members):
            names = Readings(Sql("x_type"), Sql("x_number"), Sql("x_text"))
            sql = self._any_member(node, partial(self.value, operand), names)
            for name, template in zip(names, reading_templates(self._dialect), strict=True):
                sql = self._paths.once(name.text, self._paths.filled(template, _payload_path(operand)), sql)
            return sql
        if isinstance(operand, Literal | Field):
            return self._any_member(node, partial(self.value, operand))
        assert kind in ("text", "number", "bool")
        return self._paths.once("x", self.value(operand, kind), self._any_member(node, lambda _: Sql("x")))

    def _any_member(self, node: In, value: Callable[[ScalarKind], Sql], mine: Readings | None = None) -> Sql:
        """Whether the operand equals any member; `value` gives the operand as a kind, `mine` are its readings."""
        dialect = self._dialect
        texts: dict[str, None] = {}
        numbers: dict[int | float, None] = {}
        has_null = False
        parts: list[Sql] = []
        for member in node.members:
            match member:
                case _ if is_null(member):
                    has_null = True
                case Literal(str() as text):
                    texts[text] = None
                case Literal(int() | float() as number) if not isinstance(number, bool):
                    numbers[number] = None
                case Field(PayloadPath() as ref) if mine is not None:
                    parts.append(self._paths.at(ref, partial(self._compare_with, "eq", mine)))
                case _:
                    kind = common_kind(node.operand, member)
                    assert kind is not None
                    parts.append(compare("eq", value(kind), self.value(member, kind)))
        if texts:
            listed = bound_texts(dialect, list(texts))
            parts.append(fill(f"({dialect.in_texts})", value=value("text"), list=listed))
        if numbers:
            listed = bound_numbers(dialect, list(numbers))
            if kind_of(node.operand) == "time":
                parts.append(fill(f"({dialect.in_times})", value=value("time"), list=listed))
            else:
                parts.append(fill(f"({dialect.in_numbers})", value=value("number"), list=listed))
        if has_null:
            parts.append(NULL)
        return join("or", parts)

    def _contains(self, node: Contains) -> Sql:
        if is_null(node.input) or is_null(node.needle):
            return NULL
        needle = self.value(node.needle, "text")
        if node.case_insensitive:
            needle = fill(self._dialect.fold, value=needle)
        if isinstance(node.needle, Literal):
            return self._contains_needle(node, needle)
        return self._paths.once("needle", needle, self._contains_needle(node, Sql("needle")))

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
                return in_array(self._paths.column(column.name), Sql(dialect.whole))
            case Field(PayloadPath() as ref):
                return self._paths.at(ref, in_json)
            case _:
                return in_text(self.value(node.input, "text"))

    def _starts_with(self, node: StartsWith) -> Sql:
        if is_null(node.input) or is_null(node.prefix):
            return NULL
        match node:
            case StartsWith(Field(Column()) as column, Literal(str() as prefix)) if prefix:
                # As a range an index on the column serves it; a text is in the range exactly if it has the prefix.
                text, end = self.value(column, "text"), after_prefix(prefix)
                least = compare("gte", text, bound(self._dialect, "text", prefix))
                return (
                    least
                    if end is None
                    else join("and", (least, compare("lt", text, bound(self._dialect, "text", end))))
                )
            case _:
                prefix_sql = self.value(node.prefix, "text")
        text = self.value(node.input, "text")
        if isinstance(node.prefix, Literal):
            return fill(f"({self._dialect.starts_with})", value=text, prefix=prefix_sql)
        return self._paths.once(
            "prefix", prefix_sql, fill(f"({self._dialect.starts_with})", value=text, prefix=Sql("prefix"))
        )

    def _type_of(self, ref: FieldRef) -> Sql:
        if isinstance(ref, PayloadPath):
            return self._paths.filled(self._dialect.json_kind, ref)
        kind = bound(self._dialect, "text", TYPE_OF_KIND[ref.kind])
        return fill("(case when {exists} then {kind} end)", exists=self._paths.exists(ref), kind=kind)

    def value(self, operand: Operand, kind: ScalarKind) -> Sql:
        """An operand as a kind: its own, or for a payload value any but time."""
        match operand:
            case Literal(value):
                return bound(self._dialect, kind, value)
            case Field(ref):
                return self._paths.value(ref, kind)
            case Convert():
                return self._convert(operand)
            case TypeOf(Field(ref)):
                return self._type_of(ref)
            case _:
                return self.truth(operand)

    def _convert(self, node: Convert) -> Sql:
        if node.to == "exists":
            return self._exists(node.input)
        if is_null(node):
            return NULL
        kind = kind_of(node.input)
        match kind, node.to:
            case "payload", "string":
                return self.value(node.input, "text")
            case "payload", "bool":
                return self.value(node.input, "bool")
            case "payload", _:
                return cast(self._dialect, "number", node.to, self.value(node.input, "number"))
            case "number", "string":
                return self._number_text(node.input)
            case (("text" | "number" | "bool"), to):
                return cast(self._dialect, kind, to, self.value(node.input, kind))
            case _:
                raise AssertionError(f"a {kind} has no cast")

    def _number_text(self, operand: Operand) -> Sql:
        match operand:
            case Literal(float() as value):
                return bound(self._dialect, "text", repr(value).removesuffix(".0"))
            case Literal(value):
                return bound(self._dialect, "text", str(value))
            case Field(MapKey() as ref):
                return self._paths.filled(self._dialect.map_number_text, ref)
            case _:
                return fill(self._dialect.number_text, value=self.value(operand, "number"))

    def _exists(self, operand: Operand) -> Sql:
        if isinstance(operand, Literal):
            return FALSE if operand.value is None else TRUE
        if isinstance(operand, TypeOf):
            return fill("({value} is not null)", value=self._type_of(operand.input.ref))
        if not isinstance(operand, Field):
            return fill("({value} is not null)", value=self.truth(operand))
        return self._paths.exists(operand.ref)


def _payload_path(operand: Operand) -> PayloadPath:
    assert isinstance(operand, Field)
    assert isinstance(operand.ref, PayloadPath)
    return operand.ref
