"""How fast creates are with less and less in place of the store: `python -m tests.bench.floor` prints a table.

Plaudit and the echo are compared with two other stores, which get the same calls and the same group commit. One
stores a group by a single INSERT that commits by itself: it looks nothing up, and keeps no count of changes. The
other stores nothing, and sleeps as long as a commit takes, using no processor and no interpreter lock. What they do
not reach is out of reach for a store on a thread of this process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import apsw
import uvloop

from plaudit_server.feedback.records import FEEDBACK
from plaudit_server.store.base import Command, Insert, Written
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.engines.sqlite.reading import insert_rows
from plaudit_server.store.ledger import LedgerStatements, write_group
from tests.bench import rows
from tests.bench.creates import CREATE, SHAPES, anew
from tests.bench.echo import ROOT, Address, echo_server
from tests.bench.figures import Settings, rotated, spread
from tests.bench.load import Call, throughput
from tests.bench.places import store_directory
from tests.bench.report import shown
from tests.bench.serving import plaudit_server, serve, served

_COMMIT_SECONDS: Final = 0.0003


Have = Callable[[apsw.Connection, list[tuple[Any, ...]]], None]
"""Stores the rows of a group, or only waits as if it did."""


class _Deciding(SqliteEngine):
    """Does what a store of creates does in Python, for one project, and leaves the rest to `have`."""

    def __init__(self, path: str, have: Have) -> None:
        super().__init__(path)
        self._have = have
        self._stands = 0, 0

    def _write(self, group: Sequence[Command[Any]]) -> Written:
        records: list[tuple[Any, ...]] = []
        steps = write_group(self._sql, group, self._clock)
        try:
            step = next(steps)
            while True:
                found: list[Any] = []
                if isinstance(step, Insert):
                    records += step.rows
                elif step.sql is self._sql.of(LedgerStatements).lock:
                    found = [self._stands]
                else:
                    assert step.sql is self._sql.of(LedgerStatements).move
                    _, *self._stands = step.params  # type: ignore[assignment]
                step = steps.send(found)
        except StopIteration as stop:
            assert self._connection is not None
            self._have(self._connection, records)
            written: Written = stop.value
            return written


def _insert_rows(connection: apsw.Connection, records: list[tuple[Any, ...]]) -> None:
    insert_rows(connection.cursor(), Insert(FEEDBACK, records))


def _sleep(connection: apsw.Connection, records: list[tuple[Any, ...]]) -> None:
    time.sleep(_COMMIT_SECONDS)


_STORES: Final[dict[str, Have]] = {"one INSERT": _insert_rows, "sleeps 0.3 ms": _sleep}


@contextmanager
def _server(kind: str, path: Path) -> Iterator[Address]:
    path.unlink(missing_ok=True)  # its project has no count of changes to go on from
    with served("tests.bench.floor", kind, str(path)) as address:
        yield address


def main(settings: Settings) -> None:
    """Measure each in every round, in a new process, the order rotated."""
    create = Call(CREATE, rows.create_request())
    found: dict[str, list[list[float]]] = {}
    with store_directory(settings) as directory:
        servers: dict[str, Callable[[], AbstractContextManager[Address]]] = {
            "echo": partial(echo_server, "chain"),
            "plaudit": partial(plaudit_server, directory / "plaudit.db"),
            **{kind: partial(_server, kind, directory / f"{kind}.db") for kind in _STORES},
        }

        def measure(server: str, flying: int) -> list[float]:
            sample = anew(
                servers[server],
                create,
                settings.seconds,
                partial(throughput, calls=[create], shape=SHAPES[flying], seconds=settings.seconds),
            )
            return [sample.value, sample.cpu_us or 0.0]

        for number in range(settings.rounds):
            for flying in SHAPES:
                of_round = {server: measure(server, flying) for server in rotated(list(servers), number)}
                for server, (rate, cpu) in of_round.items():
                    found.setdefault(f"{server}, {flying} in flight", []).append(
                        [rate, rate / of_round["echo"][0], cpu]
                    )
    print("| what answers a create | calls/s | of echo | CPU, us |\n|---|---|---|---|")
    for name, rounds in sorted(found.items(), key=lambda item: item[0].split(",")[1]):
        print(f"| {name} |", " | ".join(shown(spread(column)) for column in zip(*rounds, strict=True)), "|")


if __name__ == "__main__":
    if sys.argv[1:]:
        kind, path = sys.argv[1:]
        uvloop.run(serve(_Deciding(path, _STORES[kind])))
    else:
        main(Settings(ROOT / "build" / "bench"))
