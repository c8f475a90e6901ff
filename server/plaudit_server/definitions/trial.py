"""Trying a definition on stored records: how many of them break it, and where; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from plaudit._contract.jsontext import Breach
from plaudit_server.definitions.enforcement import REQUEST_COST, Credit, look_at, value_in
from plaudit_server.definitions.records import Defined
from plaudit_server.definitions.uniqueness import key_of
from plaudit_server.feedback.judging import Subject


@dataclass(slots=True)
class _Breakage:
    count: int
    ids: list[str]


class Breakage(NamedTuple):
    """What breaks in one place (a path without positions), in how many records, and the ids of some."""

    path: str
    description: str
    records: int
    ids: Sequence[str]


_POSITION: Final = re.compile(r"\[\d+\]")
_EXAMPLES: Final = 10
_BREAKAGES: Final = 50


class Trial:
    """Counts which stored records break a definition, one after the other; closed types and writers do not matter."""

    def __init__(self, defined: Defined, cost_limit: int = REQUEST_COST) -> None:
        """`defined` ends with the version that is tried."""
        self._defined = defined
        self._credit = Credit(cost_limit)
        self._cost_left = cost_limit
        self._breakages: dict[tuple[str, str], _Breakage] = {}
        self._places: dict[str, str] = {}
        self._repeated: set[str] = set()
        self.checked = 0
        self.breaking = 0

    @property
    def exhausted(self) -> bool:
        """Whether the cost that one call may have is used up."""
        return self._cost_left <= 0

    @property
    def repeated(self) -> int:
        """How many refs hold more records than `unique` allows."""
        return len(self._repeated)

    def add(self, id: str, subject: Subject, owner: str) -> bool:
        """Look at one record of an owner; whether it breaks the definition that is tried."""
        self.checked += 1
        tried = self._defined.newest
        breaches: list[Breach] = []
        judge = self._defined.judge(subject.record.annotation_ref)
        if judge is None:
            breaches.append(Breach("annotation_ref", "is named by no version of the type's definition"))
        elif judge is tried:
            rule = tried.definition.rule
            if rule is not None:
                self._cost_left -= rule.cost(value_in(tried.definition, subject.payload), subject.record.payload)
            look_at(tried.definition, subject.payload, subject.record.payload, breaches, self._credit, stored=True)
        for key in {(_POSITION.sub("", breach.path), breach.description) for breach in breaches}:
            breakage = self._breakages.setdefault(key, _Breakage(0, []))
            breakage.count += 1
            if len(breakage.ids) < _EXAMPLES:
                breakage.ids.append(id)
        if tried.definition.unique is not None:
            key_there = key_of(tried.definition, subject.record, owner)
            if self._places.setdefault(key_there, id) != id:
                self._repeated.add(subject.record.ref)
        self.breaking += bool(breaches)
        return bool(breaches)

    def breakages(self) -> list[Breakage]:
        """What breaks where, most frequent first."""
        found = [Breakage(*where, breakage.count, tuple(breakage.ids)) for where, breakage in self._breakages.items()]
        return sorted(found, key=lambda breakage: (-breakage.records, breakage.path, breakage.description))[:_BREAKAGES]
