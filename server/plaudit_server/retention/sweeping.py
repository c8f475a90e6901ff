"""The sweep that removes what the rules make due: every server does it, in small slices between other writes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final

from plaudit_server.errors import Overloaded, QueryTooExpensive, StoreUnavailable
from plaudit_server.feedback.errors import UnderHold
from plaudit_server.feedback.purging import Match, slices
from plaudit_server.feedback.retaining import FIRST, FindDue
from plaudit_server.retention.commands import ApplyRule
from plaudit_server.retention.reads import GetRules, SelectRuledProjects, SelectTypes
from plaudit_server.retention.records import ALL_OTHERS, Rule
from plaudit_server.rpc.audit import note_own
from plaudit_server.store.base import Engine, accepted
from plaudit_server.store.ledger import microseconds
from plaudit_server.store.work import Owner, Work
from plaudit_server.store.writer import Writer

logger = logging.getLogger("plaudit_server")

PERIOD_SECONDS: Final = 60.0
"""How long a server rests between two sweeps, about."""

# Other writers wait for a slice, so it is small. After each the sweep rests for as long as it took, at least this long.
_SLICE_ROWS: Final = 100
_SLICE_BYTES: Final = 1024 * 1024
_REST_SECONDS: Final = 0.005
# After so many seconds of slices it waits until what they removed is erased, at most for so many: what comes into a log
# while it is being emptied is moved by the writer, and with slices one after the other that took 25 ms, four times a
# second.
_BURST_SECONDS: Final = 0.15
_ERASED_SECONDS: Final = 1.0
_FOUND_ROWS: Final = 1_000
_PAGE: Final = 100


class Sweeper:
    """Removes what is due; `clock` is in microseconds since 1970 UTC. One that fails is tried again a period later."""

    def __init__(
        self, store: Engine, writer: Writer, clock: Callable[[], int] = microseconds, *, is_audited: bool = False
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._is_audited = is_audited
        self._task: asyncio.Task[None] | None = None
        self._burst_ends = 0.0
        self.removed = 0
        """How many records were removed."""
        self.failed = 0
        """How many sweeps ended before they were done, since the store failed or was busy."""

    def start(self) -> None:
        """Begin to sweep now and then; on the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="plaudit-retention")

    def stop(self) -> None:
        """Begin no other slice."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Wait until it has stopped. Safe to call twice, or without a start."""
        self.stop()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            # At another moment on each server, since all of them would find the same records.
            await asyncio.sleep(PERIOD_SECONDS * random.uniform(0.5, 1.5))
            try:
                await self.sweep()
            except (StoreUnavailable, Overloaded, QueryTooExpensive):
                self.failed += 1
            except Exception:
                self.failed += 1
                logger.exception("the removal of records at the end of their time failed")

    async def sweep(self) -> int:
        """Remove all that is due now, in every project; returns how many records that were."""
        before = self.removed
        after = ""
        while projects := await self._store.read(SelectRuledProjects(after, _PAGE)):
            after = projects[-1]
            for project in projects:
                with suppress(UnderHold):
                    await self._sweep_project(project)
        return self.removed - before

    async def _sweep_project(self, project: str) -> None:
        now = self._clock()
        rules = await self._store.read(GetRules(project))
        if rules.held:
            return
        others = rules.by_type.get(ALL_OTHERS)
        if others is not None and others.days and others.acts_at <= now:
            async for type in self._types(project):
                await self._sweep_type(project, type, rules.acting_on(type, now), now)
        else:
            for type in rules.own_types:
                await self._sweep_type(project, type, rules.acting_on(type, now), now)

    async def _types(self, project: str) -> AsyncIterator[str]:
        """The types of which there are records."""
        after = ""
        while types := await self._store.read(SelectTypes(project, after, _PAGE)):
            for type in types:
                yield type
            after = types[-1]

    async def _sweep_type(self, project: str, type: str, rule: Rule | None, now: int) -> None:
        """Remove what is due of a type; the audit log has one line for all of it."""
        if rule is None:
            return
        before, after = rule.before(now), FIRST
        removed = 0
        try:
            while True:
                found = await self._store.read(FindDue(project, type, before, _FOUND_ROWS, after))
                for some in slices(found.matches, _SLICE_ROWS, _SLICE_BYTES):
                    count = await self._remove(ApplyRule(project, type, rule, now, _ids(some), _work(project)))
                    if not count:  # another server does it, or the rule was changed
                        return
                    removed += count
                if found.reached is None:
                    return
                after = found.reached
        finally:
            if removed and self._is_audited:
                note_own("retention", project, removed, feedback_type=type, days=rule.days, before=before)

    async def _remove(self, command: ApplyRule) -> int:
        began = time.monotonic()
        outcome = accepted(await self._writer.submit(command))
        self.removed += outcome.rows
        await asyncio.sleep(max(time.monotonic() - began, _REST_SECONDS))
        if time.monotonic() > self._burst_ends:
            await self._store.erased(_ERASED_SECONDS)
            self._burst_ends = time.monotonic() + _BURST_SECONDS
        return outcome.rows


def _ids(matches: Sequence[Match]) -> list[str]:
    return [match.id for match in matches]


def _work(project: str) -> Work:
    return Work(Owner("", project))
