"""How the definitions in force judge the records of a request: refusals, what finding them costs, places; pure.

A request is judged as a whole, because the cost of all its records together is bounded: 10^8, in bytes of payload ×
checks of a schema, which is about a tenth of a second. The cost is known before any record is judged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from plaudit._contract.jsontext import REPORTED_BREACHES, Breach, place
from plaudit_server.definitions.records import BUILT_IN, Defined, Definition, ProjectDefinitions
from plaudit_server.definitions.schema import VALUE_COST, JsonSchema
from plaudit_server.feedback.judging import Description, Seen, Subject, all_seen
from plaudit_server.feedback.records import Record

REQUEST_COST: Final = 100_000_000
"""The most that the records of one request may cost together."""

INLINE_COST: Final = 100_000
"""Work that costs more than this is done in a thread."""

REASON_CHARACTERS: Final = 10_000

_EXPLAINING_COST: Final = REQUEST_COST // 2
"""The most that saying exactly what is wrong with the records of one request may cost."""

MISSING: Final = object()


class Finding(NamedTuple):
    """What is wrong with a record by the definition of its type: who may not write it, or what it breaks, and where."""

    version: int
    denied: bool
    breaches: Sequence[Breach]


class TooExpensive(Exception):
    """Checking the records of a request would cost more than is allowed."""

    def __init__(self, cost: int, limit: int) -> None:
        super().__init__(f"{cost} > {limit}")
        self.cost = cost
        self.limit = limit


def cost_of(definitions: ProjectDefinitions, subjects: Iterable[Subject]) -> int:
    """An upper bound of what checking records costs, roughly in nanoseconds."""
    cost = 0
    for subject in subjects:
        defined = definitions.of(subject.record.feedback_type)
        judge = None if defined is None else _judging(defined, subject)
        cost += 0 if judge is None else _cost(judge, subject)
    return cost


def _judging(defined: Defined, subject: Subject) -> Definition | None:
    """The definition by which a record is judged; None where its annotation_ref is named by none."""
    if defined.plain is not None:
        return defined.plain
    version = defined.judge(subject.record.annotation_ref)
    return None if version is None else version.definition


def _cost(definition: Definition, subject: Subject) -> int:
    rule = definition.rule
    if rule is None or not rule.cost_per_character:
        return 0
    return rule.cost(value_in(definition, subject.payload), subject.record.payload)


class Examination:
    """What is wrong with the records of a request to write. A definition that is not enforced refuses nothing.

    Nearly every record is good, which costs a fraction of finding what exactly is wrong with one. So records are
    skimmed first, for as long as one likes, and `findings` looks at those that are left.
    """

    __slots__ = ("_definitions", "_left", "_most", "_records", "_skimmed", "_subjects")

    def __init__(
        self,
        definitions: ProjectDefinitions,
        records: Sequence[Record | Description],
        subjects: Seen,
    ) -> None:
        self._definitions = definitions
        self._records = records
        self._subjects = subjects
        # No less than all costs together, and found much faster than each of them.
        self._most = definitions.cost_per_character * sum([len(record.payload) for record in records])
        self._skimmed = 0
        self._left: list[tuple[Subject, int, Defined]] = []
        """Those that are not plainly good, with their places and what is defined of them."""

    def skim(self, nanoseconds: float = math.inf) -> None:
        """Pass over records that are plainly good; stop when it has taken that much of the processor's time.

        Nothing is skimmed where all records together may cost too much.
        """
        if self._most > REQUEST_COST:
            return
        started = time.thread_time_ns()  # what other threads take meanwhile does not count
        each = self._definitions.cost_per_character
        unseen = 0
        feedback_type, defined, plain = None, None, None
        for index in range(self._skimmed, len(self._subjects)):
            subject = self._subjects[index]
            if subject is None:
                continue
            if subject.record.feedback_type != feedback_type:
                feedback_type = subject.record.feedback_type
                defined = self._definitions.of(feedback_type)
                plain = None if defined is None else defined.plain
            if defined is not None and (
                plain is None or not is_plainly_good(plain, subject.payload, subject.record.payload)
            ):
                self._left.append((subject, index, defined))
            # The clock costs as much as checking a record does. It is looked at before the time can be over twice.
            unseen += each * len(subject.record.payload)
            if unseen > nanoseconds:
                unseen = 0
                if time.thread_time_ns() - started > nanoseconds:
                    self._skimmed = index + 1
                    return
        self._skimmed = len(self._subjects)

    def costs_little(self) -> bool:
        """Whether all records were skimmed, and a closer look at those that are left costs little."""
        if self._skimmed < len(self._subjects):
            return False
        cost = 0
        for subject, _, defined in self._left:
            judge = _judging(defined, subject)
            if judge is not None:
                cost += _cost(judge, subject)
                if defined.plain is not None and isinstance(judge.rule, JsonSchema):  # and then it is a bad one
                    cost += judge.rule.explanation_cost(subject.payload, subject.record.payload)
            if cost > INLINE_COST:
                return False
        return True

    def findings(self) -> list[Finding | None]:
        """What is wrong with each record; None for one that may be written.

        Raises TooExpensive, before anything is looked at.
        """
        found: list[Finding | None] = [None] * len(self._subjects)
        cost = self._most
        if cost > REQUEST_COST - _EXPLAINING_COST:
            cost = cost_of(self._definitions, all_seen(self._records, self._subjects))
            if cost > REQUEST_COST:
                raise TooExpensive(cost, REQUEST_COST)
            self._most = cost
        self.skim()
        credit = Credit(max(min(REQUEST_COST - cost, _EXPLAINING_COST), 2 * VALUE_COST))
        for subject, index, defined in self._left:
            found[index] = _finding(defined, subject, credit)
        return found


def is_plainly_good(definition: Definition, payload: Mapping[str, Any], text: str) -> bool:
    """Whether a payload, whose JSON text is `text`, breaks nothing.

    False also where finding that out would cost more than a little.
    """
    rule = definition.rule
    if rule is not None:
        path = definition.value_path
        # No call for the two shortest paths: nearly all are so.
        value = payload if not path else payload.get(path[0]) if len(path) == 1 else value_in(definition, payload)
        if value is None or value is MISSING:
            return False
        if len(text) * rule.cost_per_character > INLINE_COST and not 0 < rule.cost(value, text) <= INLINE_COST:
            return False
        if not rule.takes(value):
            return False
    reason = payload.get("reason", MISSING)
    if reason is MISSING:
        if definition.reason_required:
            return False
    elif type(reason) is not str or not 1 <= len(reason) <= REASON_CHARACTERS:
        return False
    return not definition.refuse_other_keys


class Credit:
    """What may still be spent on finding exactly what is wrong; after that a breach is reported at the value."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, cost: int) -> bool:
        """Spend this much if it is left; whether it was."""
        self.left -= cost
        return self.left >= 0


def _finding(defined: Defined, subject: Subject, credit: Credit) -> Finding | None:
    newest = defined.newest
    if not newest.definition.enforced:
        return None
    denied = not may_write(newest.definition, subject.record.user_id)
    breaches: list[Breach] = []
    if newest.definition.closed:
        breaches.append(Breach("feedback_type", "takes no new records: its definition is closed"))
    judge = defined.judge(subject.record.annotation_ref)
    if judge is None:
        breaches.append(Breach("annotation_ref", "is named by no version of the type's definition"))
    elif judge.definition.enforced:
        look_at(judge.definition, subject.payload, subject.record.payload, breaches, credit)
    return Finding((judge or newest).version, denied, breaches) if denied or breaches else None


# --- the payload


def look_at(
    definition: Definition,
    payload: Mapping[str, Any],
    text: str,
    out: list[Breach],
    credit: Credit,
    stored: bool = False,
) -> None:
    """Append what is wrong with a payload; with `stored`, one from before, in which retired categories are allowed."""
    if definition.feedback_type in BUILT_IN:
        return
    path = definition.value_path
    if definition.rule is not None:
        value = value_in(definition, payload)
        at = definition.value_place
        if value is MISSING:
            out.append(Breach(at, "is required"))
        elif value is None:
            if not definition.allow_null:
                out.append(Breach(at, "must not be null"))
        elif isinstance(definition.rule, JsonSchema):
            _look_by_schema(definition.rule, value, text, at, out, credit)
        else:
            definition.rule.look(value, at, out, stored)
    if path != ("reason",):
        if "reason" in payload:
            reason = payload["reason"]
            if type(reason) is not str or not 1 <= len(reason) <= REASON_CHARACTERS:
                out.append(Breach("payload.reason", f"must be text of 1 to {REASON_CHARACTERS} characters"))
        elif definition.reason_required:
            out.append(Breach("payload.reason", "is required"))
    if definition.refuse_other_keys and path:
        others = [key for key in payload if key not in ("reason", path[0])]
        out += [Breach(place([key], "payload"), "is no key of this type") for key in others[:REPORTED_BREACHES]]


def _look_by_schema(schema: JsonSchema, value: Any, text: str, at: str, out: list[Breach], credit: Credit) -> None:
    if not schema.fits(text):
        most = VALUE_COST // schema.checks
        out.append(Breach(at, f"is in a payload too large for its schema, which takes up to about {most} bytes"))
    elif not schema.takes(value):
        may_explain = credit.take(schema.explanation_cost(value, text))
        out.append(schema.first_breach(value, at) if may_explain else Breach(at, "breaks the schema"))


def value_in(definition: Definition, payload: Mapping[str, Any]) -> Any:
    """The value, or MISSING."""
    value: Any = payload
    for key in definition.value_path:
        if type(value) is dict and key in value:
            value = value[key]
        elif type(value) is list and _is_position(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def _is_position(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 8 and (key == "0" or key[0] != "0")


# --- who may write


def may_write(definition: Definition, user_id: str) -> bool:
    """Whether a principal may write records of the type; anybody, where no writers are named."""
    return not definition.writers or any(is_named(pattern, user_id) for pattern in definition.writers)


def is_named(pattern: str, user_id: str) -> bool:
    """Whether a pattern matches a name; `*` stands for any text. Takes time in proportion to the texts."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == user_id
    *middle, last = rest
    if not user_id.startswith(first) or not user_id.endswith(last) or len(user_id) < len(first) + len(last):
        return False
    at, end = len(first), len(user_id) - len(last)
    for part in middle:
        at = user_id.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
