"""The progress bar of a bulk write: on stderr, or in a notebook below its cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from plaudit._show import notebook

if TYPE_CHECKING:
    from plaudit._core.writing import Ingested, Progress

# A notebook keeps each drawing until its browser has shown it.
_SECONDS_BETWEEN_DRAWINGS: Final = 0.1


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
    try:
        total = len(records)
    except TypeError:
        total = None
    place = notebook.place()
    if place is None:
        with _on_stderr(total) as draw:
            yield draw
        return
    bar = _NotebookBar(place, total, time.monotonic)
    try:
        yield bar.update
    finally:
        bar.draw()


@contextmanager
def counted(progress: bool | Callable[[int], None], total: Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """What to call with the number of records that were read: the caller's function, or what draws a bar on stderr.

    `total` is asked for how many there are, if a bar is drawn.
    """
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield lambda rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} records"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    expected = total()
    with bar:
        task = bar.add_task("Export", total=expected)
        yield lambda rows: bar.update(task, completed=rows)


@contextmanager
def _on_stderr(total: int | None) -> Iterator[Progress]:
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
    with bar:
        task = bar.add_task("Ingest", total=total, refused=0)

        def draw(result: Ingested) -> None:
            bar.update(task, completed=result.stored, refused=len(result.refused))

        yield draw


class _NotebookBar:
    """The bar as HTML; drawn at once, then as often as a reader can follow, and a last time at the end."""

    def __init__(self, place: notebook.Place, total: int | None, clock: Callable[[], float]) -> None:
        self._place = place
        self._total = total
        self._clock = clock
        self._started = clock()
        self._stored = self._refused = 0
        self.draw()

    def update(self, result: Ingested) -> None:
        """Take the progress in, and draw it if the last drawing is old enough."""
        self._stored, self._refused = result.stored, len(result.refused)
        if self._clock() - self._drawn >= _SECONDS_BETWEEN_DRAWINGS:
            self.draw()

    def draw(self) -> None:
        """Draw the bar as it is now."""
        self._drawn = self._clock()
        done = self._stored + self._refused
        # Without a value, a browser draws a bar that moves and shows no share.
        share = f'value="{done}" max="{self._total}"' if self._total else ""
        self._place.draw(
            f"<div>Ingest <progress {share}></progress> {self._stored:,} stored, {self._refused:,} refused, "
            f"{self._drawn - self._started:.0f} s</div>"
        )
