"""Exports beside the stream that they read, and imports beside ingest."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import plaudit
from plaudit.importers import Given, Record, open_source
from tests.bench import rows
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, ratio
from tests.bench.places import Processes
from tests.bench.stores import filled_store
from tests.bench.streams import stream
from tests.service.process import server_process

_FORMS: Final = ("jsonl", "csv", "parquet")
_projects = itertools.count()


def export(target: str, path: Path, expected: int) -> Sample:
    """Rows a second of an export of the whole project, from its first call to its manifest."""
    with plaudit.Client(rows.PROJECT, target=target) as client:
        began, started = time.process_time(), time.perf_counter()
        done = client.get_feedback().export(path)
        took, used = time.perf_counter() - started, time.process_time() - began
    if done.rows != expected:
        raise RuntimeError(f"{done.rows} rows of {expected} were exported")
    return Sample(done.rows / took, 1e6 * used / done.rows)


def ingest(target: str, count: int) -> Sample:
    """Rows a second of an ingest of records that are in memory, into a project of their own."""
    given = [rows.feedback(number) for number in range(count)]
    records: list[dict[str, Any]] = [plaudit.Feedback(message).to_dict() for message in given]
    for record in records:
        del record["id"]
    with plaudit.Client(f"bench/ingest-{os.getpid()}-{next(_projects)}", target=target) as client:
        began, started = time.process_time(), time.perf_counter()
        stored = client.ingest(records).stored
        took, used = time.perf_counter() - started, time.process_time() - began
    if stored != count:
        raise RuntimeError(f"{stored} rows of {count} were stored")
    return Sample(count / took, 1e6 * used / count)


def read_in(target: str, path: Path, project: str, created: int) -> Sample:
    """Rows a second of an import of lines into a project, in which some of them are not there yet."""
    with plaudit.Client(project, target=target) as client:
        began, started = time.process_time(), time.perf_counter()
        source = open_source("plaudit", Given(str(path), project))
        records = (row.fields for row in source.read() if isinstance(row, Record))
        done = client.import_records(records, existing="update")
        took, used = time.perf_counter() - started, time.process_time() - began
    if done.created != created:
        raise RuntimeError(f"{done.created} rows of {created} were new")
    return Sample(done.stored / took, 1e6 * used / done.stored)


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server on the large store to read from, and one on a new store to write to."""
    store, few = filled_store(settings, settings.rows), settings.few_rows
    with (
        tempfile.TemporaryDirectory(dir=settings.directory) as folder,
        server_process(store) as source,
        server_process(Path(folder, "moved.db")) as sink,
        server_process(filled_store(settings, few)) as small,
        Processes(1) as client,
    ):
        lines = Path(folder, "few.jsonl")
        export(small.target, lines, few)
        there = "bench/there"
        read_in(sink.target, lines, there, few)

        def new() -> Sample:
            project = f"bench/new-{next(_projects)}"
            sample: Sample = client.call(read_in, sink.target, lines, project, few)
            return sample

        yield [
            Contender(
                "StreamFeedback's messages", "rows/s",
                partial(client.call, stream, source.target, source.process.pid, settings.rows),
            ),
            *(
                Contender(
                    f"export to {form}", "rows/s",
                    partial(client.call, export, source.target, Path(folder, f"all.{form}"), settings.rows),
                )
                for form in _FORMS
            ),
            Contender("ingest", "rows/s", partial(client.call, ingest, sink.target, few)),
            Contender("import", "rows/s", new),
            Contender("import of nothing new", "rows/s", partial(client.call, read_in, sink.target, lines, there, 0)),
        ]  # fmt: skip


def _export_figure(form: str) -> Figure:
    control, subject = "StreamFeedback's messages", f"export to {form}"
    return Figure(
        f"export-{form}",
        f"export of 1,000,000 rows to {form}, rows/s",
        (subject, control),
        ratio(subject, control),
        Target(0.2, "of StreamFeedback's messages", at_least=True),
    )


FAMILY = Family(
    "moving",
    (
        *map(_export_figure, _FORMS),
        Figure(
            "import-file",
            "import of plaudit's own lines, rows/s",
            ("import", "ingest"),
            ratio("import", "ingest"),
            Target(0.6, "of ingest", at_least=True),
        ),
        Figure(
            "import-again",
            "the same lines again, nothing new, rows/s",
            ("import of nothing new", "ingest"),
            ratio("import of nothing new", "ingest"),
            Target(0.8, "of ingest", at_least=True),
        ),
    ),
    contenders,
)
