"""Imports of other systems and exports whose process is killed, again and again, and run again: equal at the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import plaudit
from plaudit import Feedback
from plaudit.importers import Given, Record, open_source
from tests.client.test_export import content
from tests.importers.conftest import Store
from tests.importers.test_rows import ANNOTATION

KILLS = int(os.environ.get("PLAUDIT_TEST_IMPORT_KILLS", "2"))
IS_LONG = KILLS >= 20
ROWS = 20_000 if IS_LONG else 1_500


def phoenix(number: int) -> Mapping[str, Any]:
    return dict(ANNOTATION, identifier=f"reviewer-{number}")


def langfuse(number: int) -> Mapping[str, Any]:
    at = "2026-11-28T10:55:01.000Z"
    score = {"id": f"s{number}", "name": "quality", "dataType": "NUMERIC", "value": number / 7, "source": "API"}
    return score | {"projectId": "p", "traceId": f"t{number % 100}", "timestamp": at, "createdAt": at, "updatedAt": at}


def weave(number: int) -> Mapping[str, Any]:
    id, ref = str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))), f"weave:///kills/weave/call/{number % 100}"
    row = {"id": id, "project_id": "kills/weave", "weave_ref": ref, "feedback_type": "t", "payload": {"n": number}}
    return row | {"created_at": "2026-11-28 11:02:54.605349+00:00", "creator": "ana", "wb_user_id": "u1"}


SYSTEMS: dict[str, tuple[str, Callable[[int], Mapping[str, Any]]]] = {
    "phoenix": ("data", phoenix),
    "langfuse": ("data", langfuse),
    "weave": ("result", weave),
}


@contextmanager
def command(store: Store, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`plaudit` in a process of its own."""
    env = {**os.environ, "PLAUDIT_TARGET": store.target, "PLAUDIT_PROJECT": store.project}
    env["PLAUDIT_CONFIG_FILE"] = os.devnull
    with subprocess.Popen([sys.executable, "-m", "plaudit", *arguments], env=env, stderr=subprocess.DEVNULL) as process:
        yield process


def killed(process: subprocess.Popen[bytes], is_due: Callable[[], bool]) -> bool:
    """Kill a process when that is due; whether it had not ended before."""
    while process.poll() is None and not is_due():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("system", list(SYSTEMS) if IS_LONG else ["phoenix"])
def test_an_import_that_is_killed_and_run_again_stores_each_row_once(
    new_store: Callable[[str], Store], tmp_path: Path, system: str
) -> None:
    store = new_store(f"kills/{system}")
    member, made = SYSTEMS[system]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({member: [made(number) for number in range(ROWS)]}), "utf-8")
    chance = random.Random(11)
    kills = 0
    with plaudit.Client(store.project, target=store.target) as client:
        goals = sorted(chance.randrange(1, ROWS * 3 // 4) for _ in range(KILLS))
        for goal in goals:
            with command(store, "import", str(path), "--from", system) as process:
                kills += killed(process, lambda goal=goal: client.count() >= goal)  # type: ignore[misc]
        assert kills, "an import was killed while it stored"
        for _ in range(2):
            done = store.run(str(path), "--from", system)
            assert (done.exit_code, f"rows {ROWS}" in done.output) == (0, True), done.output
        assert store.revision == ROWS, "nothing was stored twice"
        stored = {row.id: row for row in client.stream()}
    source = open_source(system, Given(str(path), store.project))
    given = [row.fields for row in source.read() if isinstance(row, Record) and isinstance(row.fields, Feedback)]
    assert len(stored) == len(given) == ROWS
    for record in given:
        here = stored[record.id].to_dict() | {"revision": 0, "owner": "", "version": 0}
        assert here == record.to_dict() | {"revision": 0, "owner": "", "version": 0}
        assert stored[record.id].payload_json == record.payload_json


@pytest.mark.parametrize("form", ["jsonl.gz", "csv", "parquet"] if IS_LONG else ["csv"])
def test_an_export_that_is_killed_is_resumed_and_equal(
    new_store: Callable[[str], Store], tmp_path: Path, form: str
) -> None:
    store = new_store(f"kills/export-{form}")
    whole, path = tmp_path / f"whole.{form}", tmp_path / f"x.{form}"
    part = path.with_name(f"{path.name}.part")
    chance = random.Random(12)
    with plaudit.Client(store.project, target=store.target) as client:
        client.ingest({"ref": "urn:x", "feedback_type": "t", "payload": {"n": n, "t": 'x, "y"'}} for n in range(ROWS))
        client.get_feedback().export(whole)
        kills = 0
        for _ in range(KILLS):
            goal = chance.randrange(1, whole.stat().st_size)
            with command(store, "export", "--to", str(path), "--resume") as process:
                kills += killed(process, lambda goal=goal: part.exists() and part.stat().st_size >= goal)  # type: ignore[misc]
            path.unlink(missing_ok=True)
        assert kills, "an export was killed before it was finished"
        with command(store, "export", "--to", str(path), "--resume") as process:
            assert process.wait() == 0
        assert content(path) == content(whole)
