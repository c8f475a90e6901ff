"""What must not grow with the store: the newest records, a distant page, counters; and counts beside their SQL."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import grpc

import plaudit
from plaudit import v1
from plaudit.v1 import (
    CountFeedbackRequest,
    FeedbackServiceStub,
    GetFeedbackRequest,
    OrderBy,
    QueryFeedbackRequest,
)
from plaudit_server.store.engines.sqlite.engine import _READER_CACHE_KIB
from tests.bench import rows
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, ratio, shared
from tests.bench.load import Call, latency
from tests.bench.places import Processes, measure_on
from tests.bench.stores import LARGE_REF, LARGE_TYPE, PAGE, filled_store, page_refs
from tests.service.process import server_process

GET = "/plaudit.v1.FeedbackService/GetFeedback"
QUERY = "/plaudit.v1.FeedbackService/QueryFeedback"
COUNT = "/plaudit.v1.FeedbackService/CountFeedback"
NEWEST = 100
_DEEP = 0.9


class _Kind(NamedTuple):
    """A choice of records, by a query and by SQL."""

    query: v1.Query | None
    condition: str
    values: tuple[str, ...]


def _kind(column: str, value: str) -> _Kind:
    query = plaudit.Query(plaudit.field(column) == value).to_proto()
    return _Kind(query, f"project = ? AND {column} = ?", (rows.PROJECT, value))


_PROJECT = _Kind(None, "project = ?", (rows.PROJECT,))
_TYPE = _kind("feedback_type", LARGE_TYPE)
NEWEST_OF: Mapping[str, _Kind] = {"project": _PROJECT, "ref": _kind("ref", page_refs(1)[0]), "type": _TYPE}
COUNTED: Mapping[str, _Kind] = {"ref": _kind("ref", LARGE_REF)}
# What counters say. The records of the stores are a second apart: a day has 86,400.
_FIRST_DAY: Final = datetime(2023, 11, 15, tzinfo=UTC)
_OF_A_DAY: Final = (plaudit.field("created_at") >= _FIRST_DAY) & (
    plaudit.field("created_at") < _FIRST_DAY + timedelta(days=1)
)
TALLIED: Mapping[str, v1.Query | None] = {
    "project": None,
    "type": _TYPE.query,
    "day": plaudit.Query(_OF_A_DAY).to_proto(),
}


def newest(kind: _Kind) -> Call:
    order = [OrderBy(field="created_at", descending=True)]
    request = QueryFeedbackRequest(project=rows.PROJECT, query=kind.query, order_by=order, page_size=NEWEST)
    return Call(QUERY, request.SerializeToString())


def tallied(query: v1.Query | None) -> Call:
    """A count that the counters answer."""
    return Call(COUNT, CountFeedbackRequest(project=rows.PROJECT, query=query).SerializeToString())


def point_read(target: str) -> Call:
    """A record by its id."""
    with grpc.insecure_channel(target) as channel:
        request = QueryFeedbackRequest(project=rows.PROJECT, page_size=1)
        [found] = FeedbackServiceStub(channel).QueryFeedback(request).feedback
    return Call(GET, GetFeedbackRequest(project=rows.PROJECT, id=found.id).SerializeToString())


def page_below(target: str, offset: int) -> Call:
    """The page after the given number of rows, by its token; without a token for 0."""
    request = QueryFeedbackRequest(project=rows.PROJECT, page_size=PAGE)
    if offset:
        # The token of the page that ends there: found once in the slow way, then used in the fast one.
        request.offset = offset - PAGE
        with grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)]) as channel:
            request.page_token = FeedbackServiceStub(channel).QueryFeedback(request).next_page_token
        if not request.page_token:
            raise RuntimeError(f"there is no page below row {offset}")
    return Call(QUERY, request.SerializeToString())


def counts(path: Path, kind: _Kind, names: tuple[str, str], seconds: float) -> dict[str, Sample]:
    """The median times of CountFeedback and of its SQL by hand, on the same SQLite, in milliseconds.

    Both are in processes just started: where its memory happens to lie makes a process a tenth slower or faster at a
    count, for as long as it lives. And both are measured on one processor and then on the other, close to each other.
    """
    request = CountFeedbackRequest(project=rows.PROJECT, query=kind.query)
    call = Call(COUNT, request.SerializeToString())
    path = _twin(path)
    with server_process(path) as server, Processes(1) as control:
        target, pid, control_pid = server.target, server.process.pid, control.call(os.getpid)
        with grpc.insecure_channel(target) as channel:
            answer = FeedbackServiceStub(channel).CountFeedback(request).count
        there, _ = control.call(count_by_hand, path, kind, 0.0)
        if answer != there:
            raise RuntimeError(f"the server counts {answer}, there are {there}")
        pairs = [
            (
                measure_on(processor, pid, partial(latency, target, pid, call, seconds)),
                measure_on(processor, control_pid, partial(control.call, count_by_hand, path, kind, seconds))[1],
            )
            for processor in sorted(os.sched_getaffinity(0))
        ]
    return {name: _mean(samples) for name, samples in zip(names, zip(*pairs, strict=True), strict=True)}


def _twin(path: Path) -> Path:
    """The same store for a server of its own: a SQLite file has one at a time."""
    twin = path.with_suffix(".counted")
    if not twin.exists():
        shutil.copy(path, twin)
    return twin


def count_by_hand(path: Path, kind: _Kind, seconds: float) -> tuple[int, Sample]:
    """The count, and the median time that it takes."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    took: list[float] = []
    found: list[Any] = []
    end, began = time.perf_counter() + seconds, time.process_time()
    while (started := time.perf_counter()) < end or not took:
        found = connection.execute(f"SELECT count(*) FROM feedback WHERE {kind.condition}", kind.values).fetchall()
        took.append(time.perf_counter() - started)
    used = time.process_time() - began
    connection.close()
    return found[0][0], Sample(1000 * statistics.median(took), 1e6 * used / len(took))


def _mean(samples: Sequence[Sample]) -> Sample:
    cpu = [sample.cpu_us for sample in samples if sample.cpu_us is not None]
    return Sample(statistics.fmean(sample.value for sample in samples), statistics.fmean(cpu))


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server on each of the two stores."""
    many, few = filled_store(settings, settings.rows), filled_store(settings, settings.few_rows)
    seconds = settings.seconds / 3
    with server_process(many) as large, server_process(few) as small:
        big, little = ((server.target, server.process.pid) for server in (large, small))
        below = round(settings.rows * _DEEP) // PAGE * PAGE
        found = []
        for name, kind in NEWEST_OF.items():
            found += [
                Contender(f"newest of a {name}, many rows", "ms", partial(latency, *big, newest(kind), seconds)),
                Contender(f"newest of a {name}, few rows", "ms", partial(latency, *little, newest(kind), seconds)),
            ]
        for name, kind in COUNTED.items():
            names = f"count of a {name}", f"its SQL ({name})"
            found += shared("ms", names, partial(counts, many, kind, names, seconds))
        for name, query in TALLIED.items():
            found.append(Contender(f"count of a {name}", "ms", partial(latency, *big, tallied(query), seconds)))
        yield [
            *found,
            Contender("a point read", "ms", partial(latency, *big, point_read(large.target), seconds)),
            Contender("page far down", "ms", partial(latency, *big, page_below(large.target, below), seconds)),
            Contender("first page", "ms", partial(latency, *big, page_below(large.target, 0), seconds)),
        ]


def _figure(key: str, title: str, subject: str, control: str, limit: float, of: str) -> Figure:
    return Figure(key, title, (subject, control), ratio(subject, control), Target(limit, of))


FAMILY = Family(
    "shapes",
    (
        *(
            _figure(
                f"newest-{name}",
                f"newest 100 of a {name} of 1,000,000 rows, p50",
                f"newest of a {name}, many rows",
                f"newest of a {name}, few rows",
                1.2,
                "times that of 10,000 rows",
            )
            for name in NEWEST_OF
        ),
        _figure("depth", "page of 1,000 at depth 900,000, p50", "page far down", "first page", 1.2, "times the first"),
        *(
            _figure(
                f"count-{name}",
                f"CountFeedback of a {name} at 1,000,000 rows, p50",
                f"count of a {name}",
                f"its SQL ({name})",
                1.1,
                "times its SQL",
            )
            for name in COUNTED
        ),
        *(
            _figure(
                f"count-{name}",
                f"CountFeedback of a {name} at 1,000,000 rows, p50",
                f"count of a {name}",
                "a point read",
                2,
                "times a point read",
            )
            for name in TALLIED
        ),
    ),
    contenders,
)
