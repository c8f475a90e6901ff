"""plaudit beside its peers in one run: start, memory, writes, a page; each with its own client."""

from __future__ import annotations

import itertools
import json
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import rows
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, shared
from tests.bench.load import cpu_seconds
from tests.bench.memory import tree_mib
from tests.bench.peers import PAGE, Mlflow, Phoenix, PlauditServer, Server, servers
from tests.bench.places import Processes, store_directory

IN_FLIGHT = 16
_MB = 1024 * 1024 / 1e6
_SETTLE = 2.0
_NAMES = (PlauditServer.name, Mlflow.name, Phoenix.name)
_numbers = itertools.count()


def prepare(kind: type[Any], port: int) -> None:
    """Make the objects of the feedback, the page, and what is summed."""
    kind(port).prepare()


def writes(kind: type[Any], port: int, pid: int, threads: int, seconds: float) -> Sample:
    """Writes a second, and the processor time of the server's processes for each."""
    sessions = [kind(port) for _ in range(threads)]
    for session in sessions:
        session.write(next(_numbers))
    done = [0] * threads
    failures: list[BaseException] = []
    before, started = cpu_seconds(pid), time.perf_counter()

    def run(place: int) -> None:
        try:
            while time.perf_counter() - started < seconds:
                sessions[place].write(next(_numbers))
                done[place] += 1
        except Exception as error:
            failures.append(error)

    workers = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took, used = time.perf_counter() - started, cpu_seconds(pid) - before
    if failures:
        raise failures[0]
    return Sample(sum(done) / took, 1e6 * used / sum(done))


def page_ms(kind: type[Any], port: int, seconds: float) -> Sample:
    """The median time of reading a page, in milliseconds."""
    return _median_ms(kind(port).read_page, PAGE, seconds)


def mean_ms(kind: type[Any], port: int, seconds: float) -> Sample:
    """The median time of a mean that the server computes, in milliseconds."""
    scores = [json.loads(rows.feedback(number).payload_json)["score"] for number in range(PAGE)]
    return _median_ms(kind(port).mean, statistics.fmean(scores), seconds)


def _median_ms(read: Callable[[], float], expected: float, seconds: float) -> Sample:
    took: list[float] = []
    end = time.perf_counter() + seconds
    while not took or time.perf_counter() < end:
        started = time.perf_counter()
        found = read()
        took.append(time.perf_counter() - started)
        if not math.isclose(found, expected, rel_tol=1e-9):
            raise RuntimeError(f"read {found} and not {expected}")
    return Sample(1000 * statistics.median(took))


def start(server: Server, directory: Path) -> dict[str, Sample]:
    """Seconds to the first answer on a new store, and megabytes of memory of all its processes when idle."""
    place = directory / f"{server.name}-{time.monotonic_ns()}"
    place.mkdir()
    with server.run(place) as running:
        time.sleep(_SETTLE)
        megabytes = tree_mib(running.pid) * _MB
        return {f"{server.name}'s start": Sample(running.seconds), f"{server.name}'s memory": Sample(megabytes)}


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server of each kind for writing and reading; for the time of a start, others are started and ended."""
    with store_directory(settings) as directory, Processes(1) as client, ExitStack() as stack:
        found: list[Contender] = []
        for server in servers(settings.directory):
            place = directory / server.name
            place.mkdir()
            running = stack.enter_context(server.run(place))
            name, kind, port, pid, seconds = server.name, server.session, running.port, running.pid, settings.seconds
            client.call(prepare, kind, port)
            started, memory = shared("s", (f"{name}'s start", f"{name}'s memory"), partial(start, server, directory))
            found += [
                started,
                Contender(memory.name, "MB", memory.measure),
                Contender(f"{name}, alone", "writes/s", partial(client.call, writes, kind, port, pid, 1, seconds)),
                Contender(
                    f"{name}, {IN_FLIGHT} in flight",
                    "writes/s",
                    partial(client.call, writes, kind, port, pid, IN_FLIGHT, seconds),
                ),
                Contender(f"{name}'s page", "ms", partial(client.call, page_ms, kind, port, seconds)),
                Contender(f"{name}'s mean", "ms", partial(client.call, mean_ms, kind, port, seconds)),
            ]
        yield found


def _figure(key: str, title: str, form: str, *, more_is_better: bool = False) -> Figure:
    names = tuple(form.format(name) for name in _NAMES)

    def score(samples: Mapping[str, float]) -> float:
        ours, *theirs = (samples[name] for name in names)
        return ours / max(theirs) if more_is_better else ours / min(theirs)

    return Figure(key, title, names, score, None)


FAMILY = Family(
    "peers",
    (
        _figure("peers-start", "cold start to first answer, of the better peer's", "{}'s start"),
        _figure("peers-memory", "memory when idle, of the better peer's", "{}'s memory"),
        _figure("peers-write-1", "writes/s one at a time, of the better peer's", "{}, alone", more_is_better=True),
        _figure(
            "peers-write-16", "writes/s, 16 in flight, of the better peer's", "{}, 16 in flight", more_is_better=True
        ),
        _figure("peers-page", "time of a page of 1,000 of one ref, of the better peer's", "{}'s page"),
        _figure("peers-mean", "time of a mean score of 1,000 records, of the better peer's", "{}'s mean"),
    ),
    contenders,
    rounds=5,
)
