"""A progress bar on stderr for bulk storing; it draws and does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plaudit._steps.ingest import Ingested, Progress


@contextmanager
def shown(progress: bool | Progress, records: Any) -> Iterator[Progress | None]:
    """Whom to tell of the progress: nobody, a function of the caller's, or a bar that is there until the block ends.

    The bar has an end when the number of records is known, which is when they have a `len`.
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

        def tell(result: Ingested) -> None:
            bar.update(task, completed=result.stored, refused=len(result.refused))

        yield tell
