"""The progress bar of a bulk write, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plaudit._core.writing import Ingested, Progress


@contextmanager
def shown(progress: bool | Progress, records: Any) -> Iterator[Progress | None]:
    """What to call with the progress: nothing, the caller's own function, or what draws a bar until the block ends.

    The bar shows how much is left if the records have a `len`.
    """
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} stored, {task.fields[refused]:,} refused"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    try:
        total = len(records)
    except TypeError:
        total = None
    with bar:
        task = bar.add_task("Ingest", total=total, refused=0)

        def draw(result: Ingested) -> None:
            bar.update(task, completed=result.stored, refused=len(result.refused))

        yield draw
