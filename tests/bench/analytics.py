"""Questions about many records beside the same SQL by hand, on both engines; refs at a glance beside a page."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
import psycopg

import plaudit
from plaudit.v1 import (
    AggregateFeedbackRequest,
    Expression,
    Grouping,
    Measure,
    MeasureFunction,
    OrderBy,
    QueryFeedbackRequest,
    SummarizeRefsRequest,
    TimeBucket,
    TimeUnit,
)
from plaudit_server.analytics.groups import Wanted
from plaudit_server.analytics.overview_rules import check_summary
from plaudit_server.analytics.reads import SelectGroups, SelectOverviews
from plaudit_server.analytics.records import Aggregate
from plaudit_server.analytics.rules import check_aggregate
from plaudit_server.feedback.reads import Select
from plaudit_server.query.indexes.declared import declare
from plaudit_server.query.parse import parse_order
from plaudit_server.store.base import Engine, Read
from plaudit_server.store.engines.sqlite import indexes as sqlite_indexes
from plaudit_server.store.url import open_store
from tests.bench import scores
from tests.bench.figures import Contender, Family, Figure, NotMeasured, Sample, Settings, Target, ratio, shared
from tests.bench.load import _TICKS, WARM_UP, Call, Shape, cpu_seconds, press
from tests.postgres.cluster import EXISTING, Cluster, binaries
from tests.service.process import server_process

PAGE: Final = 1000
REFS: Final = 500
ASKED: Final = 20
"""How often a short read is made for one measurement."""
NEWEST: Final = 100
_ZONE: Final = "Europe/Berlin"
_SUMMARIZE: Final = "/plaudit.v1.AnalyticsService/SummarizeRefs"
_QUERY: Final = "/plaudit.v1.FeedbackService/QueryFeedback"


def question(**parts: Any) -> Aggregate:
    """A question about the groups of the project."""
    out: list[Any] = []
    made = check_aggregate(AggregateFeedbackRequest(project=scores.PROJECT, **parts), out)
    assert made is not None, out
    return made


def _measure(function: int, **parts: Any) -> Measure:
    return Measure(name="m", function=function, value=Expression(field="payload.score"), **parts)  # type: ignore[arg-type]


_MEAN = _measure(MeasureFunction.MEASURE_FUNCTION_MEAN)
_PERCENTILES = _measure(MeasureFunction.MEASURE_FUNCTION_PERCENTILES, percents=[50, 95, 99])
_BY_MODEL = [Grouping(value=Expression(field="payload.model"))]
_BY_DAY = [Grouping(time=TimeBucket(unit=TimeUnit.TIME_UNIT_DAY, time_zone=_ZONE))]
_OF_TYPE = plaudit.Query(plaudit.field("feedback_type") == scores.TYPE).to_proto()

QUESTIONS: Final[Mapping[str, Aggregate]] = {
    "mean": question(measures=[_MEAN]),
    "mean by model": question(query=_OF_TYPE, group_by=_BY_MODEL, measures=[_MEAN]),
    "percentiles by model": question(query=_OF_TYPE, group_by=_BY_MODEL, measures=[_PERCENTILES]),
    "count by day": question(group_by=_BY_DAY),
}

# With the least guard that does not fail, and no more.
_LITE_TYPE = f"where project = ? and feedback_type = '{scores.TYPE}'"
_LITE_SCORE = "payload ->> '$.score'"
_LITE_MODEL = "payload ->> '$.model'"
SQLITE_BY_HAND: Final = {
    "mean": f"select avg({_LITE_SCORE}) from feedback where project = ?",
    "mean by model": f"select {_LITE_MODEL}, avg({_LITE_SCORE}) from feedback {_LITE_TYPE} group by 1",
    "percentiles by model": (
        "select m, percentile_cont(s, 0.5), percentile_cont(s, 0.95), percentile_cont(s, 0.99)"
        f" from (select {_LITE_MODEL} as m, {_LITE_SCORE} as s from feedback {_LITE_TYPE}) group by 1"
    ),
    # The engine knows no zones: two hours are right for half of the year.
    "count by day": (
        "select (created_at + 7200000000) / 86400000000, count(*) from feedback where project = ? group by 1"
    ),
}
_PG_TYPE = f"where project = %s and feedback_type = '{scores.TYPE}'"
_PG_SCORE = "case when json_typeof(payload::json -> 'score') = 'number' then (payload::json ->> 'score')::float8 end"
_PG_MODEL = "payload::json ->> 'model'"
POSTGRES_BY_HAND: Final = {
    "mean": f"select avg({_PG_SCORE}) from feedback where project = %s",
    "mean by model": f"select {_PG_MODEL}, avg({_PG_SCORE}) from feedback {_PG_TYPE} group by 1",
    "percentiles by model": (
        f"select {_PG_MODEL}, percentile_cont(array[0.5, 0.95, 0.99]) within group (order by {_PG_SCORE})"
        f" from feedback {_PG_TYPE} group by 1"
    ),
    "count by day": (
        f"select date_trunc('day', to_timestamp(created_at / 1000000), '{_ZONE}'), count(*)"
        " from feedback where project = %s group by 1"
    ),
}


class _Clock(Protocol):
    """The processor's time that has been used so far, in seconds."""

    def __call__(self) -> float: ...


class _Place:
    """A store, and a connection beside it for SQL by hand."""

    def __init__(
        self,
        store: Engine,
        runner: asyncio.Runner,
        by_hand: Callable[[str], list[Any]],
        clock: _Clock,
        sql: str,
        apart: _Clock = lambda: 0.0,
    ) -> None:
        """`apart` is the part of the time that a database has used in processes of its own."""
        self.store = store
        self.sql = sql
        self.apart = apart
        self._runner = runner
        self._by_hand = by_hand
        self._clock = clock

    def ask(self, read: Read[Any]) -> Sample:
        """Milliseconds of a short read, and its processor time: the means of many, one after the other."""

        async def run() -> Sample:
            done = self._started()
            for _ in range(ASKED):
                await self.store.read(read)
            return done(ASKED)

        # Timed inside: a runner makes text of what a coroutine returns, twice, when it puts a signal's handler back.
        return self._runner.run(run())

    def aggregate(self, asked: Aggregate) -> Sample:
        """Milliseconds of a question, the making of its groups included."""
        read = SelectGroups(asked, Wanted((), PAGE + 1))

        async def run() -> Sample:
            done = self._started()
            (await self.store.read(read)).answer()
            return done()

        return self._runner.run(run())

    def by_hand(self, sql: str) -> Sample:
        """Milliseconds of the SQL."""
        done = self._started()
        self._by_hand(sql)
        return done()

    def _started(self) -> Callable[..., Sample]:
        """Start to measure; what is returned ends that, and divides by how often something was done meanwhile."""
        used, started = self._clock(), time.perf_counter()

        def done(times: int = 1) -> Sample:
            taken = time.perf_counter() - started
            return Sample(1000 * taken / times, 1e6 * (self._clock() - used) / times)

        return done


def refs_of(count: int) -> list[str]:
    """Some refs, of which one in ten has reactions."""
    listed = list(dict.fromkeys(scores.ref_of(number, count) for number in range(4, 200 * REFS, 97)))[:REFS]
    assert len(listed) == REFS
    return listed


def overviews(count: int) -> SelectOverviews:
    """The read of refs at a glance, with their reactions."""
    made = check_summary(SummarizeRefsRequest(project=scores.PROJECT, refs=refs_of(count)), "someone", [])
    assert made is not None
    return SelectOverviews(made)


def newest_page() -> Select:
    """The read of the newest 100 records."""
    order = parse_order([OrderBy(field="created_at", descending=True)])
    return Select(scores.PROJECT, None, order, limit=NEWEST)


def with_cpu(name: str, run: Callable[[], Sample]) -> list[Contender]:
    """The time of a run, and its processor time, as contenders."""

    def both() -> Mapping[str, Sample]:
        sample = run()
        assert sample.cpu_us is not None
        return {name: sample, f"{name}, CPU": Sample(sample.cpu_us / 1000)}

    return shared("ms", (name, f"{name}, CPU"), both)


def contenders_of(place: _Place, count: int, names: Mapping[str, str]) -> list[Contender]:
    """The contenders of one engine; `names` are the SQL by hand of each question."""
    page, summary = newest_page(), overviews(count)
    return [
        *(
            contender
            for name, sql in names.items()
            for what, run in (
                (f"{name}, {place.sql}", partial(place.aggregate, QUESTIONS[name])),
                (f"{name} by hand, {place.sql}", partial(place.by_hand, sql)),
            )
            for contender in with_cpu(what, run)
        ),
        Contender(f"{REFS} refs in the store, {place.sql}", "ms", partial(place.ask, summary)),
        Contender(f"newest {NEWEST} in the store, {place.sql}", "ms", partial(place.ask, page)),
    ]


@contextmanager
def calls_of(place: _Place, store: Path | str, settings: Settings) -> Iterator[list[Contender]]:
    """The calls of a server on a store: refs at a glance, and a page."""
    refs = SummarizeRefsRequest(project=scores.PROJECT, refs=refs_of(settings.rows))
    order = [OrderBy(field="created_at", descending=True)]
    page = QueryFeedbackRequest(project=scores.PROJECT, order_by=order, page_size=NEWEST)
    with server_process(store) as server:

        def run(call: Call) -> Sample:
            used = cpu_seconds(server.process.pid) + place.apart()
            load = press(server.target, call, Shape(1, 1), settings.seconds)
            used = cpu_seconds(server.process.pid) + place.apart() - used
            # The load lasts longer than what is counted, and both calls are warmed up for as long.
            return Sample(load.p50_ms, 1e6 * used / len(load.micros) * load.seconds / (load.seconds + WARM_UP))

        yield [
            *with_cpu(f"{REFS} refs, {place.sql}", partial(run, Call(_SUMMARIZE, refs.SerializeToString()))),
            *with_cpu(f"newest {NEWEST}, {place.sql}", partial(run, Call(_QUERY, page.SerializeToString()))),
        ]


@contextmanager
def on_sqlite(settings: Settings) -> Iterator[Sequence[Contender]]:
    """The store itself, in this process, with no server around it."""
    with asyncio.Runner() as runner:
        path = runner.run(scores.filled_sqlite(settings))
        yield from _sqlite(settings, path, runner)


def _sqlite(settings: Settings, path: Path, runner: asyncio.Runner) -> Iterator[Sequence[Contender]]:
    store = open_store(f"sqlite:{path}")
    runner.run(store.open())
    hand = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def run(sql: str) -> list[Any]:
        return hand.execute(sql, (scores.PROJECT,)).fetchall()

    place = _Place(store, runner, run, _own_seconds, "SQLite")
    for _ in range(4):  # starts the processes for scans
        place.aggregate(QUESTIONS["count by day"])
    index = declare("payload.score", "aggregates")

    def with_index() -> Sample:
        sqlite_indexes.create(str(path), index)
        try:
            # A store that has just been opened reads which indexes are declared.
            fresh = open_store(f"sqlite:{path}")
            runner.run(fresh.open())
            there = _Place(fresh, runner, run, _own_seconds, "SQLite")
            for _ in range(4):  # starts the processes for scans
                there.aggregate(QUESTIONS["mean"])
            sample = there.aggregate(QUESTIONS["mean"])
            runner.run(fresh.close())
        finally:
            sqlite_indexes.drop(str(path), index)
            _forget_statistics(path)
        return sample

    with calls_of(place, path, settings) as calls:
        yield [
            *contenders_of(place, settings.rows, SQLITE_BY_HAND),
            *calls,
            Contender("mean with the index, SQLite", "ms", with_index),
        ]
    hand.close()
    runner.run(store.close())


def _forget_statistics(path: Path) -> None:
    """Leave the store as it is without a declared index: statistics, which making one gathers, change other plans."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    for (name,) in connection.execute("select name from sqlite_schema where name glob 'sqlite_stat[14]'").fetchall():
        connection.execute(f"drop table {name}")
    connection.close()


@contextmanager
def on_postgres(settings: Settings) -> Iterator[Sequence[Contender]]:
    """The server that PLAUDIT_TEST_POSTGRES names, where the rows are kept, or a temporary one.

    Parallel workers are off, so that the processor's time is that of one process.
    """
    if not EXISTING and binaries() is None:
        raise NotMeasured("PostgreSQL is not installed")
    with ExitStack() as stack:
        server = EXISTING
        if not server:
            cluster = Cluster(shared_buffers="512MB", max_wal_size="4GB")
            stack.callback(cluster.remove)
            server = cluster.url("postgres")
        runner = stack.enter_context(asyncio.Runner())
        yield from _postgres(settings, server, runner)


def _postgres(settings: Settings, server: str, runner: asyncio.Runner) -> Iterator[Sequence[Contender]]:
    url, is_new = _database(server, f"plaudit_bench_{settings.rows}_{scores.recipe()}")
    times = scores.ticking()
    store = open_store(url)
    store._clock = lambda: next(times)  # type: ignore[attr-defined]
    runner.run(store.open())
    if is_new:
        runner.run(scores.fill(store, settings.rows))
    with psycopg.connect(url, autocommit=True) as hand:
        if is_new:
            hand.execute("vacuum analyze feedback")

        def run(sql: str) -> list[Any]:
            return hand.execute(sql.encode(), (scores.PROJECT,)).fetchall()

        def backends() -> float:
            found = hand.execute("select pid from pg_stat_activity where datname = current_database()").fetchall()
            return sum(_seconds(pid) for (pid,) in found)

        place = _Place(store, runner, run, lambda: time.process_time() + backends(), "PostgreSQL", backends)
        with calls_of(place, url, settings) as calls:
            yield [*contenders_of(place, settings.rows, POSTGRES_BY_HAND), *calls]
    runner.run(store.close())


def _database(server: str, name: str) -> tuple[str, bool]:
    """The URL of a database, and whether it was not there."""
    with psycopg.connect(server, autocommit=True) as connection:
        is_new = not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchall()
        if is_new:
            connection.execute(f"create database {name}".encode())
        connection.execute(f"alter database {name} set max_parallel_workers_per_gather = 0".encode())
    return re.sub(r"(//[^/?]*)(/[^?]*)?", rf"\1/{name}", server, count=1), is_new


def _own_seconds() -> float:
    """The processor's time of this process, and of those in which its store reads."""
    tasks = Path("/proc/self/task").iterdir()
    children = {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
    return time.process_time() + sum(map(_seconds, children))


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


_LIMITS: Final = {"mean": 1.7, "mean by model": 1.3, "percentiles by model": 1.3, "count by day": 1.2}


def _figures(prefix: str, engine: str) -> Iterator[Figure]:
    for name, limit in _LIMITS.items():
        subject, control = f"{name}, {engine}", f"{name} by hand, {engine}"
        key = f"{prefix}-{name.replace(' ', '-')}"
        target = Target(limit, "of the SQL by hand")
        yield from _both(key, f"exact {name} on {engine}", subject, control, target)
    refs, page = f"{REFS} refs, {engine}", f"newest {NEWEST}, {engine}"
    title, target = f"{REFS} refs at a glance on {engine}", Target(15, f"of a page of {NEWEST}")
    yield from _both(f"{prefix}-refs", title, refs, page, target)
    refs, page = f"{REFS} refs in the store, {engine}", f"newest {NEWEST} in the store, {engine}"
    # For comparison: most of a page's time is spent outside of the store, where each record becomes a message.
    yield Figure(f"{prefix}-refs-store", "the same, without a server around", (refs, page), ratio(refs, page), None)


def _both(key: str, title: str, subject: str, control: str, target: Target) -> Iterator[Figure]:
    """The ratio in time, and in processor time, which neighbours on the machine change less."""
    yield Figure(key, title, (subject, control), ratio(subject, control), target)
    cpu = (f"{subject}, CPU", f"{control}, CPU")
    yield Figure(f"{key}-cpu", "the same, processor time", cpu, ratio(*cpu), target)


_INDEXED = Figure(
    "aggregate-indexed",
    "exact mean with an index for aggregates, SQLite",
    ("mean, SQLite", "mean with the index, SQLite"),
    ratio("mean, SQLite", "mean with the index, SQLite"),
    Target(5, "times as fast as without", at_least=True),
)

SQLITE: Final = Family("aggregates", (*_figures("aggregate", "SQLite"), _INDEXED), on_sqlite, rounds=3)
POSTGRES: Final = Family("aggregates-pg", tuple(_figures("aggregate-pg", "PostgreSQL")), on_postgres, rounds=3)
FAMILIES: Final = (SQLITE, POSTGRES)
