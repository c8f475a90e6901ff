"""What an attack may cost others, and whether figures keep to it: arithmetic alone, no server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite

from tests.bench import percentile

Taken = Mapping[str, Sequence[float]]
"""The seconds that each call took, by the kind of call."""

SERVING = "SERVING"

_NEVER = (inf,)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much slower calls may be beside an attack than beside a sink (the larger of a ratio and an addition), and the
    bounds of everything else. Times in milliseconds or seconds, memory in MiB, as the names say.
    """

    p50_times: float = 1.5
    p50_more_ms: float = 1.0
    p99_times: float = 3.0
    p99_more_ms: float = 50.0
    growth_mib: float = 128.0
    after_seconds: float = 2.0
    """How long the server may work on after the attackers have left."""
    stop_seconds: float = 2.0
    """How much longer than its grace the server may take to stop."""
    late_share: float = 0.0
    """The share of the attackers' calls that may be open beyond their limit: beside other tests, attackers, which have
    a low priority, see an answer late.
    """

    def p50_ms(self, beside: float) -> float:
        """The highest p50 allowed where that beside the sink is `beside`."""
        return max(self.p50_times * beside, beside + self.p50_more_ms)

    def p99_ms(self, beside: float) -> float:
        """The highest p99 allowed where that beside the sink is `beside`."""
        return max(self.p99_times * beside, beside + self.p99_more_ms)


FULL = Budget()
"""That of the campaign, on a machine with nothing else to do."""

SHORT = Budget(4.0, 25.0, 10.0, 400.0, after_seconds=5.0, stop_seconds=10.0, late_share=0.2)
"""That of `make test`, beside other tests on the same two cores: an attack that is not bounded costs seconds."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of call beside a sink and attacked: p50 and p99 of each, in milliseconds, and how often the worse of the
    two is what is allowed (1: exactly at the limit).
    """

    kind: str
    p50: tuple[float, float]
    p99: tuple[float, float]
    p50_share: float
    p99_share: float


def compare(beside: Taken, attacked: Taken, budget: Budget) -> list[Compared]:
    """Each kind of call that was made beside the sink, in that order. A kind without any call, as when a stream could
    not be opened, is infinitely slow.
    """
    found = []
    for kind, taken in beside.items():
        times = [taken or _NEVER, attacked.get(kind) or _NEVER]
        p50, p99 = ((percentile(times[0], share), percentile(times[1], share)) for share in (0.5, 0.99))
        found.append(Compared(kind, p50, p99, _share(p50, budget.p50_ms), _share(p99, budget.p99_ms)))
    return found


def _share(times: tuple[float, float], allowed: Callable[[float], float]) -> float:
    """The part that was used of what is allowed."""
    beside, attacked = times
    return attacked / allowed(beside) if isfinite(beside) else inf


def closest(rounds: Sequence[Sequence[Compared]]) -> Sequence[Compared]:
    """The round whose worst figure keeps best to the budget: that in which the machine did least of its own."""
    return min(rounds, key=lambda compared: max(max(one.p50_share, one.p99_share) for one in compared))


def pooled(rounds: Iterable[Taken]) -> dict[str, list[float]]:
    """The calls of all rounds, by kind."""
    together: dict[str, list[float]] = {}
    for taken in rounds:
        for kind, seconds in taken.items():
            together.setdefault(kind, []).extend(seconds)
    return together


@dataclass(slots=True)
class Observed:
    """What was seen around an attack, beside the times of calls."""

    failed: Counter[str] = field(default_factory=Counter)
    """The well-behaved caller's calls that failed, by kind and error."""
    health: Counter[str] = field(default_factory=Counter)
    """What health said, or the error instead."""
    answers: Counter[str] = field(default_factory=Counter)
    """What the attackers got, by code and reason."""
    late: int = 0
    """How many of the attackers' calls were open beyond their limit."""
    growth_mib: float = 0.0
    after_seconds: float = 0.0
    stop_seconds: float = 0.0
    """From SIGTERM to the end of the process, less the grace it was given; negative where it was quicker."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How the attackers' calls may end, and how some must have; see `Observed.answers`."""

    allowed: frozenset[str]
    wanted: frozenset[str] = frozenset()
    """At least one of these must have been seen, where there are any."""
    leaves: bool = True
    """Whether nothing of the attackers' work is due after they have left."""


def broken(compared: Iterable[Compared], observed: Observed, expected: Expected, budget: Budget) -> list[str]:
    """What does not keep to the budget, a short sentence each; empty where everything does."""
    out = []
    for one in compared:
        for name, (beside, attacked), share in (("p50", one.p50, one.p50_share), ("p99", one.p99, one.p99_share)):
            if share > 1:
                out.append(f"{one.kind} {name} {beside:.1f} → {attacked:.1f} ms")
    out += [f"{count} × {what}" for what, count in sorted(observed.failed.items())]
    if set(observed.health) != {SERVING}:
        out.append("health " + (", ".join(sorted(observed.health)) or "never answered"))
    if observed.growth_mib > budget.growth_mib:
        out.append(f"{observed.growth_mib:+.0f} MiB")
    if expected.leaves and observed.after_seconds > budget.after_seconds:
        out.append(f"busy {observed.after_seconds:.1f} s after the attackers left")
    if observed.stop_seconds > budget.stop_seconds:
        out.append(f"SIGTERM took {observed.stop_seconds:.1f} s more than the grace")
    out += [f"attackers got {what}" for what in sorted(set(observed.answers) - expected.allowed)]
    if expected.wanted and not expected.wanted & set(observed.answers):
        out.append("attackers never got " + " or ".join(sorted(expected.wanted)))
    if observed.late > budget.late_share * (observed.late + observed.answers.total()):
        out.append(f"{observed.late} calls of attackers open beyond their limit")
    return out
