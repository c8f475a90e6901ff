"""What is written to definitions: a put, decided in the transaction that locks the project's row."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from plaudit_server.definitions.errors import (
    CheckedTooEarly,
    DefinitionBreaksStored,
    DefinitionChanged,
    LimitReached,
)
from plaudit_server.definitions.reads import (
    DefinitionStatements,
    StoredRecord,
    records_to_try,
    versions_that_matter,
)
from plaudit_server.definitions.records import DEFINITION, Defined, Definition, StoredDefinition, Version
from plaudit_server.definitions.trial import Trial
from plaudit_server.errors import DomainError, InvalidFields, Violation
from plaudit_server.feedback.judging import Description, Subject
from plaudit_server.store.base import Command, Insert, Statement, Steps
from plaudit_server.store.ledger import Ledger
from plaudit_server.store.work import SERVER, Work

DEFINITIONS: Final = 1_000
"""How many types of a project may be defined."""

VERSIONS: Final = 1_000
"""How many versions a definition may have."""

# How many of the records stored since the check a put looks at in its transaction. The span is of all types.
_CHECKED_RECORDS: Final = 500
_CHECKED_BYTES: Final = 4 * 1024 * 1024
_CHECKED_SECONDS: Final = 0.05
_CHECKED_SPAN: Final = 20_000

ReadDefinition = Callable[[StoredDefinition], Version]
"""Makes a stored definition usable."""

DecodePayload = Callable[[str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PutDefinition(Command[StoredDefinition]):
    """Make the next version of a definition. Outcome: the newest version, or why there is no new one.

    `expected_version` None means any, 0 that there is none. With `checked_revision` no record stored after it may break
    the definition.
    """

    kind: ClassVar[str] = "define"
    adds: ClassVar[bool] = True

    project: str
    user_id: str
    definition: Definition
    read: ReadDefinition
    decode: DecodePayload
    expected_version: int | None = None
    checked_revision: int | None = None
    work: Work = field(default=SERVER, compare=False)

    @property
    def size(self) -> int:
        """The bytes of the definition."""
        return len(self.definition.content)

    def stored(self, outcome: Any) -> int:
        """One, if it is there now."""
        return int(type(outcome) is StoredDefinition)

    def steps(self, ledger: Ledger) -> Steps[StoredDefinition | DomainError]:
        """Compare with the versions that there are, then add one."""
        statements = ledger.sql.of(DefinitionStatements)
        type = self.definition.feedback_type
        there = yield from versions_that_matter(ledger.sql, self.project, type)
        number = there[-1].version if there else 0
        expected = self.expected_version
        if there and there[-1].content == self.definition.content and expected in (None, number, number - 1):
            ledger.repeated += 1
            return there[-1]
        if expected not in (None, number):
            return DefinitionChanged(self.project, type, expected, number)
        if number >= VERSIONS:
            return LimitReached(self.project, "definition_versions", VERSIONS)
        if not there:
            types = yield Statement(statements.types, (self.project,))
            if len(types) >= DEFINITIONS:
                return LimitReached(self.project, "definitions", DEFINITIONS)
        refused = self._spec_taken(there)
        if refused is None and self.checked_revision is not None:
            refused = yield from self._breaks_stored(ledger, there)
        if refused is not None:
            return refused
        made = StoredDefinition(type, number + 1, ledger.revision, self.user_id, ledger.tick(), self.definition.content)
        yield Insert(DEFINITION, [(self.project, *made)])
        ledger.definitions += 1
        return made

    def _spec_taken(self, there: Sequence[StoredDefinition]) -> DomainError | None:
        """A spec's digest never changes, so what a version asks of its records must not change, either."""
        spec = self.definition.annotation_ref
        for stored in there if spec is not None else ():
            before = self.read(stored).definition
            if before.annotation_ref == spec and not before.judges_as(self.definition):
                description = f"is the spec of version {stored.version}, which asks something else of the payload"
                return InvalidFields([Violation("definition.annotation_ref", description)])
        return None

    def _breaks_stored(self, ledger: Ledger, there: Sequence[StoredDefinition]) -> Steps[DomainError | None]:
        """Why the records that were stored since the check do not allow the put."""
        checked = self.checked_revision
        assert checked is not None
        if ledger.revision - checked > _CHECKED_SPAN:
            return CheckedTooEarly(self.project, checked, ledger.revision)
        started = time.monotonic()
        type = self.definition.feedback_type
        records, more = yield from records_to_try(
            ledger.sql, self.project, type, None, checked, _CHECKED_RECORDS, _CHECKED_BYTES
        )
        if more:
            return CheckedTooEarly(self.project, checked, ledger.revision)
        trial = Trial(tried(self.definition, [self.read(stored) for stored in there]))
        first = None
        for record in records:
            if trial.add(record.id, subject_of(record, self.decode), record.owner):
                first = first or record.id
            if trial.exhausted or time.monotonic() - started > _CHECKED_SECONDS:
                return CheckedTooEarly(self.project, checked, ledger.revision)
        if first is None:
            return None
        return DefinitionBreaksStored(self.project, type, trial.breaking, first)


def tried(definition: Definition, there: Sequence[Version]) -> Defined:
    """The versions of a type as they would be with one more."""
    return Defined.of((*there, Version(definition, len(there) + 1, 0, "", 0)))


def subject_of(record: StoredRecord, decode: DecodePayload) -> Subject:
    """The parts of a stored record that a definition judges."""
    kept = record.feedback_type, record.ref, record.user_id, record.creator, record.annotation_ref
    return Subject(Description(*kept, record.payload), decode(record.payload))


COMMANDS: Final = (PutDefinition,)
