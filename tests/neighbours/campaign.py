"""Cases on a server of their own: the well-behaved caller beside a sink and attacked in turns, the end; the figures."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

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

Times = dict[str, list[float]]

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

    def found_broken(self, budget: Budget) -> list[str]:
        """What does not keep to the budget so far."""
        return broken(self.compared, self.observed, self.case.attack.expected, budget)


def server_flags(case: Case) -> list[str]:
    """How the server of a case is started."""
    flags = ["--connections-shutdown-grace-seconds", str(GRACE_SECONDS)]
    if case.attack.http:
        flags += ["--http-listen", "127.0.0.1:0"]
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


@dataclass(frozen=True, slots=True)
class Sinks:
    """Addresses of listeners that refuse everything at once."""

    grpc: str
    http: str

    def of(self, case: Case) -> str:
        """The one for attackers of this case."""
        return self.http if case.attack.http else self.grpc


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
    for line in server.log:
        if "Traceback" in line:
            observed.failed[f"defect in the server's log: {_exception(line)}"] += 1


def _exception(line: str) -> str:
    """The exception of a line of the server's log."""
    try:
        return str(json.loads(line)["exception"]).splitlines()[-1]
    except (ValueError, LookupError):
        return line.strip()


def measure(
    cases: Sequence[Case], store: Store, sinks: Sinks, rounds: Rounds, budget: Budget, *, best: bool = False
) -> list[Figures]:
    """Run cases that want the same server, one after the other; it is told to stop while the last attack goes on.

    With `best` the figures are those of the round that keeps closest to the budget, else of all rounds together; what
    failed counts in every round.
    """
    found = [Figures(case) for case in cases]
    with ExitStack() as stack:
        server = stack.enter_context(running(store, *server_flags(cases[0])))
        key = store.keys.caller if cases[0].authenticated else ""
        honest = stack.enter_context(caller(server.target, key))
        with honest.acting():
            time.sleep(_WARM_UP_SECONDS)
        for figures in found:
            target = server.address("http.listen") if figures.case.attack.http else server.target
            told = orders(figures.case, store, target)
            with told.process(sinks.of(figures.case)) as beside, told.process(told.target) as attackers:
                place = _Place(figures, store, server, beside, attackers, honest)
                _repeat(place, rounds, budget, best=best)
                if figures is found[-1]:
                    with place.attacked():
                        stop(server, figures.observed)
    for figures in found:
        figures.broken = figures.found_broken(budget)
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a case is measured, and into what."""

    figures: Figures
    store: Store
    server: ServerProcess
    beside: Turns
    attackers: Turns
    honest: Turns

    @contextmanager
    def attacked(self) -> Iterator[None]:
        """While the server is attacked."""
        locks = self.figures.case.attack.locks
        around: AbstractContextManager[None] = self.store.project_locked() if locks else nullcontext()
        with around, self.attackers.acting():
            yield


def _repeat(place: _Place, rounds: Rounds, budget: Budget, *, best: bool) -> None:
    """Measure round after round."""
    figures, pid = place.figures, place.server.process.pid
    memory = resident_mib(pid)
    reset_peak(pid)
    compared: list[Sequence[Compared]] = []
    taken: list[tuple[Times, Times]] = []
    for number in range(rounds.most):
        taken.append(_round(place, rounds.seconds, number))
        compared.append(compare(*taken[-1], budget))
        said = place.attackers.said
        figures.observed.answers, figures.observed.late = Counter(said["answers"]), said["late"]
        figures.observed.growth_mib = peak_mib(pid) - memory
        together = compare(pooled(one for one, _ in taken), pooled(other for _, other in taken), budget)
        figures.compared = closest(compared) if best else together
        if number + 1 >= rounds.least and not figures.found_broken(budget):
            break
    figures.calls = sum(len(times) for _, attacked in taken for times in attacked.values())


def _round(place: _Place, seconds: float, number: int) -> tuple[Times, Times]:
    """The times beside the sink and under attack; every other round the attack comes first."""
    observed = place.figures.observed
    taken: dict[bool, Times] = {}
    for attacked in (False, True) if number % 2 == 0 else (True, False):
        with place.attacked() if attacked else place.beside.acting(), place.honest.acting():
            time.sleep(seconds)
        said = place.honest.said
        taken[attacked] = said["taken"]
        observed.failed.update(said["failed"])
        observed.health.update(said["health"])
        after = _seconds_busy([place.server.process.pid, *_children(place.server.process.pid), *place.store.pids])
        if attacked:
            observed.after_seconds = max(observed.after_seconds, after)
    return taken[False], taken[True]


def _children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _text(task / "children").split()]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:  # a thread that has ended meanwhile
        return ""


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
