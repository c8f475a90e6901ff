"""Stores full of records, made once by the store's own code and kept until what makes them changes."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
from pathlib import Path

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import Feedback
from plaudit_server.feedback import commands, creating, records
from plaudit_server.feedback.creating import Create
from plaudit_server.store import migrate
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.bench import rows
from tests.bench.figures import NotMeasured, Settings
from tests.bench.places import file_system

PAGE = 1000
"""Rows of a page, and half of the rows of an ordinary ref."""

LARGE_REF = f"weave:///{rows.PROJECT}/call/all"
"""The ref of two rows in five."""

LARGE_TYPE = rows.TYPE
"""The type of every second row."""

_ROWS_OF_A_REF = 2 * PAGE
_GROUP = 1000
_OTHER_TYPES = 9


def ref_of(number: int, count: int) -> str:
    """The ref of a row: rows of one ref are spread, as they are when they arrive over time."""
    if number % 5 < 2:
        return LARGE_REF
    return f"weave:///{rows.PROJECT}/call/{number % refs_in(count):08d}"


def refs_in(count: int) -> int:
    """The number of ordinary refs; not a multiple of 5, which would leave some without rows."""
    refs = max(1, count * 3 // 5 // _ROWS_OF_A_REF)
    return refs + 1 if refs % 5 == 0 else refs


def page_refs(count: int) -> list[str]:
    """Refs with at least a page of rows each."""
    return [f"weave:///{rows.PROJECT}/call/{number:08d}" for number in range(min(refs_in(count), 50))]


def type_of(number: int) -> str:
    return LARGE_TYPE if number % 2 == 0 else f"judge.{number // 2 % _OTHER_TYPES}"


def filled_store(settings: Settings, count: int) -> Path:
    """A store with the given number of rows of one project, kept in the bench's directory from run to run."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    if file_system(settings.directory) in ("tmpfs", "ramfs"):
        raise NotMeasured(f"{settings.directory} is in memory: name a directory of a disk with --directory")
    path = settings.directory / f"rows-{count}-{_recipe(count)}.db"
    if not path.exists():
        for old in settings.directory.glob(f"rows-{count}-*"):
            old.unlink()
        asyncio.run(_fill(path, count))
    return path


def _recipe(count: int) -> str:
    """A digest of everything that the file's content depends on."""
    digest = hashlib.sha256()
    for module in (records, migrate, commands, creating, rows):
        digest.update(inspect.getsource(module).encode())
    digest.update(Path(__file__).read_bytes())
    for migration in migrate.migrations("sqlite"):
        digest.update(migration.checksum.encode())
    return digest.hexdigest()[:12]


async def _fill(path: Path, count: int) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    clock = iter(range(1_700_000_000_000_000, 2_000_000_000_000_000, 1_000_000))
    store = SqliteEngine(unfinished, clock=lambda: next(clock))
    await store.open()
    # This file need not survive a crash.
    await store._run(
        store._writer, lambda: store._connection and store._connection.execute("PRAGMA synchronous = OFF").fetchall()
    )
    templates = [rows.feedback(number) for number in range(_GROUP)]
    for first in range(0, count, _GROUP):
        group = [_record(templates[number % _GROUP], number, count) for number in range(first, first + _GROUP)]
        await store.write([Create(rows.PROJECT, group[: count - first])])
    await store.close()
    os.rename(unfinished, path)


def _record(template: Feedback, number: int, count: int) -> records.Record:
    """A row as validation hands it to the store."""
    ref, feedback_type = ref_of(number, count), type_of(number)
    message = Feedback()
    message.CopyFrom(template)
    message.ref, message.feedback_type, message.id = ref, feedback_type, uuid7()
    return rows.record(message)
