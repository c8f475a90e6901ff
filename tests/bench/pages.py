"""Reading, compared with Python's own sqlite3 on the same file: pages by ref in a client, and the stream of all."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import plaudit
from plaudit._contract import jsontext
from plaudit_server.store.engines.sqlite.engine import _READER_CACHE_KIB
from tests.bench import rows
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, ratio
from tests.bench.load import cpu_seconds
from tests.bench.places import Processes
from tests.bench.stores import PAGE, filled_store, page_refs
from tests.service.process import server_process

EIGHT = 8
# The columns of a Feedback object.
COLUMNS = (
    "id, project, ref, feedback_type, payload, creator, user_id, created_at, updated_at, version, revision,"
    " annotation_ref, runnable_ref, call_ref, trigger_ref, queue_id, scorer_tags, scorer_tag_reasons,"
    " scorer_tag_confidences, scorer_ratings, scorer_rating_reasons, scorer_rating_confidences, span_agent_name,"
    " span_agent_version, span_status_code, span_conversation_id, span_trace_id, scorer_trace_id"
)
_PAYLOAD = 4
_BY_REF = f"SELECT {COLUMNS} FROM feedback WHERE project = ? AND ref = ? ORDER BY created_at, id LIMIT {PAGE}"

Read = Callable[[str], int]


@cache
def _client(target: str) -> plaudit.Client:
    return plaudit.Client(rows.PROJECT, target=target)


def connect(path: Path) -> sqlite3.Connection:
    """A connection such as a user makes, with as large a cache as the server's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    return connection


def server_reader(target: str, *, payloads: bool) -> Read:
    """Reads a page by ref from the server; how many rows it had."""
    client = _client(target)
    entity, project = rows.PROJECT.split("/")

    def read(ref: str) -> int:
        query = plaudit.field("ref") == ref
        page = plaudit.FeedbackQuery(entity, project, query, limit=PAGE, client=client).execute()
        return len([feedback.payload for feedback in page]) if payloads else len(page)

    return read


def sqlite_reader(path: Path, *, payloads: bool) -> Read:
    """Reads a page by ref from the file; how many rows it had."""
    connection = connect(path)

    def read(ref: str) -> int:
        page = connection.execute(_BY_REF, (rows.PROJECT, ref)).fetchall()
        return len([jsontext.decode(row[_PAYLOAD]) for row in page]) if payloads else len(page)

    return read


def read_pages(
    make: Callable[..., Read], source: Any, refs: Sequence[str], payloads: bool, begin: float, seconds: float
) -> tuple[int, float, float]:
    """Read page after page from `begin` (of the wall clock) on: rows, processor time and seconds taken."""
    read = make(source, payloads=payloads)
    read(refs[0])
    time.sleep(max(0.0, begin - time.time()))
    began, started = time.process_time(), time.perf_counter()
    found = number = 0
    while not number or time.perf_counter() - started < seconds:
        found += read(refs[number % len(refs)])
        number += 1
    took = time.perf_counter() - started
    if found != number * PAGE:
        raise RuntimeError(f"{number} pages had {found} rows")
    return found, time.process_time() - began, took


def ready() -> None:
    """Do nothing: a process that has run it has started, and imported this module."""


def read_in_threads(
    count: int,
    make: Callable[..., Read],
    source: Any,
    refs: Sequence[str],
    payloads: bool,
    begin: float,
    seconds: float,
) -> tuple[int, float, float]:
    """The same from several threads of one process, each with a connection of its own to the file."""
    found: list[tuple[int, float, float]] = []

    def run() -> None:
        found.append(read_pages(make, source, refs, payloads, begin, seconds))

    began = time.process_time()
    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) != count:
        raise RuntimeError("a reader failed")
    return sum(one[0] for one in found), time.process_time() - began, max(one[2] for one in found)


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server on the large store, and as many client processes as the busiest figure needs."""
    path = filled_store(settings, settings.rows)
    refs = page_refs(settings.rows)
    with server_process(path) as server, Processes(EIGHT) as processes:
        target, pid = server.target, server.process.pid
        wait = 0.3  # for the slowest client to begin

        def run(count: int, ours: bool, *, payloads: bool = False, threads: bool = False) -> Sample:
            make, source = (server_reader, target) if ours else (sqlite_reader, path)
            if count > 1 and not threads:
                processes.call_all(ready)
            before = cpu_seconds(pid)
            begin = time.time() + (wait if count > 1 else 0)
            work: Any = partial(read_pages, make, source, refs, payloads, begin, settings.seconds)
            if threads:
                done = [processes.call(read_in_threads, count, make, source, refs, payloads, begin, settings.seconds)]
            else:
                done = [processes.call(work)] if count == 1 else processes.call_all(work)
            found = sum(one[0] for one in done)
            used = sum(one[1] for one in done) + cpu_seconds(pid) - before
            # Each client's own time: one that began late has read for less of it.
            rate = sum(one[0] / one[2] for one in done)
            return Sample(rate, 1e6 * used / found)

        def pair(name: str, count: int, **more: bool) -> list[Contender]:
            return [
                Contender(f"plaudit, {name}", "rows/s", partial(run, count, True, **more)),
                Contender(f"sqlite3, {name}", "rows/s", partial(run, count, False, **more)),
            ]

        yield [
            *pair("one client", 1),
            *pair("eight processes", EIGHT),
            *pair("eight threads", EIGHT, threads=True),
            *pair("payloads", 1, payloads=True),
        ]


def _figure(key: str, title: str, name: str, limit: float, of: str) -> Figure:
    subject, control = f"plaudit, {name}", f"sqlite3, {name}"
    return Figure(key, title, (subject, control), ratio(subject, control), Target(limit, of, at_least=True))


FAMILY = Family(
    "pages",
    (
        _figure("page-1", "page of 1,000 by ref, one client", "one client", 0.5, "of sqlite3"),
        _figure("page-8", "page of 1,000 by ref, eight client processes", "eight processes", 0.7, "of sqlite3"),
        _figure(
            "page-8-threads", "page of 1,000 by ref, eight threads of one client", "eight threads", 0.7, "of sqlite3"
        ),
        _figure(
            "page-payloads", "page of 1,000 by ref, each payload read", "payloads", 0.6, "of sqlite3 and its decoding"
        ),
    ),
    contenders,
)
