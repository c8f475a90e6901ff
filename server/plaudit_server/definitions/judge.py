"""The judge whom feedback asks about records: it applies the known definitions; expensive checks run in a thread."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from plaudit_server.definitions import enforcement
from plaudit_server.definitions.cache import Cache, Unreadable
from plaudit_server.definitions.enforcement import Finding, TooExpensive
from plaudit_server.definitions.errors import ValidationTooExpensive
from plaudit_server.definitions.glance import verdict_of_place
from plaudit_server.definitions.records import ProjectDefinitions
from plaudit_server.definitions.schema import SchemaSupportMissing
from plaudit_server.definitions.uniqueness import unique_of
from plaudit_server.errors import DomainError, InvalidFields, PermissionDenied, StoreUnavailable, Violation
from plaudit_server.feedback.judging import Description, Judgement, Known, Seen, Subject, Verdict, subject_of
from plaudit_server.feedback.records import Record
from plaudit_server.rpc.checks import Checks

logger = logging.getLogger("plaudit_server")

# How long the event loop passes over good records: little beside what it took to read them. To hand them to a thread
# costs as much as checking a few hundred.
_SKIMMED_NS: Final = 500_000


class DefinitionJudge:
    """Judges by the definitions of a cache; `breaches` counts the records that broke theirs."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.checks: Checks | None = None
        """Where checks that take long are made; without it at once."""
        self.breaches = 0

    def known(self, project: str) -> Known:
        """What is known of any record of a project."""
        return self.cache.beforehand(project)

    async def judge(
        self, project: str, records: Sequence[Record], subjects: Seen, at: Sequence[str], *, skip: bool = False
    ) -> Judgement:
        """Judge the records of one request. Raises ValidationTooExpensive and QuotaExceeded."""
        definitions = self.cache.known(project)
        findings = [None] * len(records) if skip else await self._examine(project, definitions, records, subjects)
        if not definitions.any_unique and not any(findings):
            return definitions.nothing
        verdicts = [
            self._verdict(project, definitions, record, finding, place, skip)
            for record, finding, place in zip(records, findings, at, strict=True)
        ]
        return Judgement(definitions.number, verdicts) if any(verdicts) else definitions.nothing

    async def violations(self, project: str, subjects: Sequence[Subject], at: Sequence[str]) -> list[Violation]:
        """What is wrong by definition with records of a request that is refused anyway."""
        definitions = self.cache.known(project)
        if not definitions.by_type:
            return []
        found = await self._examine(project, definitions, [subject.record for subject in subjects], subjects)
        return [
            Violation(f"{place}.{breach.path}", breach.description)
            for finding, place in zip(found, at, strict=True)
            if finding is not None
            for breach in finding.breaches
        ]

    async def refresh(self, project: str, number: int) -> None:
        """Read the definitions again: there have been this many changes of them."""
        try:
            await self.cache.load(project)
        except (Unreadable, SchemaSupportMissing) as error:
            # Nothing may be stored by definitions that this server cannot read: another one may.
            logger.error("definitions of a project cannot be used: %s: %s", type(error).__name__, error)
            raise StoreUnavailable("definitions") from error

    async def _examine(
        self,
        project: str,
        definitions: ProjectDefinitions,
        records: Sequence[Record | Description],
        subjects: Seen,
    ) -> list[Finding | None]:
        try:
            if subjects and subjects[0] is not None and not subjects[0].is_decoded:  # then none is: they come together
                look = partial(_examined, definitions, records)
                return look() if self.checks is None else await self.checks.apart_for(project, look)
            examination = enforcement.Examination(definitions, records, subjects)
            examination.skim(_SKIMMED_NS)
            if examination.costs_little() or self.checks is None:
                return examination.findings()
            return await self.checks.apart_for(project, examination.findings)
        except TooExpensive as error:
            raise ValidationTooExpensive(error.cost, error.limit) from None

    def _verdict(
        self,
        project: str,
        definitions: ProjectDefinitions,
        record: Record,
        finding: Finding | None,
        at: str,
        skip: bool,
    ) -> Verdict | None:
        refused: DomainError | None = None
        if finding is not None:
            self.breaches += 1
            if finding.denied:
                refused = PermissionDenied(project, f"write {record.feedback_type}")
            else:
                violations = [Violation(f"{at}.{breach.path}", breach.description) for breach in finding.breaches]
                refused = InvalidFields(violations, finding.version)
        unique = unique_of(definitions, record.feedback_type)
        if unique is None:
            return None if refused is None else Verdict(refused)
        return verdict_of_place(unique, record)._replace(refused=refused, yields=skip)


def _examined(definitions: ProjectDefinitions, records: Sequence[Record | Description]) -> list[Finding | None]:
    """What is wrong with each, of which those are decoded whose type has a definition at all."""
    subjects = [None if definitions.of(record.feedback_type) is None else subject_of(record) for record in records]
    return enforcement.Examination(definitions, records, subjects).findings()
