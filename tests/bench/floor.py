"""What creates come to with less and less behind them: `python -m tests.bench.floor` prints a table.

Beside plaudit and the echo stand two stores in the place of plaudit's, behind the same calls and the same group commit.
One has a group on disk by a single INSERT that commits by itself: it looks for nothing, and keeps no count of changes.
The other stores nothing, and sleeps as long as a commit takes: no processor, no interpreter lock. What they do not get
is out of reach for a store on a thread of this process.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import uvloop

from plaudit_server.app import Server
from plaudit_server.config import Config
from plaudit_server.store import sql
from plaudit_server.store.base import Command, Written
from plaudit_server.store.sqlite import SqliteStore, _insert_statement
from tests.bench import rows
from tests.bench.creates import CREATE, SHAPES, anew, plaudit_server
from tests.bench.echo import ROOT, Address, echo_server
from tests.bench.figures import Settings, rotated
from tests.bench.load import Call, throughput
from tests.bench.places import store_directory

_COMMIT_SECONDS: Final = 0.0003


class _Deciding(SqliteStore):
    """Does what a store of creates does in Python, for one project, and leaves the rest to `_have`."""

    _stands: tuple[int, int] = (0, 0)

    def _have(self, records: list[tuple[Any, ...]]) -> None:
        raise NotImplementedError

    def _write(self, group: Sequence[Command]) -> Written:
        records: list[tuple[Any, ...]] = []
        steps = sql.write_group(self._sql, group, self._clock)
        try:
            step = next(steps)
            while True:
                found: list[Any] = []
                if isinstance(step, sql.Insert):
                    records += step.rows
                elif step.sql is self._sql.lock_project:
                    found = [self._stands]
                else:
                    assert step.sql is self._sql.raise_project
                    _, *self._stands = step.params  # type: ignore[assignment]
                step = steps.send(found)
        except StopIteration as stop:
            self._have(records)
            written: Written = stop.value
            return written


class _Inserting(_Deciding):
    def _have(self, records: list[tuple[Any, ...]]) -> None:
        assert self._connection is not None
        self._connection.execute(_insert_statement("feedback", len(records)), tuple(chain.from_iterable(records)))


class _Sleeping(_Deciding):
    def _have(self, records: list[tuple[Any, ...]]) -> None:
        time.sleep(_COMMIT_SECONDS)


_STORES: Final = {"one INSERT": _Inserting, "sleeps 0.3 ms": _Sleeping}


async def _serve(kind: str, path: str) -> None:
    server = Server(Config(listen="127.0.0.1:0"), _STORES[kind](path))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print(await server.start(), flush=True)
    await stopping.wait()
    await server.stop(1.0)


@contextmanager
def _server(kind: str, path: Path) -> Iterator[Address]:
    path.unlink(missing_ok=True)  # its project has no count of changes to go on from
    command = [sys.executable, "-m", "tests.bench.floor", kind, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield Address(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()


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
    print("| behind a create | calls/s | of echo | CPU, us |\n|---|---|---|---|")
    for name, rounds in sorted(found.items(), key=lambda item: item[0].split(",")[1]):
        cells = [
            f"{statistics.median(column):.3g} ({min(column):.3g} to {max(column):.3g})"
            for column in zip(*rounds, strict=True)
        ]
        print(f"| {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    if sys.argv[1:]:
        uvloop.run(_serve(*sys.argv[1:3]))
    else:
        main(Settings(ROOT / "build" / "bench"))
