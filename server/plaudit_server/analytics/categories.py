"""The categories that a definition gives for a grouping: for which type they are looked up, and how; no groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from plaudit_server.analytics.records import Aggregate, ByEach, Grouping, Value
from plaudit_server.definitions.cache import Unreadable, usable
from plaudit_server.definitions.kinds import Categorical
from plaudit_server.definitions.reads import versions_that_matter
from plaudit_server.definitions.records import ALL_OTHERS, BUILT_IN
from plaudit_server.definitions.schema import SchemaSupportMissing
from plaudit_server.query.fields import Column, PayloadPath
from plaudit_server.query.tree import And, Compare, Field, Literal, Operand, Operation
from plaudit_server.store.base import Steps
from plaudit_server.store.prepared import Prepared


def type_of(filter: Operation | None) -> str | None:
    """The one feedback type that all matches have, as a condition of the query says; None where none says so."""
    for condition in _conditions(filter):
        match condition:
            case Compare("eq", left, right):
                for column, other in ((left, right), (right, left)):
                    if _is_type(column) and isinstance(other, Literal) and isinstance(other.value, str):
                        return other.value
            case _:
                pass
    return None


def path_of(grouping: Grouping) -> PayloadPath | None:
    """The path in the payload by which records are grouped."""
    match grouping.by:
        case Value(Field(PayloadPath() as path)) | ByEach(PayloadPath() as path):
            return path
        case _:
            return None


def with_categories(sql: Prepared, question: Aggregate) -> Steps[Aggregate]:
    """The question with the categories of each grouping that asks for them, as the definition in force has them."""
    if not any(grouping.fill_categories for grouping in question.group_by):
        return question
    defined = yield from _defined(sql, question.project, type_of(question.filter) or "")
    return replace(
        question,
        group_by=tuple(
            replace(grouping, categories=defined[1])
            if defined and grouping.fill_categories and (path := path_of(grouping)) and path.segments == defined[0]
            else grouping
            for grouping in question.group_by
        ),
    )


def _defined(sql: Prepared, project: str, feedback_type: str) -> Steps[tuple[tuple[str, ...], tuple[str, ...]] | None]:
    """Where the value of a type is, and its categories that are not retired, in order; None where it has none."""
    versions = yield from versions_that_matter(sql, project, feedback_type)
    if not versions and feedback_type not in BUILT_IN:
        versions = yield from versions_that_matter(sql, project, ALL_OTHERS)
    if not versions:
        return None
    try:
        definition = usable(project, versions[-1]).definition
    except (Unreadable, SchemaSupportMissing):  # a rule of another version, or a schema: neither has categories
        return None
    if not isinstance(definition.rule, Categorical):
        return None
    return definition.value_path, tuple(definition.rule.categories.usable)


def _conditions(filter: Operation | None) -> Iterator[Operation]:
    """What is true of every match."""
    match filter:
        case None:
            return
        case And(operands):
            for operand in operands:
                yield from _conditions(operand)
        case _:
            yield filter


def _is_type(operand: Operand) -> bool:
    return isinstance(operand, Field) and isinstance(operand.ref, Column) and operand.ref.name == "feedback_type"
