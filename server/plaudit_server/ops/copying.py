"""Copies a store into another, whatever their engines: every declared table, project by project, then compares them.

Each batch is a transaction that checks what is there already, so an interrupted copy continues where it ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

from plaudit_server.ops.reading import batches, read_standings
from plaudit_server.store import transfer
from plaudit_server.store.base import Placement, Reading, SqlEngine, Steps, StoreError, Table
from plaudit_server.store.counters import recount
from plaudit_server.store.identity import StoreId, renew
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.transfer import Standing, Stored

Progress = Callable[[str, int, int], None]
"""Called with what is being done (`copying`, `verifying`), the number of rows done, and that of all rows."""


class Copied(NamedTuple):
    """What a copy holds; `checksum` is over every value of every row, in the order of projects, tables and keys.

    `others` counts the rows that are not about one project (API keys), by the title of their table.
    """

    projects: int
    rows: int
    others: Mapping[str, int]
    checksum: str


class Copy:
    """One copy of the `tables` of a store; `run` makes it."""

    def __init__(
        self, source: SqlEngine, target: SqlEngine, tables: Sequence[Table], progress: Progress = lambda *_: None
    ) -> None:
        self._source = source
        self._target = target
        copied = [table for table in tables if table.copied]
        self._of_projects = [table for table in copied if table.placement is Placement.BY_PROJECT]
        self._of_all = [table for table in copied if table.placement is Placement.EVERYWHERE]
        self._progress = progress

    async def run(self) -> Copied:
        """Copy everything, then read both stores again and compare.

        Raises StoreError when the target holds other data, when the source is written to meanwhile, and when what was
        copied is not what was read.
        """
        standings = await read_standings(self._source)
        total = sum([await self._count(self._source, standing) for standing in standings])
        done = 0
        for standing in standings:
            await self._target.transact(_beginning(standing))
            done += await self._count(self._target, standing)
            for table in self._of_projects:
                async for rows in self._missing(table, standing):
                    await self._target.transact(_putting(table, standing, rows))
                    done += len(rows)
                    self._progress("copying", done, total)
            await self._target.transact(_recounting(standing))
        for table in self._of_all:
            await self._target.transact(_putting_whole(table, await _whole(self._source, table)))
        copied = await self._verify(standings, total)
        # Tokens of the source are known as such, and positions of watches are of another store.
        await self._target.transact(_renewing(self._source.store_id))
        return copied

    async def _missing(self, table: Table, standing: Standing) -> AsyncIterator[list[Stored]]:
        """The rows of a table that the target does not have yet."""
        there = await self._target.read(Reading(lambda sql: transfer.position(sql, table, standing.project)))
        async for rows in batches(self._source, table, standing, there):
            yield rows

    async def _verify(self, standings: list[Standing], total: int) -> Copied:
        if await read_standings(self._source) != standings:
            raise StoreError(
                "the source was written to while it was copied; stop its servers, and copy into an empty store"
            )
        if await read_standings(self._target) != standings:
            raise StoreError("the target holds other projects than the source; copy into an empty store")
        others = {}
        for table in self._of_all:
            rows = await _whole(self._source, table)
            if await _whole(self._target, table) != rows:
                raise StoreError(f"the target holds other {table.title} than the source; copy into an empty store")
            others[table.title] = len(rows)
        whole, done = hashlib.sha256(), 0
        for standing in standings:
            digest, count = await self._compare(standing, done, total)
            whole.update(digest)
            done += count
        return Copied(len(standings), done, others, whole.hexdigest())

    async def _compare(self, standing: Standing, done: int, total: int) -> tuple[bytes, int]:
        """Both stores' rows of a project, which must be the same; their checksum and number."""
        counts, digests = [], []
        for store in (self._source, self._target):
            digest, count = hashlib.sha256(), 0
            for table in self._of_projects:
                async for rows in batches(store, table, standing):
                    for row in rows:
                        # The repr of the values, so that 1 is not '1', and bytes are not text.
                        digest.update(repr((table.name, row)).encode())
                    count += len(rows)
                    if store is self._target:
                        self._progress("verifying", done + count, total)
            counts.append(count)
            digests.append(digest.digest())
        if counts[0] != counts[1] or digests[0] != digests[1]:
            raise StoreError(
                f"the project {standing.project} differs: {counts[0]} rows in the source, {counts[1]} in the target, "
                f"checksums {digests[0].hex()[:16]} and {digests[1].hex()[:16]}"
            )
        return digests[0], counts[0]

    async def _count(self, store: SqlEngine, standing: Standing) -> int:
        return await store.read(Reading(lambda sql: transfer.count(sql, self._of_projects, standing.project)))


async def _whole(store: SqlEngine, table: Table) -> list[Stored]:
    return await store.read(Reading(lambda sql: transfer.whole(sql, table)))


def _beginning(standing: Standing) -> transfer.Writing:
    return lambda sql: transfer.begin(sql, standing)


def _recounting(standing: Standing) -> transfer.Writing:
    return lambda sql: recount(sql, standing.project)


def _putting(table: Table, standing: Standing, rows: list[Stored]) -> transfer.Writing:
    return lambda sql: transfer.put(sql, table, standing, rows)


def _renewing(source: StoreId) -> Callable[[Prepared], Steps[StoreId]]:
    return lambda sql: renew(sql, source)


def _putting_whole(table: Table, rows: list[Stored]) -> transfer.Writing:
    return lambda sql: transfer.put_whole(sql, table, rows)
