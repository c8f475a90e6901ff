"""How fast the records of shared/data/squality-feedback.jsonl are loaded, beside echo calls of the same machine.

    python -m tests.bench.loading

The data are from the human evaluation of SQuALITY (A. Wang and others, 2022), CC BY 4.0.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc

import plaudit
from tests.bench.echo import METHOD, echo_server
from tests.service.process import server_process
from tests.shared import FEEDBACK, read_lines

ROUNDS = 5
ECHOES = 2000
PROJECT = "nyu-mll/squality"


def load(records: list[dict[str, Any]]) -> float:
    """Records stored per second, by `create_batch`, in a new store."""
    with (
        tempfile.TemporaryDirectory() as directory,
        server_process(Path(directory) / "plaudit.db") as process,
        plaudit.Client(PROJECT, target=process.target) as client,
    ):
        client.count()  # connects
        started = time.perf_counter()
        client.create_batch(records)
        took = time.perf_counter() - started
        assert client.count() == len(records)
    return len(records) / took


def echo(target: str, message: bytes) -> float:
    """Echo calls per second, one at a time."""
    with grpc.insecure_channel(target) as channel:
        call: Any = channel.unary_unary(METHOD)
        call(message)
        started = time.perf_counter()
        for _ in range(ECHOES):
            call(message)
        return ECHOES / (time.perf_counter() - started)


def main() -> None:
    """Measure in turn, and print medians with their spread."""
    records = read_lines(FEEDBACK)
    message = json.dumps(records[0]).encode()
    loads, echoes = [], []
    with echo_server() as (target, _):
        for _ in range(ROUNDS):
            loads.append(load(records))
            echoes.append(echo(target, message))
    for name, figures in (("records/s", loads), ("echo calls/s", echoes)):
        print(f"{name}: median {statistics.median(figures):.0f}, {min(figures):.0f} to {max(figures):.0f}")
    print(f"records per echo call: {statistics.median(loads) / statistics.median(echoes):.1f}")


if __name__ == "__main__":
    main()
