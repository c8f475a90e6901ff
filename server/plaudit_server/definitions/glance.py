"""A look at single records as they are read: nearly all are good, and nothing of a good one is kept for later."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from plaudit_server.definitions.enforcement import is_plainly_good
from plaudit_server.definitions.records import Definition, ProjectDefinitions
from plaudit_server.definitions.uniqueness import key_of, unique_of
from plaudit_server.feedback.judging import Description, Judgement, Known, Verdict
from plaudit_server.feedback.records import Record


class Glance:
    """Looks at records by what is defined in their project."""

    __slots__ = ("_by_type", "_definitions")

    def __init__(self, definitions: ProjectDefinitions) -> None:
        self._definitions = definitions
        self._by_type = definitions.by_type

    def passes(self, record: Record, payload: Mapping[str, Any]) -> bool:
        """Whether a record is good; False also where finding that out would cost more than a little."""
        defined = self._by_type.get(record.feedback_type)
        if defined is None:  # perhaps there is a definition of all other types
            defined = self._definitions.of(record.feedback_type)
            if defined is None:
                return True
        plain = defined.plain
        return plain is not None and is_plainly_good(plain, payload, record.payload)

    def judgement(self, record: Record) -> Judgement:
        """What is said of a record that has passed."""
        definitions = self._definitions
        unique = unique_of(definitions, record.feedback_type) if definitions.any_unique else None
        if unique is None:
            return definitions.nothing
        return Judgement(definitions.number, (verdict_of_place(unique, record),))


def beforehand(definitions: ProjectDefinitions) -> Known:
    """What is known of the records of a project before they are read."""
    return Known(None, Glance(definitions)) if definitions.by_type else Known(definitions.nothing, None)


def verdict_of_place(definition: Definition, record: Record | Description) -> Verdict:
    """What is said of a good record of a type that has places."""
    assert definition.unique is not None
    return Verdict(None, partial(key_of, definition, record), definition.unique.replaces)
