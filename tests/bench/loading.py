"""How fast the records of shared/data/squality-feedback.jsonl are loaded, compared with echo calls on the same machine.

The data are from the human evaluation of SQuALITY (A. Wang and others, 2022), CC BY 4.0.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import plaudit
from tests.bench.echo import METHOD, echo_server
from tests.bench.figures import Contender, Family, Figure, NotMeasured, Sample, Settings, ratio
from tests.bench.load import Call, Shape, throughput
from tests.bench.places import store_directory
from tests.service.process import server_process
from tests.shared import FEEDBACK, read_lines

PROJECT = "nyu-mll/squality"


def load(settings: Settings, records: list[dict[str, Any]]) -> Sample:
    """Records stored per second, by `create_batch`, in a new store."""
    with (
        store_directory(settings) as directory,
        server_process(directory / "plaudit.db") as process,
        plaudit.Client(PROJECT, target=process.target) as client,
    ):
        client.count()  # connects
        started = time.perf_counter()
        client.create_batch(records)
        took = time.perf_counter() - started
        if client.count() != len(records):
            raise RuntimeError("records are missing")
    return Sample(len(records) / took)


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """The loading, and calls of the bare echo one at a time."""
    records = read_lines(FEEDBACK)
    if not records:
        raise NotMeasured(f"{FEEDBACK.name} is not there: it lies in shared/, beside the repository")
    with echo_server("bare") as bare:
        call = Call(METHOD, json.dumps(records[0]).encode())
        yield [
            Contender("create_batch", "records/s", partial(load, settings, records)),
            Contender("bare echo", "calls/s", partial(throughput, *bare, [call], Shape(1, 1), settings.seconds / 2)),
        ]


FAMILY = Family(
    "loading",
    (
        Figure(
            "load",
            "real feedback by create_batch, records for each echo call",
            ("create_batch", "bare echo"),
            ratio("create_batch", "bare echo"),
            None,
        ),
    ),
    contenders,
    rounds=3,
)
