"""A look at single records as they are read: nearly all are good, and nothing of a good one is kept for later."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from plaudit_server.definitions.enforcement import INLINE_COST, REASON_CHARACTERS, is_plainly_good
from plaudit_server.definitions.records import Definition, ProjectDefinitions
from plaudit_server.definitions.uniqueness import key_of, unique_of
from plaudit_server.feedback.judging import Description, Judgement, Known, Verdict
from plaudit_server.feedback.records import Record


class _Quick(NamedTuple):
    """All that a payload has to keep of the usual definition, close together.

    The value is at `key`, or is the payload itself where that is None, and `takes` says whether it is good, which costs
    little in a payload of at most so many `characters`.
    """

    key: str | None
    characters: int
    takes: Callable[[Any], bool]


def _quick(definition: Definition) -> _Quick | None:
    """None where there is more to keep."""
    rule, path = definition.rule, definition.value_path
    if rule is None or len(path) > 1 or definition.reason_required or definition.refuse_other_keys:
        return None
    characters = INLINE_COST // rule.cost_per_character if rule.cost_per_character else sys.maxsize
    return _Quick(path[0] if path else None, characters, rule.takes)


class Glance:
    """Looks at records by what is defined in their project.

    A thousand of those that pass, which is a whole batch, cost no more than a request may.
    """

    __slots__ = ("_definitions", "_quick", "nothing")

    def __init__(self, definitions: ProjectDefinitions) -> None:
        self._definitions = definitions
        self.nothing = None if definitions.any_unique else definitions.nothing
        plain = {type: defined.plain for type, defined in definitions.by_type.items()}
        self._quick = {
            type: quick
            for type, definition in plain.items()
            if definition is not None and (quick := _quick(definition)) is not None
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    def passes(self, record: Record, payload: Mapping[str, Any]) -> bool:
        """Whether a record is good; False also where finding that out would cost more than a little.

        For the usual definition this is `is_plainly_good`, without a call: at each of them caches are cold (ADR 0046).
        """
        quick = self._quick.get(record.feedback_type)
        if quick is None:
            return self._passes(record, payload)
        key, characters, takes = quick
        if len(record.payload) > characters:
            return self._passes(record, payload)
        value = payload if key is None else payload.get(key)
        if value is None or not takes(value):
            return False
        reason = payload.get("reason", "-")
        return type(reason) is str and 1 <= len(reason) <= REASON_CHARACTERS

    def _passes(self, record: Record, payload: Mapping[str, Any]) -> bool:
        """The same for any definition."""
        defined = self._definitions.of(record.feedback_type)
        if defined is None:
            return True
        plain = defined.plain
        return plain is not None and is_plainly_good(plain, payload, record.payload)

    def judgement(self, records: Sequence[Record]) -> Judgement:
        """What is said of records all of which have passed."""
        if self.nothing is not None:
            return self.nothing
        definitions = self._definitions
        verdicts: list[Verdict | None] = []
        for record in records:
            unique = unique_of(definitions, record.feedback_type)
            verdicts.append(None if unique is None else verdict_of_place(unique, record))
        return Judgement(definitions.number, verdicts) if any(verdicts) else definitions.nothing


def beforehand(definitions: ProjectDefinitions) -> Known:
    """What is known of the records of a project before they are read."""
    return Known(None, Glance(definitions)) if definitions.by_type else Known(definitions.nothing, None)


def verdict_of_place(definition: Definition, record: Record | Description) -> Verdict:
    """What is said of a good record of a type that has places."""
    assert definition.unique is not None
    return Verdict(None, partial(key_of, definition, record), definition.unique.replaces)
