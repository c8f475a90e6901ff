"""The figures of cases as a table for docs/attacks.md, kept from run to run so that a campaign can be run in parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path

from tests.neighbours.budget import Compared
from tests.neighbours.campaign import Figures
from tests.neighbours.catalogue import CASES

_SHOWN = 4

HEAD = (
    "| row | attack | engine | attackers | deadline | keys | p50, ms: sink → attacked | p99, ms: sink → attacked |"
    " calls | failed | health | MiB | after, s | SIGTERM, s | attackers got | verdict |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(figures: Figures) -> str:
    """A row of the table; of the kinds of call those that come closest to the budget, or go farthest beyond it, but for
    kinds without any call, which the verdict names.
    """
    case, seen = figures.case, figures.observed
    made = [one for one in figures.compared if isfinite(max(*one.p50, *one.p99))] or figures.compared
    p50 = max(made, key=lambda one: one.p50_share)
    p99 = max(made, key=lambda one: one.p99_share)
    cells = [
        case.attack.row,
        case.attack.name,
        case.engine,
        case.attackers,
        "-" if case.deadline is None else f"{case.deadline:g} s",
        "yes" if case.authenticated else "no",
        _times(p50, p50.p50),
        _times(p99, p99.p99),
        figures.calls,
        seen.failed.total(),
        _counts(seen.health) if set(seen.health) != {"SERVING"} else "SERVING",
        f"{seen.growth_mib:+.0f}",
        f"{seen.after_seconds:.1f}",
        f"{seen.stop_seconds:+.1f}",
        _counts(seen.answers) or "nothing",
        _verdict(figures.broken),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _verdict(broken: Sequence[str]) -> str:
    more = [f"{len(broken) - _SHOWN} more"] if len(broken) > _SHOWN else []
    return "; ".join([*broken[:_SHOWN], *more]) or "kept"


def _times(one: Compared, times: tuple[float, float]) -> str:
    return f"{one.kind} {times[0]:.1f} → {times[1]:.1f}"


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} × {what}" for what, count in sorted(counted.items()))


class Table:
    """The lines of a directory, a file each; those of a case that runs again are replaced."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, figures: Figures) -> str:
        """Keep a case's line, and return it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        text = line(figures)
        (self._directory / f"{figures.case.id}.md").write_text(text)
        return text

    def markdown(self) -> str:
        """All lines so far, in the order of the cases."""
        return "\n".join([HEAD, *self._lines(case.id for case in CASES)]) + "\n"

    def _lines(self, ids: Iterable[str]) -> Iterable[str]:
        for id in ids:
            path = self._directory / f"{id}.md"
            if path.exists():
                yield path.read_text()
