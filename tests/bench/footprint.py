"""What plaudit uses before it does anything: the time to its first answer, memory, and the time of its import."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from plaudit.v1 import FeedbackServiceStub, GetServerInfoRequest
from tests.bench.echo import METHOD, ROOT, echo_server
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, shared, value
from tests.bench.memory import resident_mib
from tests.bench.places import store_directory
from tests.service.process import server_process

_SETTLE = 0.5
_MIB = 1024 * 1024 / 1e6
# Every public name is resolved, because the package loads a name only when it is used.
_PLAUDIT = "import plaudit; [getattr(plaudit, name) for name in plaudit.__all__]"
_TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def start_server(directory: Path) -> dict[str, Sample]:
    """Seconds from the command to the first answer on a new store, and megabytes of memory when idle after it."""
    path = directory / f"cold-{time.monotonic_ns()}.db"
    started = time.perf_counter()
    with server_process(path) as server, grpc.insecure_channel(server.target) as channel:
        FeedbackServiceStub(channel).GetServerInfo(GetServerInfoRequest())
        took = time.perf_counter() - started
        time.sleep(_SETTLE)
        return {"start": Sample(took), "memory": Sample(resident_mib(server.process.pid) * _MIB)}


def start_echo() -> dict[str, Sample]:
    """The same for the bare echo."""
    started = time.perf_counter()
    with echo_server("bare") as (target, pid), grpc.insecure_channel(target) as channel:
        call: Any = channel.unary_unary(METHOD)
        call(b"")
        took = time.perf_counter() - started
        time.sleep(_SETTLE)
        return {"bare echo's start": Sample(took), "bare echo's memory": Sample(resident_mib(pid) * _MIB)}


def import_seconds(statement: str) -> Sample:
    """The time of an import in a new interpreter, in seconds: the median of three."""
    command = [sys.executable, "-c", _TIMED.format(statement)]
    took = [
        float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout) for _ in range(3)
    ]
    return Sample(statistics.median(took))


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """Each starts what it measures; once before, so that what is compiled and cached is so for all."""
    with store_directory(settings) as directory:
        start_server(directory)
        start_echo()
        start = shared("s", ("start", "memory"), partial(start_server, directory))
        echo = shared("s", ("bare echo's start", "bare echo's memory"), start_echo)
        megabytes = [Contender(one.name, "MB", one.measure) for one in (start[1], echo[1])]
        yield [
            start[0],
            echo[0],
            *megabytes,
            Contender("import plaudit", "s", partial(import_seconds, _PLAUDIT)),
            Contender("import grpc", "s", partial(import_seconds, "import grpc")),
        ]


FAMILY = Family(
    "footprint",
    (
        Figure(
            "cold-start", "cold start to first answer", ("start", "bare echo's start"), value("start"), Target(1.5, "s")
        ),
        Figure(
            "idle-memory",
            "memory of an idle server",
            ("memory", "bare echo's memory"),
            value("memory"),
            Target(80, "MB"),
        ),
        Figure(
            "import",
            "import plaudit, every name",
            ("import plaudit", "import grpc"),
            value("import plaudit"),
            Target(0.3, "s"),
        ),
    ),
    contenders,
)
