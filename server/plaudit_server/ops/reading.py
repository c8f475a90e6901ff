"""Reads a whole store in pieces: where its projects stand, and the rows of each table in order; changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from plaudit_server.store import transfer
from plaudit_server.store.base import Reading, SqlEngine, Table
from plaudit_server.store.transfer import Standing, Stored, key_of

_BATCH_ROWS: Final = 1_000
_BATCH_BYTES: Final = 4_000_000
_PROJECTS: Final = 500


async def read_standings(store: SqlEngine) -> list[Standing]:
    """Where every project stands."""
    found: list[Standing] = []
    while page := await store.read(_standing_after(found[-1].project if found else "")):
        found += page
    return found


async def batches(
    store: SqlEngine, table: Table, standing: Standing, after: tuple[object, ...] | None = None
) -> AsyncIterator[list[Stored]]:
    """The rows of a project after a key, in order, as they stand."""
    while rows := await store.read(_exporting(table, standing.project, after)):
        yield rows
        after = key_of(table, rows[-1])


# Each as a function of its own, so that a batch is bound when it is made.


def _standing_after(after: str) -> Reading[list[Standing]]:
    return Reading(lambda sql: transfer.standings(sql, after, _PROJECTS))


def _exporting(table: Table, project: str, after: tuple[object, ...] | None) -> Reading[list[Stored]]:
    return Reading(lambda sql: transfer.export(sql, table, project, after, _BATCH_ROWS, _BATCH_BYTES))
