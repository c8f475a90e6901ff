"""`python -m tests.bench`: measures the chosen figures, prints a table, writes JSON, and ends by itself."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import (
    analytics,
    batches,
    beside,
    creates,
    declared,
    definitions,
    footprint,
    loading,
    moving,
    moving_memory,
    pages,
    payload_filter,
    postgres,
    shapes,
    sizes,
    streams,
    watchers,
    watching,
    web,
    workers,
)
from tests.bench.echo import ROOT
from tests.bench.figures import Family, Figure, Measured, Settings, measure
from tests.bench.report import as_json, markdown, table

_WITH_TARGETS = (
    creates,
    batches,
    pages,
    streams,
    moving,
    moving_memory,
    shapes,
    declared,
    definitions,
    watching,
    web,
    workers,
    postgres,
    footprint,
    sizes,
)
_FOR_COMPARISON = (payload_filter, watchers, loading)
FAMILIES: tuple[Family, ...] = (
    *(module.FAMILY for module in _WITH_TARGETS),
    *analytics.FAMILIES,
    *(module.FAMILY for module in _FOR_COMPARISON),
)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--only", multiple=True, metavar="NAME", help="A family, or a figure's name or its beginning; repeatable."
)
@click.option("--list", "listing", is_flag=True, help="List families and figures with their targets.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(0.05), help="One measuring window.")
@click.option(
    "--rows", default=1_000_000, show_default=True, type=click.IntRange(1000), help="Rows of the large store."
)
@click.option("--few-rows", default=10_000, show_default=True, type=click.IntRange(100), help="Rows of the small one.")
@click.option("--directory", default=ROOT / "build" / "bench", type=Path, help="Where stores are made: on a disk.")
@click.option("--json", "json_path", type=Path, help="Where results go; build/bench.json, or bench-peers.json.")
@click.option("--peers", is_flag=True, help="Measure MLflow and Phoenix beside plaudit instead; installs them once.")
@click.option(
    "--render",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Print a file of results as Markdown.",
)
def main(
    only: Sequence[str],
    listing: bool,
    rounds: int,
    seconds: float,
    rows: int,
    few_rows: int,
    directory: Path,
    json_path: Path | None,
    peers: bool,
    render: Path | None,
) -> None:
    """Measure plaudit beside its controls."""
    if render is not None:
        print(markdown(json.loads(render.read_text())))
        return
    families = (beside.FAMILY,) if peers else FAMILIES
    if listing:
        for family in families:
            for figure in family.figures:
                print(f"{family.name:10} {figure.key:22} {figure.title}; {figure.target or 'for comparison'}")
        return

    names = {family.name for family in families} | {figure.key for family in families for figure in family.figures}

    def wanted(family: Family, figure: Figure) -> bool:
        whole = {family.name, figure.key} & set(only)
        return not only or bool(whole) or any(figure.key.startswith(name) for name in only if name not in names)

    chosen = [(family, [f for f in family.figures if wanted(family, f)]) for family in families]
    chosen = [(family, figures) for family, figures in chosen if figures]
    if not chosen:
        raise click.UsageError(f"--only {' '.join(only)} names no figure; see --list")
    # Started processes are ended in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = Settings(directory.absolute(), rounds, seconds, rows, few_rows)
    json_path = json_path or ROOT / "build" / ("bench-peers.json" if peers else "bench.json")
    report = _measure(chosen, settings, json_path)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(report))
    console.print(f"written to {json_path}", soft_wrap=True)
    if any("failed" in entry for entry in report["figures"].values()):
        raise click.ClickException("some figures could not be measured, see above")


def _measure(chosen: Sequence[tuple[Family, Sequence[Figure]]], settings: Settings, json_path: Path) -> dict[str, Any]:
    """The report, written to its file after each family, so that an interrupted run leaves what it has."""
    started = time.monotonic()
    measured: list[Measured] = []
    figures: list[Figure] = []
    report: dict[str, Any] = {}
    json_path.parent.mkdir(parents=True, exist_ok=True)
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        for family, some in chosen:
            progress.update(task, description=f"{family.name}: getting ready")
            keys = {figure.key for figure in some}
            measured.append(measure(family, settings, keys, lambda name: progress.update(task, description=name)))
            figures += some
            report = as_json(measured, figures, settings, time.monotonic() - started)
            json_path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
            progress.advance(task)
    return report


if __name__ == "__main__":
    main()
