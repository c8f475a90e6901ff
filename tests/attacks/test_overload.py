"""Several times as many callers as the server can serve: it does about as much as at its best, and loses nothing."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.attacks import bombs, neighbour, overload, victim
from tests.service.process import ServerProcess, server_process

ROUNDS = int(os.environ.get("PLAUDIT_TEST_ATTACK_ROUNDS", "0"))
SECONDS = 4.0 if ROUNDS else 0.5

# Fewer places than the server's default of 1,024: a fast one has some dozens of calls in flight at a time, however many
# callers there are (the others wait in grpc and in their own processes), and would refuse none of them.
PLACES = 16
TIMES = (4, 64) if ROUNDS else (16,)
CONNECTIONS = 32
DEADLINE = 2.0

# A call that waits costs its task, its message and its place in grpc, about 16 KiB; what was stored stays in caches.
MEBIBYTES = 64 + PLACES * max(TIMES) * 16 / 1024


def users(target: str, count: int, connections: int) -> Any:
    """The results of the given number of users, in a separate process."""
    arguments = [target, connections, count // connections, SECONDS, 0, DEADLINE]
    command = [sys.executable, "-m", overload.__name__, *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


@contextmanager
def health_asked(target: str) -> Iterator[list[str]]:
    """Every answer of health meanwhile."""
    said: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        with grpc.insecure_channel(target) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            while not ended.wait(0.05):
                status = check(health_pb2.HealthCheckRequest(), timeout=10).status
                said.append(health_pb2.HealthCheckResponse.ServingStatus.Name(status))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield said
    finally:
        ended.set()
        asking.join()


def stored(store: Path) -> set[str]:
    """The ids in a store."""
    return {id for (id,) in apsw.Connection(str(store)).execute("select id from feedback")}


@pytest.mark.timeout(120 + 30 * ROUNDS)
@pytest.mark.parametrize("times", TIMES)
def test_more_callers_than_places(times: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "plaudit.db"
    flags = ("--limits-in-flight-calls", str(PLACES))
    acknowledged: set[str] = set()
    ratios: list[float] = []
    refusals: list[float] = []
    with server_process(store, "127.0.0.1:0", *flags) as server, neighbour.on_cores(server.process.pid):
        users(server.target, 64, 2)
        for _ in range(max(1, ROUNDS // 3)):
            few = [users(server.target, count, 2) for count in (PLACES // 4, PLACES)]
            peak = max(few, key=lambda done: done["goodput"])
            before = victim.peak_mebibytes(server.process.pid)
            with health_asked(server.target) as said:
                crowd = users(server.target, times * PLACES, CONNECTIONS)
            growth = victim.peak_mebibytes(server.process.pid) - before
            ratios.append(crowd["goodput"] / peak["goodput"])
            if ROUNDS:
                refusals.append(crowd["refused_ms"][1] / crowd["ok_ms"][1])
            acknowledged |= {*peak["acknowledged"], *crowd["acknowledged"]}
            told = {name: crowd[name] for name in ("codes", "ok_ms", "refused_ms", "late", "generator_cpu")}
            with capsys.disabled():
                if ROUNDS:
                    print(
                        f"\ngoodput {crowd['goodput']:.0f}/s, peak {peak['goodput']:.0f}/s, {growth:+.0f} MiB, {told}"
                    )
            assert set(said) == {"SERVING"}
            assert growth < MEBIBYTES
            assert set(crowd["codes"]) <= {str(bombs.OK), str(bombs.RESOURCE_EXHAUSTED), "4"}
            assert crowd["codes"].get(str(bombs.RESOURCE_EXHAUSTED), 0) > 0
        _assert_well(server, store, acknowledged)
    if ROUNDS:
        assert statistics.median(ratios) > 0.8
        # Nearly every refusal comes before the last answer.
        assert statistics.median(refusals) < 1


def _assert_well(server: ServerProcess, store: Path, acknowledged: set[str]) -> None:
    victim.assert_well(server)
    assert len(acknowledged) > 100
    assert acknowledged <= stored(store)
