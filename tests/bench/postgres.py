"""PostgreSQL: creates into many projects, watches of many, batches beside COPY by hand, and a project that is held."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, Final

import grpc
import psycopg
import uvloop

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, FeedbackServiceStub, WatchFeedbackRequest
from plaudit_server.feedback.records import FEEDBACK
from tests.bench import rows
from tests.bench.batches import batch_create
from tests.bench.creates import CREATE
from tests.bench.echo import Address
from tests.bench.figures import Contender, Family, Figure, NotMeasured, Sample, Settings, Target, ratio, shared, value
from tests.bench.load import cpu_seconds
from tests.bench.places import Processes
from tests.bench.serving import plaudit_server
from tests.postgres.cluster import Cluster, Database, binaries

_FLYING: Final = 64
_HELD_FLYING: Final = 4  # calls of the project that is held, beside those of the others
_MANY: Final = 1_000
_OTHERS: Final = 10
_WARM_SECONDS: Final = 0.5
_BATCHES: Final = 20  # of 1,000 rows each
_HELD: Final = "bench/held"
_PER_CONNECTION: Final = 100


def creates(target: str, projects: int, held: int, seconds: float) -> float:
    """Creates a second with 64 in flight, into projects in turn; those of the one that may be held are not counted."""
    return uvloop.run(_creates(target, projects, held, seconds))


async def _creates(target: str, projects: int, held: int, seconds: float) -> float:
    async with grpc.aio.insecure_channel(target) as channel:
        create: Any = channel.unary_unary(CREATE)
        numbers = itertools.count()
        begins = time.monotonic() + _WARM_SECONDS
        ends = begins + seconds
        done = 0

        async def others() -> None:
            nonlocal done
            while (now := time.monotonic()) < ends:
                project = f"bench/p{next(numbers) % projects}"
                feedback = rows.feedback(1, id=uuid7())
                await create(CreateFeedbackRequest(project=project, feedback=feedback).SerializeToString())
                done += now >= begins and time.monotonic() <= ends

        async def of_held() -> None:
            while time.monotonic() < ends:
                request = CreateFeedbackRequest(project=_HELD, feedback=rows.feedback(1, id=uuid7()))
                try:
                    await create(request.SerializeToString(), timeout=max(ends - time.monotonic(), 0.1))
                except grpc.aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                        raise

        await asyncio.gather(*(others() for _ in range(_FLYING)), *(of_held() for _ in range(held)))
        return done / seconds


def copy_by_hand(url: str, batches: int) -> Sample:
    """Rows a second that psycopg copies into the store's table, in transactions of 1,000, on one connection."""
    types = [FEEDBACK.types.get(column, "text") for column in FEEDBACK.columns]
    statement = f"COPY feedback ({', '.join(FEEDBACK.columns)}) FROM STDIN (FORMAT BINARY)"
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT coalesce(max(revision), 0) FROM feedback").fetchone()
        assert found is not None
        new = [list(rows.stored_rows(1_000, found[0] + 1 + 1_000 * number)) for number in range(batches)]
        connection.commit()
        started, began = time.perf_counter(), time.process_time()
        for batch in new:
            with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                copy.set_types(types)
                for row in batch:
                    copy.write_row(row)
            connection.commit()
        took, used = time.perf_counter() - started, time.process_time() - began
    return Sample(1_000 * batches / took, 1e6 * used / (1_000 * batches))


def watched(server: Address, database: int, seconds: float) -> dict[str, Sample]:
    """By how many more cores a server and its database use with 1,000 watched projects than without watches."""

    def cores() -> tuple[float, float]:
        before, started = (cpu_seconds(server.pid), cpu_seconds(database)), time.perf_counter()
        time.sleep(seconds)
        took = time.perf_counter() - started
        return (cpu_seconds(server.pid) - before[0]) / took, (cpu_seconds(database) - before[1]) / took

    idle = cores()
    with ExitStack() as stack:
        streams = []
        for first in range(0, _MANY, _PER_CONNECTION):
            arguments = [("plaudit.connection", first)]
            stub = FeedbackServiceStub(stack.enter_context(grpc.insecure_channel(server.target, arguments)))
            for number in range(first, first + _PER_CONNECTION):
                stream: Any = stub.WatchFeedback(WatchFeedbackRequest(project=f"bench/p{number}"))
                next(stream)
                streams.append(stream)
        time.sleep(_WARM_SECONDS)
        busy = cores()
        for stream in streams:
            stream.cancel()
    return {"watching 1,000 projects": Sample(busy[0] - idle[0]), "its database": Sample(busy[1] - idle[1])}


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A temporary PostgreSQL server; a database and a server of plaudit for each measurement, which fills as fast."""
    if binaries() is None:
        raise NotMeasured("no PostgreSQL is installed to be measured")
    with ExitStack() as stack:
        cluster = Cluster(autovacuum="off", shared_buffers="256MB", max_wal_size="4GB")
        stack.callback(cluster.remove)
        control = stack.enter_context(Processes(1))

        @contextmanager
        def served() -> Iterator[tuple[Database, Address]]:
            database = Database(cluster.url("postgres"))
            try:
                with plaudit_server(database.url) as server:
                    yield database, server
            finally:
                database.drop()

        def creating(projects: int, held: int = 0, holding: Callable[[str], Any] = nullcontext) -> Sample:
            with served() as (database, server):
                # The rows of the projects are there.
                control.call(creates, server.target, projects, held, _WARM_SECONDS)
                with holding(database.url):
                    before = cpu_seconds(server.pid)
                    rate = control.call(creates, server.target, projects, held, settings.seconds)
                    used = cpu_seconds(server.pid) - before
            return Sample(rate, 1e6 * used / (rate * (settings.seconds + _WARM_SECONDS)))

        def batches() -> Sample:
            with served() as (_, server):
                control.call(batch_create, server.target, server.pid, 1_000, 4)
                return control.call(batch_create, server.target, server.pid, 1_000, _BATCHES)

        def by_hand() -> Sample:
            with served() as (database, _):
                control.call(copy_by_hand, database.url, 4)
                return control.call(copy_by_hand, database.url, _BATCHES)

        def watching() -> dict[str, Sample]:
            with served() as (_, server):
                return watched(server, cluster.pid, max(3.0, settings.seconds))

        yield [
            Contender("creates, one project", "calls/s", partial(creating, 1)),
            Contender("creates, 1,000 projects", "calls/s", partial(creating, _MANY)),
            *shared("cores", ("watching 1,000 projects", "its database"), watching),
            Contender("BatchCreate of 1,000", "rows/s", batches),
            Contender("COPY of 1,000 by hand", "rows/s", by_hand),
            Contender("others, none held", "calls/s", partial(creating, _OTHERS, _HELD_FLYING)),
            Contender("others, one held", "calls/s", partial(creating, _OTHERS, _HELD_FLYING, _held)),
        ]


@contextmanager
def _held(url: str) -> Iterator[None]:
    """Lock the row of a project, as a transaction that has stopped does."""
    with psycopg.connect(url) as locker:
        locker.execute("SELECT FROM project WHERE project = %s FOR UPDATE", (_HELD,))
        yield


FAMILY = Family(
    "postgres",
    (
        Figure(
            "postgres-projects",
            "creates/s on PostgreSQL into 1,000 projects in turn, 64 in flight",
            ("creates, 1,000 projects", "creates, one project"),
            ratio("creates, 1,000 projects", "creates, one project"),
            Target(0.8, "of those into one", at_least=True),
        ),
        Figure(
            "postgres-watched",
            "cores of a server on PostgreSQL for 1,000 watched projects that nobody writes to",
            ("watching 1,000 projects", "its database"),
            value("watching 1,000 projects"),
            Target(0.05, "cores"),
        ),
        Figure(
            "postgres-batch",
            "BatchCreate of 1,000 on PostgreSQL, rows/s",
            ("BatchCreate of 1,000", "COPY of 1,000 by hand"),
            ratio("BatchCreate of 1,000", "COPY of 1,000 by hand"),
            Target(0.4, "of psycopg's COPY in transactions of 1,000", at_least=True),
        ),
        Figure(
            "postgres-held",
            "creates/s on PostgreSQL into ten projects while the row of another is locked and written to",
            ("others, one held", "others, none held"),
            ratio("others, one held", "others, none held"),
            Target(0.8, "of those while it is not", at_least=True),
        ),
    ),
    contenders,
    rounds=5,
)
