"""From the records of a request to what became of them: judged, put in line, judged again if what is defined moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from plaudit_server.auth.permission import Right, own_only
from plaudit_server.errors import DomainError, InvalidFields, Overloaded, Violation
from plaudit_server.feedback.commands import Replace
from plaudit_server.feedback.creating import Create, anyone
from plaudit_server.feedback.importing import Existing, Import
from plaudit_server.feedback.judging import Glance, Judge, Judgement, Known, Seen, Stale, Subject, all_seen
from plaudit_server.feedback.records import Record, Row
from plaudit_server.feedback.rules import Checked
from plaudit_server.rpc.call import Call
from plaudit_server.store.base import Command, Outcome, accepted
from plaudit_server.store.work import SERVER, Work
from plaudit_server.store.writer import Writer

T = TypeVar("T")

# Each round needs another change of definitions between reading them and the commit.
_ROUNDS: Final = 20
_RETRY_SECONDS: Final = 0.1


class Draft(NamedTuple):
    """The good records of a request, and where each of them is in it.

    `subjects` are what is looked at of each, None where it has passed `glance`; they are empty while nothing is known
    to be defined. `known` is the judgement of all of them, where there is one already.
    `existing` is what an import does with records that are there; None for what is no import.
    `owner` returns whose records alone may be replaced, None for anyone's; it is asked only where something may be.
    With `skip` nothing is refused by definition.
    """

    project: str
    records: Sequence[Record]
    places: Sequence[str]
    subjects: Seen = ()
    atomic: bool = True
    existing: Existing | None = None
    owner: Callable[[], str | None] = anyone
    skip: bool = False
    known: Judgement | None = None
    glance: Glance | None = None
    waits: bool = False
    """Whether records wait for room in the line, as on a stream, instead of being refused."""
    work: Work = SERVER


class Writing:
    """Judges records and gives them to the writer."""

    def __init__(self, writer: Writer, judge: Judge) -> None:
        self._writer = writer
        self._judge = judge

    def known(self, project: str) -> Known:
        """What is known of any record; where that is no judgement, keep what is looked at of those that do not pass."""
        return self._judge.known(project)

    async def violations(self, project: str, subjects: Sequence[Subject], at: Sequence[str]) -> list[Violation]:
        """What is wrong by definition with records of a request that is refused anyway."""
        return await self._judge.violations(project, subjects, at) if subjects else []

    async def refusals(self, project: str, checked: Checked) -> dict[int, DomainError]:
        """What is wrong with the bad records of a batch, by definition too."""
        errors: dict[int, DomainError] = {}
        for index, error in checked.refused.items():
            subject = checked.broken.get(index)
            more = await self.violations(project, [subject], [_at(index)]) if subject else []
            errors[index] = InvalidFields([*error.violations, *more])
        return errors

    async def all_violations(self, project: str, checked: Checked) -> list[Violation]:
        """What is wrong with a batch that is refused as a whole, in the order of its records."""
        seen = zip(checked.places, checked.subjects, strict=False)  # of none of the records, or of all
        subjects = {index: subject for index, subject in seen if subject is not None} | checked.broken
        indexes = sorted(subjects)
        by_definition = await self.violations(
            project, [subjects[index] for index in indexes], [_at(index) for index in indexes]
        )
        found = [violation for error in checked.refused.values() for violation in error.violations]
        return sorted([*found, *by_definition], key=_index_of)

    def create(self, draft: Draft) -> Coroutine[None, None, list[Row | DomainError]]:
        """What became of each record. Raises what refused all of them, or was refused by the writer."""
        return self.committed(draft, partial(_command, draft))

    async def enqueue(self, draft: Draft) -> asyncio.Future[Outcome]:
        """Put records in line; `settled` waits for what becomes of them."""
        command = _command(draft, draft.known or await self._judged(draft))
        return await self._in_line(command) if draft.waits else self._writer.enqueue(command)

    async def _in_line(self, command: Command[Any]) -> asyncio.Future[Outcome]:
        """Put a command in line when there is room."""
        while True:
            try:
                return self._writer.enqueue(command)
            except Overloaded as error:
                await asyncio.sleep(error.retry_delay)

    def settled(self, draft: Draft, future: asyncio.Future[Outcome]) -> Coroutine[None, None, list[Any]]:
        """What became of each record in line: Row, or Imported of an import, or the error that refused it.

        Judged again when the definitions moved before it was its turn.
        """
        return self._accepted(draft, future, partial(_command, draft))

    async def replace(self, draft: Draft, expected_version: int) -> Row:
        """The record as it is now. Raises what refused it."""
        [record] = draft.records

        def command(judgement: Judgement) -> Replace:
            return Replace(draft.project, record, expected_version, draft.owner(), judgement, draft.work)

        return await self.committed(draft, command)

    async def committed(self, draft: Draft, command: Callable[[Judgement], Command[T]]) -> T:
        """What a command came to that writes the record of a draft, by a judgement of it. Raises what refused it."""
        future = self._writer.enqueue(command(draft.known or await self._judged(draft)))
        return await self._accepted(draft, future, command)

    async def _accepted(
        self, draft: Draft, future: asyncio.Future[Outcome], command: Callable[[Judgement], Command[T]]
    ) -> T:
        """What the command in line comes to; with another judgement it is put in line again while its own is stale."""
        for remaining in reversed(range(_ROUNDS)):
            outcome: T | DomainError = await future
            if not isinstance(outcome, Stale):
                return accepted(outcome)
            if remaining:  # else nothing of it may be in line when the caller is sent away
                judgement = await self._judged_again(draft, outcome.number)
                again = command(judgement)
                future = await self._in_line(again) if draft.waits else self._writer.enqueue(again)
        raise Overloaded(_RETRY_SECONDS)

    async def _judged(self, draft: Draft) -> Judgement:
        nothing, glance = self._judge.known(draft.project)
        if nothing is not None and not draft.subjects:
            return nothing
        subjects = draft.subjects
        if glance is None or glance is not draft.glance:
            subjects = _subjects(draft)
        elif not any(subjects):
            return glance.judgement(draft.records)
        return await self._judge.judge(draft.project, draft.records, subjects, draft.places, skip=draft.skip)

    async def _judged_again(self, draft: Draft, number: int) -> Judgement:
        await self._judge.refresh(draft.project, number)
        return await self._judge.judge(draft.project, draft.records, _subjects(draft), draft.places, skip=draft.skip)


def _subjects(draft: Draft) -> list[Subject]:
    """What is looked at of all records, also of those that passed a glance by what was defined before."""
    return list(all_seen(draft.records, draft.subjects or [None] * len(draft.records)))


def _command(draft: Draft, judgement: Judgement) -> Command[list[Any]]:
    if draft.existing is not None:
        return Import(draft.project, draft.records, draft.existing, judgement, draft.work)
    return Create(draft.project, draft.records, draft.atomic, draft.owner, judgement, draft.work)


def single(project: str, record: Record, work: Work) -> Draft:
    """One record that was made from more than a message of its own."""
    return Draft(project, (record,), ("feedback",), work=work)


def owner_of_replaced(call: Call, project: str) -> str | None:
    """Whose records alone a repeat of the caller may replace; None for anyone's."""
    return call.user_id if own_only(call.principal, Right.REPLACE, project) else None


def drafted(
    checked: Checked,
    project: str,
    work: Work,
    *,
    atomic: bool = False,
    existing: Existing | None = None,
    owner: Callable[[], str | None] = anyone,
    skip: bool = False,
    known: Judgement | None = None,
    glance: Glance | None = None,
    waits: bool = False,
) -> Draft:
    """The good records of a batch."""
    places = [_at(index) for index in checked.places]
    records, subjects = tuple(checked.records), checked.subjects
    return Draft(project, records, places, subjects, atomic, existing, owner, skip, known, glance, waits, work)


def _at(index: int) -> str:
    return f"feedback[{index}]"


def _index_of(violation: Violation) -> int:
    return int(violation.field.partition("[")[2].partition("]")[0])
