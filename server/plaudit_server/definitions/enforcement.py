"""How the definitions in force judge the records of a request: refusals, what finding them costs, places; pure.

A request is judged as a whole, because the cost of all its records together is bounded: 10^8, in bytes of payload ×
checks of a schema, which is about a tenth of a second. The cost is known before any record is judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from plaudit._contract.jsontext import REPORTED_BREACHES, Breach, place
from plaudit_server.definitions.records import BUILT_IN, Defined, Definition, ProjectDefinitions
from plaudit_server.definitions.schema import VALUE_COST, JsonSchema
from plaudit_server.feedback.judging import Subject

REQUEST_COST: Final = 100_000_000
"""The most that the records of one request may cost together."""

INLINE_COST: Final = 100_000
"""Work that costs more than this is done in a thread."""

REASON_CHARACTERS: Final = 10_000

_EXPLAINING_COST: Final = REQUEST_COST // 2
"""The most that saying exactly what is wrong with the records of one request may cost."""

_MISSING: Final = object()


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


def costs_of(definitions: ProjectDefinitions, subjects: Iterable[Subject]) -> list[int]:
    """An upper bound of what checking each record costs, roughly in nanoseconds."""
    costs = []
    for subject in subjects:
        cost, defined = 0, definitions.of(subject.feedback_type)
        if defined is not None:
            judge = defined.plain or _judging(defined, subject)
            rule = None if judge is None else judge.rule
            if judge is not None and rule is not None and not rule.free:
                cost = rule.cost(_value(judge, subject.payload) if judge.value_path else subject.payload, subject.text)
        costs.append(cost)
    return costs


def _judging(defined: Defined, subject: Subject) -> Definition | None:
    version = defined.judge(subject.annotation_ref)
    return None if version is None else version.definition


def examine(
    definitions: ProjectDefinitions, subjects: Sequence[Subject], costs: Sequence[int] | None = None
) -> list[Finding | None]:
    """What is wrong with each record of a request to write; None for a record that may be written.

    `costs` is what `costs_of` gives, if the caller has it already. Raises TooExpensive, before anything is looked at. A
    definition that is not enforced refuses nothing.
    """
    if costs is None:
        costs = costs_of(definitions, subjects)
    cost = sum(costs)
    if cost > REQUEST_COST:
        raise TooExpensive(cost, REQUEST_COST)
    credit = Credit(max(min(REQUEST_COST - cost, _EXPLAINING_COST), 2 * VALUE_COST))
    findings: list[Finding | None] = []
    for subject, cost in zip(subjects, costs, strict=True):
        defined = definitions.of(subject.feedback_type)
        # Nearly every record is good, which costs a fraction of finding what exactly is wrong with one.
        if defined is None or (defined.plain is not None and _is_good(defined.plain, subject.payload, cost)):
            findings.append(None)
        else:
            findings.append(_finding(defined, subject, credit))
    return findings


def is_plainly_good(definition: Definition, subject: Subject) -> bool:
    """Whether a payload breaks nothing; False also where finding that out would cost more than a little."""
    rule, cost = definition.rule, 0
    if rule is not None and not rule.free:
        cost = rule.cost(_value(definition, subject.payload), subject.text)
        if not 0 < cost <= INLINE_COST:
            return False
    return _is_good(definition, subject.payload, cost)


def _is_good(definition: Definition, payload: Mapping[str, Any], cost: int) -> bool:
    """Whether a payload breaks nothing; False also where only a closer check can say. `cost` is that of its value."""
    path, rule = definition.value_path, definition.rule
    if rule is not None:
        value = payload.get(path[0]) if len(path) == 1 else _value(definition, payload)
        if value is None or value is _MISSING or not (cost or rule.free) or not rule.takes(value):
            return False
    if "reason" in payload:
        reason = payload["reason"]
        if type(reason) is not str or not 1 <= len(reason) <= REASON_CHARACTERS:
            return False
    elif definition.reason_required:
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
    denied = not may_write(newest.definition, subject.user_id)
    breaches: list[Breach] = []
    if newest.definition.closed:
        breaches.append(Breach("feedback_type", "takes no new records: its definition is closed"))
    judge = defined.judge(subject.annotation_ref)
    if judge is None:
        breaches.append(Breach("annotation_ref", "is named by no version of the type's definition"))
    elif judge.definition.enforced:
        look_at(judge.definition, subject.payload, subject.text, breaches, credit)
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
        value = _value(definition, payload)
        at = definition.value_place
        if value is _MISSING:
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
        may_explain = credit.take(schema.cost(value, text) + schema.explanation_cost)
        out.append(schema.first_breach(value, at) if may_explain else Breach(at, "breaks the schema"))


def _value(definition: Definition, payload: Mapping[str, Any]) -> Any:
    """The value, or _MISSING."""
    value: Any = payload
    for key in definition.value_path:
        if type(value) is dict and key in value:
            value = value[key]
        elif type(value) is list and _is_position(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return _MISSING
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


# --- places


def unique_of(definitions: ProjectDefinitions, feedback_type: str) -> Definition | None:
    """The definition by which there may be one record of a type in each place; None where there may be any number."""
    defined = definitions.of(feedback_type)
    if defined is None:
        return None
    newest = defined.newest.definition
    return newest if newest.enforced and newest.unique is not None else None


def key_of(definition: Definition, subject: Subject, owner: str) -> str:
    """16 bytes in hex that stand for the place of a record of this owner, by a definition that has `unique`.

    Two records have the same place when they agree in the type, the ref, and what the definition names.
    """
    unique = definition.unique
    assert unique is not None
    parts = (
        subject.feedback_type,
        subject.ref,
        [owner] if unique.by_rater else 0,
        [subject.creator] if unique.by_creator else 0,
        _text_form(definition, subject.text) if unique.by_value else 0,
    )
    return blake2b(_encode(parts).encode(), digest_size=16).hexdigest()


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class _Numeral(str):
    """The text of a number, as it was sent."""

    __slots__ = ()


_ZERO_FRACTION: Final = re.compile(r"\.0+\Z")
_as_sent: Final = json.JSONDecoder(parse_int=_Numeral, parse_float=lambda text: _Numeral(_ZERO_FRACTION.sub("", text)))


def _text_form(definition: Definition, text: str) -> list[Any]:
    """The value as the query language reads it as text, so that 5, 5.0 and "5" are one; what has no text, as it is."""
    value = _value(definition, _as_sent.decode(text))
    if value is _MISSING:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if value is None or isinstance(value, str):
        return [value]
    return [json.dumps(value, sort_keys=True), "json"]


# --- trying a definition


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
        judge = self._defined.judge(subject.annotation_ref)
        if judge is None:
            breaches.append(Breach("annotation_ref", "is named by no version of the type's definition"))
        elif judge is tried:
            rule = tried.definition.rule
            if rule is not None:
                self._cost_left -= rule.cost(_value(tried.definition, subject.payload), subject.text)
            look_at(tried.definition, subject.payload, subject.text, breaches, self._credit, stored=True)
        for key in {(_POSITION.sub("", breach.path), breach.description) for breach in breaches}:
            breakage = self._breakages.setdefault(key, _Breakage(0, []))
            breakage.count += 1
            if len(breakage.ids) < _EXAMPLES:
                breakage.ids.append(id)
        if tried.definition.unique is not None:
            key_there = key_of(tried.definition, subject, owner)
            if self._places.setdefault(key_there, id) != id:
                self._repeated.add(subject.ref)
        self.breaking += bool(breaches)
        return bool(breaches)

    def breakages(self) -> list[Breakage]:
        """What breaks where, most frequent first."""
        found = [Breakage(*where, breakage.count, tuple(breakage.ids)) for where, breakage in self._breakages.items()]
        return sorted(found, key=lambda breakage: (-breakage.records, breakage.path, breakage.description))[:_BREAKAGES]
