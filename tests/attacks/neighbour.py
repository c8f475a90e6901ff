"""A well-behaved client beside an attack: how long its calls take without the attack and with it, in turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import grpc

from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub, GetFeedbackRequest, QueryFeedbackRequest
from tests.attacks import victim
from tests.attacks.turns import Turns
from tests.bench import percentile
from tests.bench.places import place
from tests.service.process import ServerProcess

PROJECT = "acme/neighbour"
_PAUSE_SECONDS = 0.001


class Neighbour:
    """Creates, gets and queries, one call after the other; every call must succeed."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = FeedbackServiceStub(channel)
        self.created = 0

    def calls(self, seconds: float) -> list[float]:
        """The seconds that each call took."""
        taken: list[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            feedback = Feedback(ref="weave:///acme/neighbour/call/1", feedback_type="t", payload_json='{"a":1}')
            before = time.perf_counter()
            id = self._stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback)).feedback.id
            created = time.perf_counter()
            self._stub.GetFeedback(GetFeedbackRequest(project=PROJECT, id=id))
            got = time.perf_counter()
            self._stub.QueryFeedback(QueryFeedbackRequest(project=PROJECT, page_size=5))
            taken += [created - before, got - created, time.perf_counter() - got]
            self.created += 1
            time.sleep(_PAUSE_SECONDS)
        return taken


@dataclass(slots=True)
class Figures:
    """The results of one attack: seconds of calls by phase, the attacker's codes, growth of the server in MiB."""

    name: str
    taken: dict[str, list[float]] = field(default_factory=lambda: {"alone": [], "beside a sink": [], "attacked": []})
    codes: dict[str, int] = field(default_factory=dict)
    growth: float = 0.0

    def p99(self, phase: str) -> float:
        """Milliseconds."""
        return percentile(self.taken[phase], 0.99)

    @property
    def ratio(self) -> float:
        """p99 with the attack over p99 without it."""
        return self.p99("attacked") / self.p99("alone")

    def line(self) -> str:
        """A row of the table."""
        calls = "/".join(str(len(taken)) for taken in self.taken.values())
        p99s = " | ".join(f"{self.p99(phase):.2f}" for phase in self.taken)
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.codes.items()))
        return f"| {self.name} | {calls} | {p99s} | {self.ratio:.2f} | {self.growth:+.0f} | {codes} |"


HEAD = (
    "| attack | calls | p99 alone, ms | p99 beside a sink | p99 attacked | ratio | MiB | codes |\n"
    "|---|---|---|---|---|---|---|---|"
)


def attacker(name: str, target: str) -> Turns:
    """The process of an attacker; what it says are the codes that it got, see attackers.py."""
    return Turns("tests.attacks.attackers", name, target)


def measure(server: ServerProcess, sink: str, name: str, rounds: int, seconds: float, attacked: str) -> Figures:
    """Time calls in rounds of three phases, each round in another order; `attacked` is the port that is attacked."""
    figures = Figures(name)
    before = victim.mebibytes(server.process.pid)
    with (
        grpc.insecure_channel(server.target) as channel,
        attacker(name, sink) as beside,
        attacker(name, attacked) as attacking,
    ):
        neighbour = Neighbour(channel)
        neighbour.calls(0.2)
        around: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "alone": nullcontext,
            "beside a sink": beside.acting,
            "attacked": attacking.acting,
        }
        phases = list(around)
        for number in range(rounds):
            for phase in phases[number % 3 :] + phases[: number % 3]:
                with around[phase]():
                    figures.taken[phase] += neighbour.calls(seconds)
        figures.codes = attacking.said
    figures.growth = victim.mebibytes(server.process.pid) - before
    return figures


@contextmanager
def sink_process(*flags: str) -> Iterator[str]:
    """A listener that does nothing, or with `--refuse` nothing but refuse; its address."""
    command = [sys.executable, "-m", "tests.attacks.sink", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def on_cores(*servers: int) -> Iterator[None]:
    """Pin these processes to the first core, and this one with its children to the others, if there are two cores."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        yield
        return
    for pid in servers:
        place(pid, cores[:1])
    os.sched_setaffinity(0, cores[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
