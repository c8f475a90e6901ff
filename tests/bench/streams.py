"""The stream of a whole project compared with Python's sqlite3, and how much of the server's memory it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from plaudit.v1 import FeedbackServiceStub, QueryFeedbackRequest, StreamFeedbackRequest
from tests.bench import rows
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, ratio, value
from tests.bench.load import cpu_seconds
from tests.bench.memory import peak_mib, reset_peak, resident_mib
from tests.bench.pages import COLUMNS, connect
from tests.bench.places import Processes
from tests.bench.stores import PAGE, filled_store
from tests.service.process import server_process

STREAM = "/plaudit.v1.FeedbackService/StreamFeedback"
_OPTIONS = [("grpc.max_receive_message_length", -1)]
_ALL = f"SELECT {COLUMNS} FROM feedback WHERE project = ? ORDER BY created_at, id"


def stream(target: str, pid: int, expected: int) -> Sample:
    """Rows a second of the whole project, as messages."""
    with grpc.insecure_channel(target, _OPTIONS) as channel:
        stub = FeedbackServiceStub(channel)
        grpc.channel_ready_future(channel).result(10)
        before, began, started = cpu_seconds(pid), time.process_time(), time.perf_counter()
        found = 0
        for answer in stub.StreamFeedback(StreamFeedbackRequest(project=rows.PROJECT)):
            for _ in answer.feedback:
                found += 1
        took = time.perf_counter() - started
        used = time.process_time() - began + cpu_seconds(pid) - before
    if found != expected:
        raise RuntimeError(f"{found} rows of {expected} were streamed")
    return Sample(found / took, 1e6 * used / found)


def fetch(path: Path, expected: int) -> Sample:
    """Rows a second of the whole project, as tuples."""
    connection = connect(path)
    began, started = time.process_time(), time.perf_counter()
    found = 0
    cursor = connection.execute(_ALL, (rows.PROJECT,))
    while some := cursor.fetchmany(PAGE):
        for _ in some:
            found += 1
    took, used = time.perf_counter() - started, time.process_time() - began
    connection.close()
    if found != expected:
        raise RuntimeError(f"{found} rows of {expected} were fetched")
    return Sample(found / took, 1e6 * used / found)


def growth(path: Path) -> Sample:
    """By how much a server's memory grows at most while it streams the whole project, in MiB; a new server each time.

    Before, it has answered one page, as any server that has begun to work.
    """
    with server_process(path) as server, grpc.insecure_channel(server.target, _OPTIONS) as channel:
        FeedbackServiceStub(channel).QueryFeedback(QueryFeedbackRequest(project=rows.PROJECT))
        pid = server.process.pid
        before = resident_mib(pid)
        reset_peak(pid)
        reading: Any = channel.unary_stream(STREAM)
        for _ in reading(StreamFeedbackRequest(project=rows.PROJECT).SerializeToString()):
            pass
        return Sample(peak_mib(pid) - before)


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server on the large store."""
    path, expected = filled_store(settings, settings.rows), settings.rows
    with server_process(path) as server, Processes(1) as client:
        pid = server.process.pid
        yield [
            Contender("StreamFeedback", "rows/s", partial(client.call, stream, server.target, pid, expected)),
            Contender("sqlite3, all rows", "rows/s", partial(client.call, fetch, path, expected)),
            Contender("server's growth", "MiB", partial(client.call, growth, path)),
        ]


FAMILY = Family(
    "streams",
    (
        Figure(
            "stream",
            "StreamFeedback of 1,000,000 rows, rows/s",
            ("StreamFeedback", "sqlite3, all rows"),
            ratio("StreamFeedback", "sqlite3, all rows"),
            Target(0.6, "of sqlite3", at_least=True),
        ),
        Figure(
            "stream-memory",
            "server's memory while it streams 1,000,000 rows",
            ("server's growth",),
            value("server's growth"),
            Target(32, "MiB of growth"),
        ),
    ),
    contenders,
)
