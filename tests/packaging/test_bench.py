"""`make bench` on a small scale, so that it keeps working: every figure has an entry, the cheap ones are measured."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop

from plaudit.v1 import GetServerInfoRequest
from plaudit_server.testing import RunningServer
from tests.bench.load import Call, Shape, repeat

ROOT = Path(__file__).parents[2]

FIGURES = {
    "creates": {"creates-16", "creates-64", "create-alone"},
    "batches": {"batch-1000", "batch-100", "ingest"},
    "pages": {"page-1", "page-8", "page-8-threads", "page-payloads"},
    "streams": {"stream", "stream-memory"},
    "moving": {"export-jsonl", "export-csv", "export-parquet", "import-file", "import-again"},
    "moving-memory": {
        "export-memory-jsonl", "export-memory-csv", "export-memory-parquet", "import-memory-plaudit",
        "import-memory-weave", "import-memory-langfuse", "import-memory-langsmith", "import-memory-phoenix",
        "import-memory-mlflow", "import-memory-opik", "import-memory-argilla", "import-memory-label-studio",
        "import-memory-braintrust", "import-memory-generic-csv", "import-memory-generic-parquet",
        "import-memory-again", "import-memory-mirror",
    },
    "shapes": {
        "newest-project", "newest-ref", "newest-type", "depth", "count-ref", "count-project", "count-type",
        "count-day",
    },
    "watching": {"watch"},
    "http": {"http-create", "http-beside", "http-page", "http-page-json"},
    "workers": {"workers-2", "workers-2-four-projects"},
    "postgres": {"postgres-projects", "postgres-watched", "postgres-batch", "postgres-held"},
    "footprint": {"cold-start", "idle-memory", "import"},
    "sizes": {"size-client", "size-server"},
    "filters": {"payload-filter"},
    "declared": {"declared-index", "declared-index-write"},
    "definitions": {
        "breaking-value",
        "breaking-batch",
        "breaking-small",
        "defined-number",
        "defined-other",
        "defined-schema",
        "schema-row",
        "undefined",
        "undefined-again",
        "unique-create",
        "unique-row",
    },
    "aggregates": {
        "aggregate-count-by-day", "aggregate-count-by-day-cpu", "aggregate-indexed", "aggregate-mean",
        "aggregate-mean-by-model", "aggregate-mean-by-model-cpu", "aggregate-mean-cpu",
        "aggregate-percentiles-by-model", "aggregate-percentiles-by-model-cpu", "aggregate-refs",
        "aggregate-refs-cpu", "aggregate-refs-store",
    },
    "aggregates-pg": {
        "aggregate-pg-count-by-day", "aggregate-pg-count-by-day-cpu", "aggregate-pg-mean", "aggregate-pg-mean-by-model",
        "aggregate-pg-mean-by-model-cpu", "aggregate-pg-mean-cpu", "aggregate-pg-percentiles-by-model",
        "aggregate-pg-percentiles-by-model-cpu", "aggregate-pg-refs",
        "aggregate-pg-refs-cpu", "aggregate-pg-refs-store",
    },
    "watchers": {"watchers-memory", "watchers-create"},
    "loading": {"load"},
}  # fmt: skip
# One of each family that does not start PostgreSQL or many processes, and does not install packages.
CHEAP = ("creates-16", "batch-100", "page-1", "stream", "count-ref", "watch")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def directory() -> Iterator[Path]:
    """On the disk of the checkout: a temporary directory may be in memory, which no store is measured in."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "build") as name:
        yield Path(name)


def test_every_figure_is_listed_with_its_target() -> None:
    lines = bench("--list").stdout.splitlines()
    listed: dict[str, set[str]] = {}
    for line in lines:
        family, key, *_ = line.split()
        listed.setdefault(family, set()).add(key)
    assert listed == FIGURES
    assert all("≥" in line or "≤" in line or "for comparison" in line for line in lines)


def test_a_name_of_nothing_is_refused() -> None:
    done = bench("--only", "nothing")
    assert done.returncode == 2
    assert "--list" in done.stderr


def test_cheap_figures_are_measured(directory: Path) -> None:
    path = directory / "results.json"
    scale = ("--rounds", "1", "--seconds", "0.1", "--rows", "2000", "--few-rows", "1000")
    only = [argument for name in CHEAP for argument in ("--only", name)]
    done = bench(*scale, "--directory", str(directory), "--json", str(path), *only)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["figures"].keys() == set(CHEAP)
    for key, entry in report["figures"].items():
        assert entry["score"]["median"] > 0, key
        assert len(entry["score"]["rounds"]) == 1
        assert isinstance(entry["met"], bool)
        assert all(contender["median"] >= 0 and contender["unit"] for contender in entry["contenders"].values())
    assert report["figures"]["creates-16"]["contenders"]["plaudit, 16"]["cpu_us"] > 0
    rendered = bench("--render", str(path)).stdout
    assert rendered.count("\n| ") == len(report["figures"]) + 2


def test_load_without_h2load(running: RunningServer) -> None:
    call = Call("/plaudit.v1.FeedbackService/GetServerInfo", GetServerInfoRequest().SerializeToString())
    load = uvloop.run(repeat(running.target, call, Shape(2, 2), 1.0))
    assert load.micros
    assert load.rate == pytest.approx(len(load.micros))
    refused = Call("/plaudit.v1.FeedbackService/CreateFeedback", b"")
    with pytest.raises(grpc.RpcError):
        uvloop.run(repeat(running.target, refused, Shape(1, 1), 0.1))
