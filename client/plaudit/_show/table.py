"""A grid as a table in a terminal; no markup in a cell is obeyed."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from plaudit._show.grid import Column, Grid, is_unicode, writable

if TYPE_CHECKING:
    from rich.table import Table

# No column gets narrower than this, however narrow the terminal is.
_NARROWEST: Final = 8


def table(grid: Grid, width: int | None = None, encoding: str = "utf-8") -> Table:
    """The grid as a table of rich: as wide as it needs to be, or at most `width` cells, with longer texts folded.

    All of it can be written in `encoding`: lines are drawn in ASCII, unless it is Unicode.
    """
    from rich.box import ASCII, HEAVY_HEAD
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    columns, rows = grid.columns, [[writable(cell, encoding) for cell in row] for row in grid.rows]
    natural = [
        min(column.widest, max([cell_len(writable(column.heading, encoding)), *(cell_len(row[i]) for row in rows)]))
        for i, column in enumerate(columns)
    ]
    widths = natural if width is None else _fitted(natural, columns, width - _frame(columns))
    made = Table(
        box=HEAVY_HEAD if is_unicode(encoding) else ASCII,
        caption=writable(grid.caption, encoding) or None,
        caption_justify="left",
    )
    for column, fitted in zip(columns, widths, strict=True):
        made.add_column(writable(column.heading, encoding), width=fitted, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def text(grid: Grid) -> str:
    """The grid as a plain text table: as wide as the terminal, or without a terminal as wide as it needs to be."""
    from rich.console import Console

    terminal = Console(file=sys.stdout)
    made = table(grid, terminal.width if terminal.is_terminal else None, terminal.encoding)
    width = sum(column.width or 0 for column in made.columns) + _frame(made.columns)
    # In a notebook, rich would display what this console has printed: an empty output before the table.
    output = Console(file=io.StringIO(), color_system=None, force_terminal=False, force_jupyter=False, width=width)
    with output.capture() as captured:
        output.print(made)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def _frame(columns: Sequence[object]) -> int:
    """The cells that are not part of a column: a line on each side, and a blank on both sides of each text."""
    return 3 * len(columns) + 1


def _fitted(natural: Sequence[int], columns: Sequence[Column], available: int) -> list[int]:
    """Widths of columns within `available` cells where possible; the widest shrink first, ids and times last."""
    widths = list(natural)
    excess = sum(widths) - available
    for floors in ([column.narrow for column in columns], [_NARROWEST] * len(columns)):
        while excess > 0:
            roomy = [i for i, floor in enumerate(floors) if widths[i] > floor]
            if not roomy:
                break
            widths[max(roomy, key=widths.__getitem__)] -= 1
            excess -= 1
    return widths
