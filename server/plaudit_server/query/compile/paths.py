"""Columns, and the values at paths in their JSON, as SQL; nothing here compares or converts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from plaudit._contract import limits
from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.fragments import Sql, fill
from plaudit_server.query.fields import PAYLOAD, Column, FieldRef, MapKey, PayloadPath
from plaudit_server.query.kinds import ScalarKind


class Paths:
    """The fields of one table, in the SQL of one engine."""

    def __init__(self, dialect: Dialect, alias: str) -> None:
        self.dialect = dialect
        self.alias = alias

    def value(self, ref: FieldRef, kind: ScalarKind) -> Sql:
        """A field's value as a kind: its own, or for a payload value any but time."""
        dialect = self.dialect
        if isinstance(ref, Column):
            return self.column(ref.name)
        if isinstance(ref, MapKey):
            return self.filled(dialect.map_text if kind == "text" else dialect.map_number, ref)
        templates = {"text": dialect.json_text, "number": dialect.json_number, "bool": dialect.json_bool}
        return self.filled(templates[kind], ref)

    def exists(self, ref: FieldRef) -> Sql:
        """Whether a field has a value."""
        if isinstance(ref, Column):
            return fill("({value} is not null)", value=self.column(ref.name))
        return self.filled(self.dialect.map_exists if isinstance(ref, MapKey) else self.dialect.json_exists, ref)

    def column(self, name: str) -> Sql:
        """A column by its name."""
        return Sql(f"{self.alias}.{name}")

    def placeholder(self, bound: Any) -> Sql:
        """The placeholder of a path, or of a value that is bound in the same way."""
        return Sql(self.dialect.path_slot, (bound,))

    def filled(self, template: str, ref: MapKey | PayloadPath) -> Sql:
        """A template of the dialect over the JSON and the path of a value."""
        return self.at(ref, lambda json, path: fill(template, json=json, path=path))

    def at(self, ref: MapKey | PayloadPath, build: Callable[[Sql, Sql], Sql], name: str = "v") -> Sql:
        """What `build` makes of a JSON text and the path of `ref` in it, which may not use `name` for anything else.

        A path is bound once, however often it is used: engines limit the number of bound values.
        """
        dialect = self.dialect
        if isinstance(ref, MapKey):
            return build(self.column(ref.column), self.placeholder(dialect.bind_path((ref.key,))))
        if len(ref.segments) > limits.PAYLOAD_DEPTH:  # no payload is that deep
            return build(Sql("cast(null as text)"), Sql(dialect.whole))
        first, *later = self.steps(ref.segments)
        if not later:
            return self.once(name, self.placeholder(dialect.bind_path(first)), build(self.column(PAYLOAD), Sql(name)))
        return self.once(name, self._walk(first, later), build(Sql(name), Sql(dialect.whole)))

    def _walk(self, first: list[str], later: list[list[str]]) -> Sql:
        """The JSON at the end of a path of several steps."""
        dialect = self.dialect
        if dialect.first_steps is not None:
            second, *later = later
            value = self.two_steps(dialect.first_steps, first, second)
        else:
            value = fill(dialect.get, json=self.column(PAYLOAD), path=self.placeholder(dialect.bind_path(first)))
        for step in later:
            value = fill(
                dialect.step,
                value=value,
                as_position=self.placeholder(dialect.bind_position(step)),
                as_key=self.placeholder(dialect.bind_path(step)),
            )
        return value

    def two_steps(self, template: str, first: list[str], second: list[str]) -> Sql:
        """A template over both paths from the payload to what two steps lead to: by a position, and by a key."""
        return fill(
            template,
            json=self.column(PAYLOAD),
            as_position=self.placeholder(self.dialect.bind_position(second, first)),
            as_key=self.placeholder(self.dialect.bind_path((*first, *second))),
        )

    def steps(self, segments: Iterable[str]) -> list[list[str]]:
        """A path, cut before each segment that may be a position or a key; the payload itself is an object."""
        steps: list[list[str]] = []
        for segment in segments:
            if steps and not self.dialect.opens_step(segment):
                steps[-1].append(segment)
            else:
                steps.append([segment])
        return steps

    def once(self, name: str, value: Sql, body: Sql) -> Sql:
        """`body`, in which `name` stands for a value that is computed once."""
        return fill(self.dialect.once, name=Sql(name), value=value, body=body)
