"""What was decided by measurement: `python -m tests.bench.decisions NAME`, each a table; `--help` has the names.

The records of these decisions are in docs/adr. Each variant is measured in turns, the order rotated, and shown as the
median of its rounds with the lowest and the highest.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import grpc
import uvloop

from plaudit import Query, field, v1
from plaudit._contract import jsontext, limits
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    CountFeedbackRequest,
    FeedbackServiceStub,
    IngestFeedbackRequest,
    QueryFeedbackRequest,
    StreamFeedbackRequest,
)
from plaudit_server.feedback import servicer as service
from plaudit_server.store import writer
from plaudit_server.store.base import Command, Written
from plaudit_server.store.engines.sqlite import readers
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.bench import percentile, rows, serving
from tests.bench.creates import CREATE
from tests.bench.echo import ROOT, Address, echo_server
from tests.bench.figures import Settings, spread
from tests.bench.load import WARM_UP, Call, Shape, cpu_seconds, press, throughput
from tests.bench.memory import peak_mib, resident_mib
from tests.bench.pages import read_pages, ready, server_reader
from tests.bench.places import Processes, store_directory
from tests.bench.report import shown
from tests.bench.serving import plaudit_server, served
from tests.bench.stores import LARGE_REF, filled_store, page_refs
from tests.postgres.cluster import Cluster, Database

QUICK_BUDGETS = (10_000, 25_000, 50_000, 100_000)
PAGE_MIB = (0.25, 1.0, 2.0, 3.5)
DECODERS = ("json.loads", "raw_decode", "orjson.loads", "msgspec.json.decode")
GATHER = ((0.0, 0.0, 0.0), (0.7, 0.001, 0.001), (0.7, 0.0005, 0.01), (0.8, 0.0005, 0.01), (0.9, 0.0005, 0.01))
UVLOOP, ASYNCIO, WRITING = LOOPS = ("uvloop", "asyncio's", "uvloop that writes")
IN_FLIGHT = (64, 256, 512)
_LARGE_ROWS = 8_000
_CHANNEL = [("grpc.max_receive_message_length", 2 * limits.RESPONSE_BYTES)]


class _Numbers(NamedTuple):
    """Numbers of a server that a measurement changes."""

    quick_budget: int = readers._BUDGET.instructions
    """How many instructions of SQLite's machine a query has in the quick lane."""
    page_bytes: int = service._STREAM_BYTES
    gather: tuple[float, float, float] = (writer._GATHER_SHARE, writer._GATHER_SECONDS, writer._GATHER_LONGEST)
    """The part of its callers for which a group waits, how many seconds for each, and in all."""
    loop: str = UVLOOP


async def _write_on_loop(store: SqliteEngine, group: Sequence[Command[Any]]) -> Written:
    return store._write(group)


async def _serve(path: str, numbers: _Numbers) -> None:
    """Run a server with these numbers; its address is its first line of output."""
    # Finals of the product.
    service._STREAM_BYTES = numbers.page_bytes  # type: ignore[misc]
    writer._GATHER_SHARE, writer._GATHER_SECONDS, writer._GATHER_LONGEST = numbers.gather  # type: ignore[misc]
    readers._BUDGET = readers._BUDGET._replace(instructions=numbers.quick_budget)  # type: ignore[misc]
    if numbers.loop == WRITING:
        SqliteEngine.write = _write_on_loop  # type: ignore[assignment, method-assign]
    await serving.serve(SqliteEngine(path))


def _served(path: Path, numbers: _Numbers = _Numbers()) -> AbstractContextManager[Address]:  # noqa: B008  # immutable
    return served("tests.bench.decisions", "serve", str(path), json.dumps(numbers))


Figures = dict[str, float]


def _rotated(variants: Sequence[Any], rounds: int, measure: Callable[[Any], Figures]) -> None:
    """Measure every variant in every round, and print the medians."""
    found: dict[Any, list[Figures]] = {variant: [] for variant in variants}
    for number in range(rounds):
        first = number % len(variants)
        for variant in (*variants[first:], *variants[:first]):
            found[variant].append(measure(variant))
    names = list(found[variants[0]][0])
    print("|  |", " | ".join(names), "|")
    print("|---|" + "---|" * len(names))
    for variant, figures in found.items():
        cells = (shown(spread([figure[name] for figure in figures])) for name in names)
        print(f"| {variant} |", " | ".join(cells), "|")


def _threads(target: str, pid: int, shape: Shape) -> Figures:
    """Processor time of a create in microseconds, by thread."""
    call = Call(CREATE, rows.create_request())
    before = _nanoseconds(pid)
    load = press(target, call, shape, _SETTINGS.seconds)
    used = {thread: now - before.get(thread, 0) for thread, now in _nanoseconds(pid).items()}
    calls = load.rate * (load.seconds + WARM_UP)
    loop = used.pop((pid, "python"), 0)
    # Beside the loop only SQLite's writer has much to do; the others wait, for calls or for lines to log.
    writer = max((spent for (_, name), spent in used.items() if name == "python"), default=0)
    return {
        "calls/s": load.rate,
        "event loop": loop / 1000 / calls,
        "SQLite's writer": writer / 1000 / calls,
        "all others, grpc's": (sum(used.values()) - writer) / 1000 / calls,
    }


def _nanoseconds(pid: int) -> dict[tuple[int, str], int]:
    """The processor time of each thread, by its id and name."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        found[int(task.name), "python" if name.startswith("python") else name] = int(
            (task / "schedstat").read_text().split()[0]
        )
    return found


def _gather(directory: Path, processes: Processes, gather: tuple[float, float, float]) -> Figures:
    """Creates of callers who wait for their answers, and of callers who come at random times."""
    call = Call(CREATE, rows.create_request())
    found: Figures = {}
    with _served(directory / f"{uuid7()}.db", _Numbers(gather=gather)) as (target, pid):
        press(target, call, Shape(4, 4), 0.5)
        for flying in (4, 16, 64):
            sample = throughput(target, pid, [call], Shape(4, flying // 4), _SETTINGS.seconds)
            found |= {f"{flying} in flight, calls/s": sample.value, f"{flying}, us": sample.cpu_us or 0.0}
        for rate in (300, 1_200):
            took = processes.call(write_at_random, target, rate, _SETTINGS.seconds)
            found[f"{rate}/s at random, p50 ms"] = percentile(took, 0.5)
            found[f"{rate}/s, p99 ms"] = percentile(took, 0.99)
    return found


def _loop(settings: Settings, directory: Path, processes: Processes, loop: str) -> Figures:
    """Creates, and reads, of a server on this event loop."""
    refs = page_refs(settings.rows)
    call = Call(CREATE, rows.create_request())
    found: Figures = {}
    with _served(directory / f"{uuid7()}.db", _Numbers(loop=loop)) as (target, pid):
        press(target, call, Shape(4, 4), 0.5)
        for flying in (16, 64):
            sample = throughput(target, pid, [call], Shape(4, flying // 4), settings.seconds)
            found |= {f"creates/s, {flying} in flight": sample.value, f"CPU, us ({flying})": sample.cpu_us or 0.0}
    with _served(filled_store(settings, settings.rows), _Numbers(loop=loop)) as (target, _):
        processes.call_all(ready)
        work = partial(read_pages, server_reader, target, refs, False, time.time() + 0.3, settings.seconds)
        found["rows/s, eight clients"] = sum(read / took for read, _, took in processes.call_all(work))
        times = uvloop.run(_small_pages(target, refs[0], settings.seconds, counting=False))
        found["10 rows alone, p50 ms"] = percentile(times, 0.5)
    return found


def _workers(database: int, servers: Mapping[int, Address], variant: tuple[int, int]) -> Figures:
    """Creates in one project on PostgreSQL: who has the processors, in microseconds for each create."""
    flying, count = variant
    target, pid = servers[count]
    call = Call(CREATE, rows.create_request())
    before, idle, started = cpu_seconds(database), _idle_seconds(), time.perf_counter()
    sample = throughput(target, pid, [call], Shape(flying // 16, 16), _SETTINGS.seconds)
    took = time.perf_counter() - started
    return {
        "creates/s": sample.value,
        "servers": sample.cpu_us or 0.0,
        "PostgreSQL": 1e6 * (cpu_seconds(database) - before) / (sample.value * (_SETTINGS.seconds + WARM_UP)),
        "processors idle, %": 100 * (_idle_seconds() - idle) / (os.cpu_count() or 1) / took,
    }


def _idle_seconds() -> float:
    """How long all processors together were idle."""
    _, _, _, _, idle, *_ = Path("/proc/stat").read_text().split()
    return int(idle) / os.sysconf("SC_CLK_TCK")


def write_at_random(target: str, rate: float, seconds: float) -> list[float]:
    """Creates that come one by one, none waiting for another: how long each took, in seconds."""
    return uvloop.run(_write_at_random(target, rate, seconds))


async def _write_at_random(target: str, rate: float, seconds: float) -> list[float]:
    took: list[float] = []
    chance = random.Random(rate)
    async with grpc.aio.insecure_channel(target) as channel:
        create: Any = channel.unary_unary(CREATE)
        request = rows.create_request()

        async def one() -> None:
            started = time.perf_counter()
            await create(request)
            took.append(time.perf_counter() - started)

        await channel.channel_ready()
        due = time.perf_counter()
        end = due + seconds
        async with asyncio.TaskGroup() as tasks:
            while (due := due + chance.expovariate(rate)) < end:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(one())
    return took


def _lanes(settings: Settings, processes: Processes, quick_budget: int) -> Figures:
    """Pages of eight clients, and how long a small page takes beside a client that counts 400,000 rows in a loop."""
    refs = page_refs(settings.rows)
    with _served(filled_store(settings, settings.rows), _Numbers(quick_budget)) as (target, pid):
        processes.call_all(ready)
        used = cpu_seconds(pid)
        work = partial(read_pages, server_reader, target, refs, False, time.time() + 0.3, settings.seconds)
        done = processes.call_all(work)
        pages = sum(found / took for found, _, took in done)
        used = cpu_seconds(pid) - used
        beside = uvloop.run(_small_pages(target, refs[0], settings.seconds, counting=True))
        alone = uvloop.run(_small_pages(target, refs[0], settings.seconds, counting=False))
    return {
        "rows/s, eight clients": pages,
        "server's CPU, us a row": 1e6 * used / sum(found for found, _, _ in done),
        "10 rows alone, p50 ms": percentile(alone, 0.5),
        "10 rows beside counts, p50 ms": percentile(beside, 0.5),
        "p99 ms": percentile(beside, 0.99),
    }


async def _small_pages(target: str, ref: str, seconds: float, *, counting: bool) -> list[float]:
    """Times in seconds of pages of ten rows, one after the other."""
    async with grpc.aio.insecure_channel(target) as channel, grpc.aio.insecure_channel(target, [("n", 1)]) as other:
        stub: Any = FeedbackServiceStub(channel)
        count: Any = FeedbackServiceStub(other).CountFeedback
        end = time.perf_counter() + seconds

        async def keep_counting() -> None:
            while time.perf_counter() < end:
                await count(CountFeedbackRequest(project=rows.PROJECT, query=_by_ref(LARGE_REF)))

        counter = asyncio.create_task(keep_counting()) if counting else None
        took = []
        while (started := time.perf_counter()) < end:
            await stub.QueryFeedback(QueryFeedbackRequest(project=rows.PROJECT, query=_by_ref(ref), page_size=10))
            took.append(time.perf_counter() - started)
        if counter is not None:
            await counter
    return took


def _by_ref(ref: str) -> v1.Query:
    return Query(field("ref") == ref).to_proto()


def _page_bytes(path: Path, mib: float) -> Figures:
    """A stream of large rows, alone and eight at a time."""
    with _served(path, _Numbers(page_bytes=round(mib * limits.MIB))) as (target, pid):
        idle = resident_mib(pid)
        started, used = time.perf_counter(), cpu_seconds(pid)
        size, first = uvloop.run(_streams(target, 1))
        took, used = time.perf_counter() - started, cpu_seconds(pid) - used
        uvloop.run(_streams(target, 8))
        return {
            "MiB/s": size / limits.MIB / took,
            "server's CPU, ms a MiB": 1000 * used / (size / limits.MIB),
            "first rows after, ms": 1000 * first,
            "server grew with eight, MiB": peak_mib(pid) - idle,
        }


async def _streams(target: str, count: int) -> tuple[int, float]:
    """Read everything on the given number of connections: bytes, and seconds until the first message."""

    async def one(number: int) -> tuple[int, float]:
        async with grpc.aio.insecure_channel(target, [*_CHANNEL, ("n", number)]) as channel:
            size, first, started = 0, 0.0, time.perf_counter()
            method: Any = channel.unary_stream("/plaudit.v1.FeedbackService/StreamFeedback")
            async for raw in method(StreamFeedbackRequest(project=rows.PROJECT).SerializeToString()):
                first = first or time.perf_counter() - started
                size += len(raw)
            return size, first

    return (await asyncio.gather(*map(one, range(count))))[0]


async def _fill_large(path: Path) -> None:
    """Rows of about 8 KiB."""
    with _served(path) as (target, _):
        async with grpc.aio.insecure_channel(target) as channel:
            ingest: Any = FeedbackServiceStub(channel).IngestFeedback

            async def requests() -> Any:
                for first in range(0, _LARGE_ROWS, 100):
                    batch = [rows.feedback(number, id=uuid7()) for number in range(first, first + 100)]
                    for item in batch:
                        item.payload_json = json.dumps({"text": json.loads(item.payload_json)["reason"] * 80})
                    yield IngestFeedbackRequest(project=rows.PROJECT, feedback=batch)

            async for _ in ingest(requests()):
                pass


def _decoders(texts: Sequence[str], encoded: Sequence[bytes], name: str) -> Figures:
    module, _, function = name.rpartition(".")
    decode: Callable[[Any], Any]
    if name == "raw_decode":
        decode = json.JSONDecoder().raw_decode
    else:
        decode = getattr(importlib.import_module(module), function)
    started = time.process_time()
    for text in texts:
        decode(text)
    took = time.process_time() - started
    started = time.process_time()
    for text in texts:
        jsontext.decode(text)
    return {"us a payload": 1e6 * took / len(texts), "of plaudit's": took / (time.process_time() - started)}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure what was decided."""


@main.command(hidden=True)
@click.argument("path")
@click.argument("numbers", type=json.loads)
def serve(path: str, numbers: list[Any]) -> None:
    """A server for the others."""
    served = _Numbers(*numbers)
    (asyncio.run if served.loop == ASYNCIO else uvloop.run)(_serve(path, served))


_SETTINGS = Settings(ROOT / "build" / "bench", 7, 1.0, 1_000_000, 10_000)


@main.command()
def threads() -> None:
    """What each thread of a server has to do for a create."""
    with (
        store_directory(_SETTINGS) as directory,
        plaudit_server(directory / "plaudit.db") as plaudit,
        echo_server("chain") as chain,
    ):
        servers = {"plaudit": plaudit, "echo": chain}
        shapes = {flying: Shape(4, flying // 4) for flying in (16, 64)}
        variants = [f"{name}, {flying} in flight" for flying in shapes for name in servers]

        def measure(variant: str) -> Figures:
            name, flying, *_ = variant.replace(",", "").split()
            return _threads(servers[name].target, servers[name].pid, shapes[int(flying)])

        _rotated(variants, 7, measure)


@main.command()
def gather() -> None:
    """For which part of its callers a group waits, and how many seconds for each and in all."""
    with store_directory(_SETTINGS) as directory, Processes(1) as processes:
        _rotated(GATHER, 5, partial(_gather, directory, processes))


@main.command()
def loop() -> None:
    """Which event loop the server runs on, and whether it writes to SQLite itself."""
    with store_directory(_SETTINGS) as directory, Processes(8) as processes:
        _rotated(LOOPS, 5, partial(_loop, _SETTINGS, directory, processes))


@main.command()
def workers() -> None:
    """What a second worker process gains on PostgreSQL, by how many calls are in flight."""
    with ExitStack() as stack:
        cluster = Cluster()
        stack.callback(cluster.remove)
        servers = {}
        for count in (1, 2):
            database = Database(cluster.url("postgres"))
            stack.callback(database.drop)
            servers[count] = stack.enter_context(plaudit_server(database.url, "--workers", str(count)))
        _rotated(
            [(flying, count) for flying in IN_FLIGHT for count in servers], 7, partial(_workers, cluster.pid, servers)
        )


@main.command()
def lanes() -> None:
    """How much a query may use of SQLite's quick lane before it is read among the scans."""
    with Processes(8) as processes:
        _rotated(QUICK_BUDGETS, 5, partial(_lanes, _SETTINGS, processes))


@main.command("page-bytes")
def page_bytes() -> None:
    """After how many bytes a message of a stream of large rows ends."""
    with store_directory(_SETTINGS) as directory:
        path = directory / "large.db"
        asyncio.run(_fill_large(path))
        _rotated(PAGE_MIB, 5, partial(_page_bytes, path))


@main.command()
def decoders() -> None:
    """How the client decodes payloads; orjson and msgspec must be installed for it."""
    texts = [rows.feedback(number).payload_json for number in range(20_000)]
    _rotated(DECODERS, 9, partial(_decoders, texts, [text.encode() for text in texts]))


if __name__ == "__main__":
    main()
