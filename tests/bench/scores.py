"""A project with scores, labels and reactions on many refs, for questions about many records; on any engine."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import apsw

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import Feedback
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.records import Record
from plaudit_server.store import migrate
from plaudit_server.store.base import Engine
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.bench import rows
from tests.bench.figures import NotMeasured, Settings
from tests.bench.places import file_system

PROJECT = rows.PROJECT
TYPE = "score"
"""The type of two rows in five; one in ten is a reaction, the others are of nine types with the same payloads."""

ROWS_OF_A_REF = 10
"""About how many rows a ref has."""

MODELS = ("judge-large-1", "judge-large-2", "judge-small-1", "human", "rule")
_LABELS = ("good", "good", "good", "bad", "unsure")
_EMOJI = ("👍", "👍", "👍", "👎", "🎉")
_FIRST = 1_700_000_000_000_000
_STEP = 61_000_000_000
"""Microseconds from a thousand rows to the next: a million rows are two years, with all that clocks do in them."""

_GROUP = 1000


def ref_of(number: int, count: int) -> str:
    """The ref of a row: rows of one ref are spread, as they are when they arrive over time."""
    return f"weave:///{PROJECT}/call/{number * 7919 % (count // ROWS_OF_A_REF):08d}"


def records(count: int) -> Iterator[Record]:
    """The rows, always the same except for their ids."""
    chance = random.Random(7)
    words = rows._SENTENCE.split()
    reasons = [" ".join(chance.choices(words, k=16)) for _ in range(_GROUP)]
    for number in range(count):
        kind = number % 10
        feedback = Feedback(
            id=uuid7(),
            ref=ref_of(number, count),
            feedback_type=TYPE if kind < 4 else "wandb.reaction.1" if kind == 4 else f"judge.{number % 9}",
            creator=f"judge-{number % 20}",
            payload_json=f'{{"emoji":"{chance.choice(_EMOJI)}"}}' if kind == 4 else _payload(number, chance, reasons),
        )
        yield rows.record(feedback)


def _payload(number: int, chance: random.Random, reasons: list[str]) -> str:
    return (
        f'{{"score":{round(chance.random(), 4)},"label":"{chance.choice(_LABELS)}"'
        f',"reason":"{reasons[number % _GROUP]}","model":"{chance.choice(MODELS)}","turn":{number % 7}}}'
    )


def ticking() -> Iterator[int]:
    """The times of the rows, for the clock of a store."""
    number = 0
    while True:
        yield _FIRST + number * _STEP
        number += 1


async def fill(store: Engine, count: int) -> None:
    """Store the rows."""
    made = records(count)
    while group := list(islice(made, _GROUP)):
        await store.write([Create(PROJECT, group)])


async def filled_sqlite(settings: Settings) -> Path:
    """A store on SQLite with `settings.rows` rows, kept in the bench's directory from run to run."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    if file_system(settings.directory) in ("tmpfs", "ramfs"):
        raise NotMeasured(f"{settings.directory} is in memory: name a directory of a disk with --directory")
    path = settings.directory / f"scores-{settings.rows}-{recipe()}.db"
    if not path.exists():
        for old in settings.directory.glob(f"scores-{settings.rows}-*"):
            old.unlink()
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        times = ticking()
        store = SqliteEngine(unfinished, clock=lambda: next(times))
        await store.open()
        await fill(store, settings.rows)
        await store.close()
        os.rename(unfinished, path)
    return path


def recipe() -> str:
    """A digest of what a store's content depends on."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for migration in migrate.migrations("sqlite"):
        digest.update(migration.checksum.encode())
    return digest.hexdigest()[:12]


def connection(path: Path) -> apsw.Connection:
    """A connection to a store for statements by hand."""
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
