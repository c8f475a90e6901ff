"""Stores with a large project of the attackers, keys for everybody, and a copy for each case; SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import psycopg

from plaudit.v1 import BatchCreateFeedbackRequest, FeedbackServiceStub
from plaudit_server.store import migrate
from tests.attacks import bombs, neighbour
from tests.neighbours.catalogue import POSTGRES, SQLITE
from tests.postgres.cluster import Cluster, Database
from tests.service.process import server_process

_BATCH_ROWS = 500
_BATCHES_AT_A_TIME = 4
_KEYS_AT_A_TIME = 4
_REFS = 20_000
_HEAVY_ROWS = 1000
_HEAVY_BYTES = 3000
_TEXT = "row {} of a judge who says why in a sentence of some length, as judges do"


@dataclass(frozen=True, slots=True)
class Keys:
    """API keys: the well-behaved caller's, and one for each attacker."""

    caller: str
    attackers: tuple[str, ...]


class _Original(NamedTuple):
    """What is copied: a file or a database by its name, and the keys that are in it."""

    name: str
    keys: Keys


@dataclass(frozen=True, slots=True)
class Store:
    """A store of a case's own; `cluster` is the database server of one that is not embedded."""

    url: str
    keys: Keys
    cluster: Cluster | None = None

    @contextmanager
    def project_locked(self) -> Iterator[None]:
        """Somebody holds the row of the attackers' project, as a slow write on another server does."""
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE project SET revision = revision WHERE project = %s", [bombs.PROJECT])
            yield
            connection.rollback()

    @property
    def pids(self) -> list[int]:
        """The processes that work for it outside the server's own."""
        return [] if self.cluster is None else [self.cluster.pid]


def fingerprint() -> str:
    """Of what decides how a store is filled: another one needs a store of its own."""
    files = [Path(__file__), *sorted(Path(migrate.__file__).parent.glob("migrations/**/*.sql"))]
    return blake2b(b"".join(path.read_bytes() for path in files), digest_size=8).hexdigest()


class Originals:
    """The stores that are copied: each engine's is made once, when it is first asked for."""

    def __init__(self, directory: Path, rows: int, keys: int, kept: Path | None = None) -> None:
        """`rows` is the size of the attackers' project, `keys` how many attackers have one.

        In the directory `kept` they stay, and are found again by the next run.
        """
        self._directory = directory
        self._rows = rows
        self._keys = keys
        self._kept = kept and kept / f"{fingerprint()}-{rows}-{keys}"
        self._known: dict[str, _Original] = {}
        self._cluster: Cluster | None = None

    @contextmanager
    def copy(self, engine: str, statement_timeout: str = "") -> Iterator[Store]:
        """A store of its own, removed at the end; for a database also its own limit for statements."""
        with self._copy_sqlite() if engine == SQLITE else self._copy_postgres(statement_timeout) as store:
            yield store

    def close(self) -> None:
        """Remove the database server; files are the directory's."""
        if self._cluster is not None:
            self._cluster.remove()

    @contextmanager
    def _copy_sqlite(self) -> Iterator[Store]:
        path, keys = self._original(SQLITE, self._new_file)
        directory = self._directory / "case"
        directory.mkdir()
        try:
            copy = shutil.copyfile(path, directory / "plaudit.db")
            # What the copy leaves to write would be waited for by the first commits.
            os.sync()
            yield Store(f"sqlite:{copy}", keys)
        finally:
            shutil.rmtree(directory)

    @contextmanager
    def _copy_postgres(self, statement_timeout: str) -> Iterator[Store]:
        if self._cluster is None:
            # What the database does by itself would be taken for work of the attackers.
            home = self._kept and self._kept / POSTGRES
            self._cluster = Cluster(home=home, autovacuum="off", shared_buffers="256MB", max_wal_size="4GB")
        cluster = self._cluster
        name, keys = self._original(POSTGRES, lambda: self._new_database(cluster))
        copy = Database(cluster.url("postgres"), f"TEMPLATE {name}")
        try:
            if statement_timeout:
                copy.execute(f"ALTER DATABASE {copy.name} SET statement_timeout = '{statement_timeout}'")
            # As for a file: the copy goes through the log, and would be written to its place during the rounds.
            copy.execute("CHECKPOINT")
            os.sync()
            yield Store(copy.url, keys, cluster)
        finally:
            _drop(copy, cluster)

    def _original(self, engine: str, make: Callable[[], _Original]) -> _Original:
        """An engine's, made when there is none, and written down where it is kept."""
        known = self._known.get(engine)
        note = self._kept and self._kept / f"{engine}.json"
        if known is None and note is not None and note.exists():
            name, caller, *attackers = json.loads(note.read_text())
            known = _Original(name, Keys(caller, tuple(attackers)))
        if known is None:
            known = make()
            if note is not None:
                note.write_text(json.dumps([known.name, known.keys.caller, *known.keys.attackers]))
        self._known[engine] = known
        return known

    def _new_file(self) -> _Original:
        path = (self._kept or self._directory) / "original.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob("original.db*"):  # of a run that did not finish it
            left.unlink()
        return _Original(str(path), self._fill(f"sqlite:{path}"))

    def _new_database(self, cluster: Cluster) -> _Original:
        database = Database(cluster.url("postgres"))
        keys = self._fill(database.url)
        database.execute("VACUUM ANALYZE")
        return _Original(database.name, keys)

    def _fill(self, url: str) -> Keys:
        """Store the attackers' project by way of a server, so that nothing is known here of how it is stored."""
        with server_process(url) as server:
            asyncio.run(_fill(server.target, self._rows))
        if not self._keys:
            return Keys("", ())
        principals = ["caller", *(f"attacker-{number}" for number in range(self._keys))]
        projects = [neighbour.PROJECT, *[bombs.PROJECT] * self._keys]
        with ThreadPoolExecutor(_KEYS_AT_A_TIME) as pool:
            caller, *attackers = pool.map(_make_key, [url] * len(projects), principals, projects)
        return Keys(caller, tuple(attackers))


def _drop(database: Database, cluster: Cluster) -> None:
    """Drop it; where statements are left in it that cannot be interrupted, not even for this, they are killed first."""
    try:
        database.drop()
    except psycopg.errors.ObjectInUse:
        cluster.stop(signal.SIGKILL)
        cluster.start()
        database.drop()


def _make_key(url: str, principal: str, project: str) -> str:
    command = [sys.executable, "-m", "plaudit_server", "keys", "create", principal, "--store", url]
    command += ["--role", "administrator", "--project", project]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return printed.split()[-1]


async def _fill(target: str, rows: int) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        create: Any = FeedbackServiceStub(channel).BatchCreateFeedback
        firsts = iter(range(0, rows, _BATCH_ROWS))

        async def one_after_another() -> None:
            for first in firsts:
                await create(_batch(range(first, min(rows, first + _BATCH_ROWS))))

        await asyncio.gather(*(one_after_another() for _ in range(_BATCHES_AT_A_TIME)))


def _batch(numbers: range) -> BatchCreateFeedbackRequest:
    request = BatchCreateFeedbackRequest(project=bombs.PROJECT)
    for n in numbers:
        # The first page is as large as pages get.
        more = "x" * _HEAVY_BYTES if n < _HEAVY_ROWS else ""
        payload = f'{{"n":{n},"text":"{_TEXT.format(n)}","more":"{more}"}}'
        ref = f"weave:///{bombs.PROJECT}/call/{n % _REFS:08d}"
        request.feedback.add(ref=ref, feedback_type="attack", payload_json=payload)
    return request
