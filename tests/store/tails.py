"""The changes of a project as those who watch it get them: read by a tail, and put through a filter in memory."""

from __future__ import annotations

import asyncio

from plaudit_server.feedback.reads import Change
from plaudit_server.feedback.records import FEEDBACK
from plaudit_server.feedback.tail import Tail, Window
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import Engine
from plaudit_server.store.engines.sqlite.sieve import Sieve
from plaudit_server.store.ledger import ProjectRevision

_SIEVE = Sieve(FEEDBACK)


async def tailed(store: Engine, project: str, filter: Operation) -> list[Change]:
    """All changes that pass a filter, which never was in the statements of the store; at most what a window holds."""
    failures: list[Exception] = []
    compiled = _SIEVE.compile(filter)
    assert compiled.fits
    tail = Tail(store, _SIEVE, project, 0, Window(1 << 30), failures.append)
    try:
        feed = tail.follow("key", compiled, 0)
        tail.begin(0)
        newest = await store.read(ProjectRevision(project))
        tail.advance(newest)
        changes: list[Change] = []
        async with asyncio.timeout(30):
            position = 0
            while position < newest:
                found = feed.after(position)
                assert found is not None, "the feed has missed something"
                assert not failures
                changes += found.changes
                position = found.revision
                await asyncio.sleep(0)
        return changes
    finally:
        tail.leave("key")
        tail.stop()
