"""Results as JSON, as a table on the terminal, and as a table in Markdown."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
from rich.table import Table

from tests.bench.echo import ROOT
from tests.bench.figures import Figure, Measured, Settings, results
from tests.bench.load import generator


def as_json(
    measured: Sequence[Measured], figures: Sequence[Figure], settings: Settings, seconds: float
) -> dict[str, Any]:
    """Everything that was measured, and the machine."""
    by_key = {figure.key: one for one in measured for figure in one.family.figures}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "plaudit": version("plaudit"),
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "processors": os.cpu_count(),
            "system": platform.system() + " " + platform.release(),
            "python": platform.python_version(),
            "grpcio": version("grpcio"),
            "sqlite": apsw.sqlitelibversion(),
            "load": generator(),
        },
        "rounds": settings.rounds,
        "window_seconds": settings.seconds,
        "rows": settings.rows,
        "figures": {figure.key: results(by_key[figure.key], figure) for figure in figures},
    }


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def number(value: float) -> str:
    """A number with three significant digits, and no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def shown(spread: Mapping[str, Any]) -> str:
    """A spread, as `figures.spread` makes it: the median, and in brackets the smallest and the largest."""
    return f"{number(spread['median'])} ({number(spread['low'])} to {number(spread['high'])})"


def lines(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line for each figure: name, target, score with spread, verdict, contenders."""
    found: list[tuple[str, ...]] = []
    for entry in report["figures"].values():
        target = entry["target"] or "for comparison"
        if why := entry.get("not_measured"):
            found.append((entry["title"], target, "", "not measured", why))
            continue
        if why := entry.get("failed"):
            found.append((entry["title"], target, "", "failed", why))
            continue
        measured = shown(entry["score"])
        verdict = {None: "", True: "met", False: "missed"}[entry["met"]]
        found.append((entry["title"], target, measured, verdict, "; ".join(_contenders(entry["contenders"]))))
    return found


def _contenders(contenders: dict[str, Any]) -> list[str]:
    parts = []
    for name, summary in contenders.items():
        cpu = f" [{number(summary['cpu_us'])} µs]" if "cpu_us" in summary else ""
        parts.append(f"{name} {number(summary['median'])} {summary['unit']}{cpu}")
    return parts


_HEADERS: tuple[str, ...] = ("figure", "target", "measured", "", "medians [processor time per call or row]")


def table(report: dict[str, Any]) -> Table:
    """The report for a terminal."""
    made = Table(
        *(header.replace("[", r"\[") for header in _HEADERS),
        title=headline(report),
        title_justify="left",
        show_lines=True,
    )
    for title, target, score, verdict, contenders in lines(report):
        colour = {"met": "green", "missed": "red", "failed": "red"}.get(verdict, "yellow")
        made.add_row(title, target, score, f"[{colour}]{verdict}[/]", contenders.replace("[", r"\["))
    return made


def markdown(report: dict[str, Any]) -> str:
    """The report for docs/performance.md."""
    cells = [_HEADERS, ("---",) * len(_HEADERS), *lines(report)]
    return f"{headline(report)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in cells)


def headline(report: dict[str, Any]) -> str:
    """When, where and how, in a line."""
    machine = report["machine"]
    return (
        f"plaudit {report['plaudit']} ({report['commit']}), {report['date'][:10]}, {machine['processors']} × "
        f"{machine['processor']}, {machine['system']}, Python {machine['python']}, grpcio {machine['grpcio']}, SQLite "
        f"{machine['sqlite']}, load from {machine['load']}; {report['rows']:,} rows; medians of "
        f"{report['rounds']} rounds of {report['window_seconds']:g} s (smallest to largest); "
        f"{report['seconds']:.0f} s in all"
    )
