"""Load that is not the bottleneck: one prepared call, repeated by h2load, or by a Python client without h2load."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import grpc
import uvloop

from tests.bench.figures import Sample

WARM_UP = 0.2
_PATIENCE = 120.0
_WINDOWS = 3  # in one of which a call is answered: a machine may stand still for one, as while it writes back a file
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may be repeated as it is: the method's path, and the encoded request."""

    path: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Shape:
    """How many connections, and how many calls in flight on each."""

    connections: int
    streams: int


@dataclass(frozen=True, slots=True)
class Load:
    """The results of the load: calls that were answered within `seconds`, and each one's time in microseconds."""

    seconds: float
    micros: list[int]

    @property
    def rate(self) -> float:
        return len(self.micros) / self.seconds

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.micros) / 1000


def generator() -> str:
    """The program that makes the load on this machine."""
    program = shutil.which("h2load")
    if program is None:
        return "grpc.aio"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def press(target: str, call: Call, shape: Shape, seconds: float) -> Load:
    """Repeat a call for the given time, after a short warm-up."""
    if shutil.which("h2load") is None:
        return _client().submit(press_in_python, target, call, shape, seconds).result()
    with tempfile.TemporaryDirectory(prefix="plaudit-load-") as directory:
        body, log = Path(directory) / "body", Path(directory) / "log"
        body.write_bytes(b"\0" + struct.pack(">I", len(call.request)) + call.request)
        flags = [f"-c{shape.connections}", f"-m{shape.streams}", "-t1", f"--log-file={log}", f"-d{body}"]
        flags += [f"-D{round(seconds * 1000)}ms", f"--warm-up-time={round(WARM_UP * 1000)}ms"]
        headers = ["-Hcontent-type: application/grpc", "-Hte: trailers"]
        command = ["h2load", *flags, *headers, f"http://{target}{call.path}"]
        lines: list[list[str]] = []
        for _ in range(_WINDOWS):
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE + seconds)
            lines = [line.split("\t") for line in log.read_text().splitlines()]
            if lines:
                break
    if not lines or any(status != "200" for _, status, _ in lines):
        found = dict(Counter(status for _, status, _ in lines))
        raise RuntimeError(f"{call.path} was not answered: statuses {found}; {done.stdout}")
    return Load(seconds, [int(micros) for _, _, micros in lines])


@cache
def _client() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def press_in_python(target: str, call: Call, shape: Shape, seconds: float) -> Load:
    return uvloop.run(repeat(target, call, shape, seconds))


async def repeat(target: str, call: Call, shape: Shape, seconds: float) -> Load:
    channels = [
        grpc.aio.insecure_channel(target, [("plaudit.connection", number)]) for number in range(shape.connections)
    ]
    micros: list[int] = []
    begin = time.perf_counter() + WARM_UP
    end = begin + seconds

    async def one_stream(channel: grpc.aio.Channel) -> None:
        method: Any = channel.unary_unary(call.path)
        while (started := time.perf_counter()) < end:
            await method(call.request)
            ended = time.perf_counter()
            if started >= begin and ended <= end:
                micros.append(round((ended - started) * 1e6))

    await asyncio.gather(*(one_stream(channel) for channel in channels for _ in range(shape.streams)))
    for channel in channels:
        await channel.close()
    return Load(seconds, micros)


def cpu_seconds(pid: int) -> float:
    """The processor time that a process and its children have used, ended children not counted."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    total = (int(stat[11]) + int(stat[12])) / _TICKS
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
            total += cpu_seconds(int(child))
    return total


def thread_seconds(pid: int) -> float:
    """The processor time of a process in all its threads that still run; finer than `cpu_seconds`: in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def throughput(target: str, pid: int, calls: Sequence[Call], shape: Shape, seconds: float) -> Sample:
    """Calls a second, each of them repeated in the same shape at the same time; the server's processor time for one."""
    before = cpu_seconds(pid)
    with ThreadPoolExecutor(len(calls)) as threads:
        loads = threads.map(lambda call: press(target, call, shape, seconds), calls)
        rate = sum(load.rate for load in loads)
    used = cpu_seconds(pid) - before
    # The warm-up's calls used some of it.
    return Sample(rate, 1e6 * used / (rate * (seconds + WARM_UP)))


def latency(target: str, pid: int, call: Call, seconds: float) -> Sample:
    """The median time of calls one after the other, in milliseconds."""
    before = cpu_seconds(pid)
    load = press(target, call, Shape(1, 1), seconds)
    used = cpu_seconds(pid) - before
    return Sample(load.p50_ms, 1e6 * used / (load.rate * (seconds + WARM_UP)))
