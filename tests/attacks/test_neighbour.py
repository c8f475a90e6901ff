"""Attacks beside a well-behaved client: its calls succeed, and in the long run its p99 at most doubles."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from tests.attacks import attackers, bombs, neighbour, victim, web_attackers
from tests.service.process import web_process

# In `make test` each attack runs for a moment, and no time is checked.
ROUNDS = int(os.environ.get("PLAUDIT_TEST_ATTACK_ROUNDS", "0"))
SECONDS = 0.5

# In the short run only those that are not bombs: another test sends each bomb. Of a pair around a limit the one
# that is accepted costs more.
BOMBS = bombs.bombs() if ROUNDS else ()
NAMES = [
    # The HTTP port's are run together by another test.
    *(attackers.ATTACKS if ROUNDS else attackers.ON_GRPC),
    *(name for name in BOMBS if name not in ("a query of depth 33", "513 nodes", "$in of 1,001")),
]


@pytest.mark.timeout(120 + 300 * ROUNDS)
def test_a_neighbour_of_an_attack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = []
    with (
        web_process(tmp_path / "plaudit.db") as (server, http),
        neighbour.sink_process() as sink,
    ):
        for name in NAMES:
            attacked = http if name in web_attackers.ATTACKS else server.target
            if not ROUNDS:
                with grpc.insecure_channel(server.target) as channel:
                    calls = neighbour.Neighbour(channel)
                    with neighbour.attacker(name, attacked) as attacker, attacker.acting():
                        calls.calls(0.2)
                continue
            figures = neighbour.measure(server, sink, name, ROUNDS, SECONDS, attacked)
            table.append(figures)
            with capsys.disabled():
                print(("" if len(table) > 1 else f"\n{neighbour.HEAD}\n") + figures.line(), flush=True)
            victim.assert_well(server)
        assert victim.read_back(server.target, neighbour.PROJECT) > 0
        victim.assert_well(server)
    assert {figures.name: round(figures.ratio, 2) for figures in table if figures.ratio > 2} == {}
