"""Where measurements run: stores on a real disk, and processes of their own for clients and controls."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from tests.bench.figures import NotMeasured, Settings

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE = 300.0  # seconds after which a measurement has failed


@contextmanager
def store_directory(settings: Settings) -> Iterator[Path]:
    """A new directory for stores, removed at the end. Raises NotMeasured where it would be in memory."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    if file_system(settings.directory) in ("tmpfs", "ramfs"):
        raise NotMeasured(f"{settings.directory} is in memory: name a directory of a disk with --directory")
    with tempfile.TemporaryDirectory(prefix="run-", dir=settings.directory) as directory:
        yield Path(directory)


def file_system(path: Path) -> str:
    """The type of the file system that holds a path."""
    path = path.absolute()
    best, found = Path(), ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, kind, *_ = line.split()
        place = Path(mounted.replace("\\040", " "))
        if path.is_relative_to(place) and len(place.parts) >= len(best.parts):
            best, found = place, kind
    return found


def measure_on(processor: int, pid: int, measure: Callable[[], T]) -> T:
    """Measure a process while all its threads have that processor alone.

    Where one core is slower than another (by a sixth, at times, in the machine of docs/performance.md), long work of a
    single thread would otherwise show where the scheduler had put it.
    """
    allowed = os.sched_getaffinity(pid)
    place(pid, {processor})
    try:
        return measure()
    finally:
        place(pid, allowed)


def place(pid: int, processors: Collection[int]) -> None:
    """Give all threads of a process these processors and no others."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), processors)


class Processes:
    """Processes for clients or controls, kept from round to round; what is called must be importable."""

    def __init__(self, count: int) -> None:
        # Spawned, not forked: a fork is not safe after grpc has started.
        self._pools = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(count)]

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in the first process."""
        return self._pools[0].submit(function, *args, **kwargs).result(_PATIENCE)

    def call_all(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """Call in every process at the same time."""
        waiting = [pool.submit(function, *args, **kwargs) for pool in self._pools]
        return [future.result(_PATIENCE) for future in waiting]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pool in self._pools:
            pool.shutdown()
