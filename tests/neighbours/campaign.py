"""One case: a server of its own, the well-behaved caller beside a sink and attacked in turns, the end; its figures."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from math import inf

from plaudit_server import config
from tests.attacks.turns import Turns
from tests.bench.load import cpu_seconds
from tests.bench.memory import peak_mib, reset_peak, resident_mib
from tests.neighbours.attackers import Orders
from tests.neighbours.budget import Budget, Compared, Observed, broken, closest, compare, pooled
from tests.neighbours.caller import caller
from tests.neighbours.catalogue import DEADLINE_SECONDS, Case
from tests.neighbours.stores import Store
from tests.service.process import ServerProcess

GRACE_SECONDS = 3.0
LIMIT_SECONDS = 0.5
"""What the server is told to give a read or a write of patient callers; those with a deadline meet its defaults."""

_WARM_UP_SECONDS = 0.3
_LONGEST_STOP_SECONDS = 20.0
_LONGEST_AFTER_SECONDS = 10.0
_WINDOW_SECONDS = 0.2
_IDLE_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long to measure: `least` rounds, and up to `most` until the budget is kept. A round has a phase beside the
    sink and one under attack, of `seconds` each.
    """

    least: int
    most: int
    seconds: float


@dataclass(slots=True)
class Figures:
    """What one case came to."""

    case: Case
    compared: Sequence[Compared] = ()
    observed: Observed = field(default_factory=Observed)
    broken: list[str] = field(default_factory=list)
    calls: int = 0
    """How many calls the well-behaved caller made under attack."""


def server_flags(case: Case) -> list[str]:
    """How the server of a case is started."""
    flags = ["--connections-shutdown-grace-seconds", str(GRACE_SECONDS)]
    if case.authenticated:
        flags += ["--auth-api-keys", "--audit-log", "off"]
    if case.deadline is None:
        known = {setting.key: setting.flag for setting in config.SETTINGS}
        for key in ("limits.read_seconds", "limits.write_seconds"):
            if key in known:
                flags += [known[key], str(LIMIT_SECONDS)]
    return flags


def orders(case: Case, store: Store, target: str) -> Orders:
    """What the attackers of a case are to do."""
    limit = LIMIT_SECONDS if case.deadline is None else DEADLINE_SECONDS
    keys = store.keys.attackers[: case.callers] if case.authenticated else ()
    # The well-behaved caller comes from 127.0.0.1.
    sources = [""] if case.authenticated else [f"127.0.0.{number + 2}" for number in range(case.callers)]
    return Orders(case.attack.name, target, case.attackers, case.deadline, limit, keys, sources)


@contextmanager
def running(store: Store, *flags: str) -> Iterator[ServerProcess]:
    """A server that does not outlive this, whatever happens."""
    server = ServerProcess(store.url, "127.0.0.1:0", *flags)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
            server.stop()


def stop(server: ServerProcess, observed: Observed) -> None:
    """Stop the server by SIGTERM, or by force when that takes far too long; look at what it leaves in its log."""
    began = time.monotonic()
    try:
        code = server.stop(timeout=_LONGEST_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.process.wait()
        server.stop()
        observed.stop_seconds = inf
    else:
        observed.stop_seconds = time.monotonic() - began - GRACE_SECONDS
        if code:
            observed.failed[f"server ended with {code}"] += 1
    if defects := sum("Traceback" in line for line in server.log):
        observed.failed["defect in the server's log"] += defects


def measure(case: Case, store: Store, sink: str, rounds: Rounds, budget: Budget, *, best: bool = False) -> Figures:
    """Run a case. With `best` the figures are those of the round that keeps closest to the budget, else of all rounds
    together; what failed counts in every round.
    """
    figures = Figures(case)
    observed = figures.observed
    with ExitStack() as stack:
        server = stack.enter_context(running(store, *server_flags(case)))
        pids = [server.process.pid, *store.pids]
        told = orders(case, store, server.target)
        beside, attackers = (stack.enter_context(told.process(target)) for target in (sink, server.target))
        honest = stack.enter_context(caller(server.target, store.keys.caller if case.authenticated else ""))
        with honest.acting():
            time.sleep(_WARM_UP_SECONDS)
        memory = resident_mib(server.process.pid)
        reset_peak(server.process.pid)
        found: list[list[Compared]] = []
        taken: list[tuple[dict[str, list[float]], dict[str, list[float]]]] = []
        for number in range(rounds.most):
            taken.append(_round(case, store, pids, (beside, attackers, honest), rounds.seconds, number, observed))
            found.append(compare(*taken[-1], budget))
            observed.answers, observed.late = Counter(attackers.said["answers"]), attackers.said["late"]
            observed.growth_mib = peak_mib(server.process.pid) - memory
            figures.compared = (
                closest(found)
                if best
                else compare(pooled(one for one, _ in taken), pooled(other for _, other in taken), budget)
            )
            if number + 1 >= rounds.least and not broken(figures.compared, observed, case.attack.expected, budget):
                break
        figures.calls = sum(len(times) for _, attacked in taken for times in attacked.values())
        with _attacked(case, store, attackers):
            stop(server, observed)
    figures.broken = broken(figures.compared, observed, case.attack.expected, budget)
    return figures


def _round(
    case: Case,
    store: Store,
    pids: list[int],
    processes: tuple[Turns, Turns, Turns],
    seconds: float,
    number: int,
    observed: Observed,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """The times beside the sink and under attack; every other round the attack comes first."""
    beside, attackers, honest = processes
    taken: dict[bool, dict[str, list[float]]] = {}
    for attacked in (False, True) if number % 2 == 0 else (True, False):
        with _attacked(case, store, attackers) if attacked else beside.acting(), honest.acting():
            time.sleep(seconds)
        said = honest.said
        taken[attacked] = said["taken"]
        observed.failed.update(said["failed"])
        observed.health.update(said["health"])
        after = _seconds_busy(pids)
        if attacked:
            observed.after_seconds = max(observed.after_seconds, after)
    return taken[False], taken[True]


@contextmanager
def _attacked(case: Case, store: Store, attackers: Turns) -> Iterator[None]:
    around: AbstractContextManager[None] = store.project_locked() if case.attack.locks else nullcontext()
    with around, attackers.acting():
        yield


def _seconds_busy(pids: list[int]) -> float:
    """How long these processes still work, who have nothing to do for anybody."""
    began = time.monotonic()
    used = sum(map(cpu_seconds, pids))
    while (passed := time.monotonic() - began) < _LONGEST_AFTER_SECONDS:
        time.sleep(_WINDOW_SECONDS)
        before, used = used, sum(map(cpu_seconds, pids))
        if used - before < _IDLE_SHARE * _WINDOW_SECONDS:
            return passed
    return passed
