"""The memory of `plaudit export` and `plaudit import` at its highest, in each form and from each system."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import foreign, rows
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, value
from tests.bench.memory import peak_mib, resident_mib
from tests.bench.stores import filled_store
from tests.service.process import server_process

_FORMS: Final = ("jsonl", "csv", "parquet")
_LIMIT: Final = Target(100, "MiB")


def memory(target: str, project: str, *arguments: str) -> Sample:
    """The largest memory of a command, in MiB, with that of its children at the time; and of what takes its place."""
    env = {**os.environ, "PLAUDIT_TARGET": target, "PLAUDIT_PROJECT": project}
    with subprocess.Popen([sys.executable, "-m", "plaudit", *arguments], env=env, stderr=subprocess.DEVNULL) as process:
        peak = 0.0
        while process.poll() is None:
            with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
                peak = max(peak, peak_mib(process.pid), _with_children(process.pid))
            time.sleep(0.01)
    if process.returncode:
        raise RuntimeError(f"plaudit {arguments[0]} ended with {process.returncode}")
    return Sample(peak)


def _with_children(pid: int) -> float:
    """The resident memory of a process and of its children, in MiB; what they share is counted for each."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return resident_mib(pid) + sum(map(_with_children, map(int, children)))


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server on the large store to read from, and one on a new store to write to."""
    large = filled_store(settings, settings.rows)
    with (
        tempfile.TemporaryDirectory(dir=settings.directory) as name,
        server_process(large) as source,
        server_process(Path(name, "moved.db")) as sink,
    ):
        folder = Path(name)

        def import_of(system: str, *more: str, times: int = 1) -> Sample:
            arguments = foreign.written(system, folder, settings.few_rows)
            peaks = [memory(sink.target, foreign.PROJECT, "import", *arguments, *more) for _ in range(times)]
            return peaks[-1]

        exports = [
            (_export(form), partial(memory, source.target, rows.PROJECT, "export", "--to", str(folder / f"all.{form}")))
            for form in _FORMS
        ]
        imports = [(_import(system), partial(import_of, system)) for system in foreign.SYSTEMS]
        yield [
            Contender(title, "MiB", measure)
            for title, measure in [
                *exports,
                *imports,
                (_import("plaudit, again"), partial(import_of, "plaudit", times=2)),
                (_import("phoenix, with --mirror"), partial(import_of, "phoenix", "--mirror", 'ref ^= "phoenix://"')),
            ]
        ]


def _export(form: str) -> str:
    return f"plaudit export to {form}"


def _import(what: str) -> str:
    return f"plaudit import of {what}"


def _figure(key: str, title: str) -> Figure:
    return Figure(key, f"memory of {title}", (title,), value(title), _LIMIT)


FAMILY = Family(
    "moving-memory",
    (
        *(_figure(f"export-memory-{form}", _export(form)) for form in _FORMS),
        _figure("import-memory-again", _import("plaudit, again")),
        *(_figure(f"import-memory-{system}", _import(system)) for system in foreign.SYSTEMS),
        _figure("import-memory-mirror", _import("phoenix, with --mirror")),
    ),
    contenders,
    rounds=1,
)
