"""Copies a store into another, whatever their engines: live rows, history, tombstones, counters and API keys.

Each batch is a transaction that knows what is there already, so a copy that was broken off goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

from plaudit_server.feedback.steps import Statements, Steps
from plaudit_server.store import transfer
from plaudit_server.store.base import StoreError
from plaudit_server.store.transfer import Movable, Standing, Stored

_BATCH_ROWS: Final = 1_000
_BATCH_BYTES: Final = 4_000_000
_PROJECTS: Final = 500

Progress = Callable[[str, int, int], None]
"""Told what is being done (`copying`, `verifying`), the rows done and all there are."""


class Copied(NamedTuple):
    """What a copy holds; `checksum` is over every value of every row, in the order of projects and revisions."""

    projects: int
    rows: int
    keys: int
    checksum: str


async def copy(source: Movable, target: Movable, progress: Progress = lambda *_: None) -> Copied:
    """Copy everything, then read both stores again and compare.

    Raises StoreError when the target holds other data, when the source is written to meanwhile, and when what was
    copied is not what was read.
    """
    standings = [standing async for standing in _standings(source)]
    total = sum([await source.export(_counting(standing)) for standing in standings])
    keys = await source.export(transfer.keys)
    done = 0
    for standing in standings:
        there = await target.restore(_beginning(standing))
        done += await target.export(_counting(standing))
        async for rows in _batches(source, standing, there):
            await target.restore(_putting(standing, rows))
            done += len(rows)
            progress("copying", done, total)
    await target.restore(lambda sql: transfer.put_keys(sql, keys))
    return await _verify(source, target, standings, total, progress)


async def _verify(
    source: Movable, target: Movable, standings: list[Standing], total: int, progress: Progress
) -> Copied:
    if [standing async for standing in _standings(source)] != standings:
        raise StoreError(
            "the source was written to while it was copied; stop its servers, and copy into an empty store"
        )
    if [standing async for standing in _standings(target)] != standings:
        raise StoreError("the target holds other projects than the source; copy into an empty store")
    keys = await source.export(transfer.keys)
    if await target.export(transfer.keys) != keys:
        raise StoreError("the target holds other API keys than the source; copy into an empty store")
    whole, done = hashlib.sha256(), 0
    for standing in standings:
        counts, digests = [], []
        for store in (source, target):
            digest, count = hashlib.sha256(), 0
            async for rows in _batches(store, standing, 0):
                for row in rows:
                    digest.update(repr(row).encode())
                count += len(rows)
                if store is target:
                    progress("verifying", done + count, total)
            counts.append(count)
            digests.append(digest.digest())
        if counts[0] != counts[1] or digests[0] != digests[1]:
            raise StoreError(
                f"the project {standing.project} differs: {counts[0]} rows in the source, {counts[1]} in the target, "
                f"checksums {digests[0].hex()[:16]} and {digests[1].hex()[:16]}"
            )
        whole.update(digests[0])
        done += counts[0]
    return Copied(len(standings), done, len(keys), whole.hexdigest())


async def _standings(store: Movable) -> AsyncIterator[Standing]:
    after = ""
    while page := await store.export(_standing_after(after)):
        for standing in page:
            yield standing
        after = page[-1].project


async def _batches(store: Movable, standing: Standing, after: int) -> AsyncIterator[list[Stored]]:
    """The rows above a revision, in order, as they stood."""
    while rows := await store.export(_exporting(standing.project, after)):
        yield rows
        after = rows[-1].revision


# Each as a function of its own, so that a batch is bound when it is made.


def _standing_after(after: str) -> Callable[[Statements], Steps[list[Standing]]]:
    return lambda sql: transfer.standings(sql, after, _PROJECTS)


def _counting(standing: Standing) -> Callable[[Statements], Steps[int]]:
    return lambda sql: transfer.count(sql, standing.project)


def _exporting(project: str, after: int) -> Callable[[Statements], Steps[list[Stored]]]:
    return lambda sql: transfer.export(sql, project, after, _BATCH_ROWS, _BATCH_BYTES)


def _beginning(standing: Standing) -> Callable[[Statements], Steps[int]]:
    return lambda sql: transfer.begin(sql, standing)


def _putting(standing: Standing, rows: list[Stored]) -> Callable[[Statements], Steps[None]]:
    return lambda sql: transfer.put(sql, standing, rows)
