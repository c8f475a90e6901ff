"""What idle watchers cost: the server's memory for each, and the latency of creates beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import grpc

from plaudit.v1 import FeedbackServiceStub, WatchFeedbackRequest
from tests.bench import rows
from tests.bench.creates import CREATE
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, ratio, shared, value
from tests.bench.load import Call, latency
from tests.bench.memory import resident_mib
from tests.bench.places import store_directory
from tests.service.process import ServerProcess, server_process

WATCHERS = 1000
_PER_CONNECTION = 100


def watched(server: ServerProcess, seconds: float) -> dict[str, Sample]:
    """Creates beside idle watchers of other projects, and the server's memory for these, in KiB each."""
    pid = server.process.pid
    before = resident_mib(pid)
    with ExitStack() as stack:
        streams = []
        for first in range(0, WATCHERS, _PER_CONNECTION):
            arguments = [("plaudit.connection", first)]  # a connection of its own for each hundred
            watching = FeedbackServiceStub(stack.enter_context(grpc.insecure_channel(server.target, arguments)))
            for number in range(first, first + _PER_CONNECTION):
                stream = watching.WatchFeedback(WatchFeedbackRequest(project=f"bench/p{number % 50}"))
                next(stream)
                streams.append(stream)
        grown = resident_mib(pid) - before
        beside = latency(server.target, pid, Call(CREATE, rows.create_request()), seconds)
        for stream in streams:
            stream.cancel()
    return {"a watcher's memory": Sample(1024 * grown / WATCHERS), "create beside watchers": beside}


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server that is watched in turns; new in each run, because a process keeps memory that it used once."""

    def run() -> dict[str, Sample]:
        with store_directory(settings) as directory, server_process(directory / "plaudit.db") as server:
            call = Call(CREATE, rows.create_request())
            alone = latency(server.target, server.process.pid, call, settings.seconds / 2)
            return {"create alone": alone, **watched(server, settings.seconds / 2)}

    alone, beside, memory = shared("ms", ("create alone", "create beside watchers", "a watcher's memory"), run)
    yield [alone, beside, Contender(memory.name, "KiB", memory.measure)]


FAMILY = Family(
    "watchers",
    (
        Figure(
            "watchers-memory",
            "memory of each of 1,000 idle watchers, KiB",
            ("a watcher's memory",),
            value("a watcher's memory"),
            None,
        ),
        Figure(
            "watchers-create",
            "create beside 1,000 idle watchers, p50, of a create alone",
            ("create beside watchers", "create alone"),
            ratio("create beside watchers", "create alone"),
            None,
        ),
    ),
    contenders,
    rounds=3,
)
