"""Records in batches, by BatchCreate and on an Ingest stream, beside SQLite by itself in transactions of that size."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import BatchCreateFeedbackRequest, Feedback, IngestFeedbackRequest, IngestFeedbackResponse
from tests.bench import raw, rows
from tests.bench.creates import count
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, ratio
from tests.bench.load import cpu_seconds
from tests.bench.places import Processes, store_directory
from tests.service.process import server_process

BATCH_CREATE = "/plaudit.v1.FeedbackService/BatchCreateFeedback"
INGEST = "/plaudit.v1.FeedbackService/IngestFeedback"
IN_FLIGHT = 4
_ROWS_PER_SECOND = 20_000  # of a window, so that every contender writes as many, and all files grow alike
_SPARE_ANSWER_BYTES = 64 * 1024 * 1024


def new_records(size: int) -> list[Feedback]:
    """Records with ids of their own, as clients make them."""
    return [rows.feedback(number, id=uuid7()) for number in range(size)]


def batch_create(target: str, pid: int, size: int, batches: int) -> Sample:
    """Rows a second in BatchCreate calls of `size` records, four of them in flight; the client encodes beforehand."""
    requests = deque(
        BatchCreateFeedbackRequest(project=rows.PROJECT, feedback=new_records(size)).SerializeToString()
        for _ in range(batches)
    )
    with grpc.insecure_channel(target, [("grpc.max_receive_message_length", _SPARE_ANSWER_BYTES)]) as channel:
        create: Any = channel.unary_unary(BATCH_CREATE)
        create(BatchCreateFeedbackRequest(project="bench/other", feedback=[rows.feedback(1)]).SerializeToString())
        before, started = cpu_seconds(pid), time.perf_counter()
        flying = deque(create.future(requests.popleft()) for _ in range(min(IN_FLIGHT, batches)))
        while flying:
            flying.popleft().result()
            if requests:
                flying.append(create.future(requests.popleft()))
        took, used = time.perf_counter() - started, cpu_seconds(pid) - before
    return Sample(size * batches / took, 1e6 * used / (size * batches))


def ingest(target: str, pid: int, size: int, batches: int) -> Sample:
    """Rows a second on one Ingest stream of requests of `size` records; the client encodes beforehand."""
    requests = [
        IngestFeedbackRequest(project=rows.PROJECT, sequence=number, feedback=new_records(size)).SerializeToString()
        for number in range(batches)
    ]
    with grpc.insecure_channel(target) as channel:
        stream: Any = channel.stream_stream(INGEST)
        grpc.channel_ready_future(channel).result(10)
        before, started = cpu_seconds(pid), time.perf_counter()
        answers = list(stream(iter(requests)))
        took, used = time.perf_counter() - started, cpu_seconds(pid) - before
    stored = sum(IngestFeedbackResponse.FromString(answer).stored_count for answer in answers)
    if stored != size * batches:
        raise RuntimeError(f"{stored} records of {size * batches} were stored")
    return Sample(size * batches / took, 1e6 * used / (size * batches))


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server and a client, and a control with a file of its own for each size."""
    with (
        store_directory(settings) as directory,
        server_process(directory / "plaudit.db") as server,
        Processes(1) as process,
    ):
        written = max(1000, round(_ROWS_PER_SECOND * settings.seconds) // 1000 * 1000)
        target, pid = server.target, server.process.pid

        def created(size: int) -> Sample:
            before = count(target)
            sample = process.call(batch_create, target, pid, size, written // size)
            if count(target) - before != written:
                raise RuntimeError("batches were answered that are not stored")
            return sample

        for size in (100, 1000):
            raw.make(directory / f"raw-{size}.db")
        created(100)
        yield [
            Contender("BatchCreate of 1,000", "rows/s", partial(created, 1000)),
            Contender("BatchCreate of 100", "rows/s", partial(created, 100)),
            Contender("Ingest of 100", "rows/s", partial(process.call, ingest, target, pid, 100, written // 100)),
            *(
                Contender(
                    f"SQLite, {size:,} a transaction",
                    "rows/s",
                    partial(process.call, raw.rows_per_second, directory / f"raw-{size}.db", size, written // size),
                )
                for size in (1000, 100)
            ),
        ]


def _figure(key: str, title: str, subject: str, size: int, limit: float) -> Figure:
    control = f"SQLite, {size:,} a transaction"
    target = Target(limit, f"of SQLite in transactions of {size:,}", at_least=True)
    return Figure(key, title, (subject, control), ratio(subject, control), target)


FAMILY = Family(
    "batches",
    (
        _figure("batch-1000", "BatchCreate of 1,000, rows/s", "BatchCreate of 1,000", 1000, 0.3),
        _figure("batch-100", "BatchCreate of 100, rows/s", "BatchCreate of 100", 100, 0.4),
        _figure("ingest", "Ingest in requests of 100, rows/s", "Ingest of 100", 100, 0.4),
    ),
    contenders,
)
