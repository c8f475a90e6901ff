"""How long after its commit a change reaches a watcher, while others write."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, FeedbackServiceStub, WatchFeedbackRequest
from tests.bench import percentile, rows
from tests.bench.creates import CREATE, sync_ms
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, shared, value
from tests.bench.places import Processes, store_directory
from tests.service.process import server_process

RATE = 500
_LATE = 10.0  # seconds within which the last event must arrive


def write(target: str, seconds: float) -> dict[str, float]:
    """Create at the rate, whether or not answers have come. Returns the wall-clock time of each answer by id."""
    return asyncio.run(_write(target, seconds))


async def _write(target: str, seconds: float) -> dict[str, float]:
    answered: dict[str, float] = {}
    async with grpc.aio.insecure_channel(target) as channel:
        create: Any = channel.unary_unary(CREATE)

        async def one(number: int) -> None:
            id = uuid7()
            request = CreateFeedbackRequest(project=rows.PROJECT, feedback=rows.feedback(number, id=id))
            while id not in answered:
                try:
                    await create(request.SerializeToString())
                    answered[id] = time.time()
                except grpc.aio.AioRpcError as error:
                    # More calls accumulate while the machine stands still than one connection may have.
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(0.01)

        await channel.channel_ready()
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(RATE * seconds)):
                await asyncio.sleep(max(0.0, started + number / RATE - time.perf_counter()))
                tasks.create_task(one(number))
    return answered


def watch_and_write(target: str, writer: Processes, seconds: float) -> dict[str, Sample]:
    """Percentiles in milliseconds, over all events of one load.

    A record's `created_at` is given just before its transaction is written, so that the time from there to the event
    includes the commit itself; the time from the create's answer to the event leaves out the answer's own way.
    """
    count = round(RATE * seconds)
    arrived: dict[str, tuple[float, float]] = {}
    with grpc.insecure_channel(target) as channel:
        stream: Any = FeedbackServiceStub(channel).WatchFeedback(WatchFeedbackRequest(project=rows.PROJECT))
        next(stream)  # the first answer says that the watch has begun

        def read() -> None:
            try:
                for answer in stream:
                    now = time.time()
                    for change in answer.changes:
                        record = change.feedback
                        arrived[record.id] = (record.created_at.seconds + record.created_at.nanos / 1e9, now)
                    if len(arrived) >= count:
                        return
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.CANCELLED:
                    raise

        reader = threading.Thread(target=read)
        reader.start()
        answered = writer.call(write, target, seconds)
        reader.join(_LATE)
        stream.cancel()
        reader.join()
    if arrived.keys() != answered.keys():
        raise RuntimeError(f"{len(arrived)} events for {len(answered)} creates")
    from_stamp = [at - stamp for stamp, at in arrived.values()]
    from_answer = [at - answered[id] for id, (_, at) in arrived.items()]
    return {
        "commit to event, p99": Sample(percentile(from_stamp, 0.99)),
        "p50": Sample(1000 * statistics.median(from_stamp)),
        "answer to event, p99": Sample(percentile(from_answer, 0.99)),
    }


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server, a writer in a process of its own, and a watcher in this one."""
    with (
        store_directory(settings) as directory,
        server_process(directory / "plaudit.db") as server,
        Processes(2) as processes,
    ):
        watch_and_write(server.target, processes, min(0.5, settings.seconds))
        run = partial(watch_and_write, server.target, processes, 2 * settings.seconds)
        yield [
            *shared("ms", ("commit to event, p99", "p50", "answer to event, p99"), run),
            Contender("fdatasync", "ms", partial(processes.call, sync_ms, directory, settings.seconds / 2)),
        ]


FAMILY = Family(
    "watching",
    (
        Figure(
            "watch",
            f"commit to Watch event at {RATE} writes/s, p99",
            ("commit to event, p99", "p50", "answer to event, p99", "fdatasync"),
            value("commit to event, p99"),
            Target(10, "ms"),
        ),
    ),
    contenders,
)
