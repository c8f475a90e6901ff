"""A grid as HTML, for a notebook; no HTML in a cell is obeyed."""

from __future__ import annotations

import html as html_escapes
from typing import Final

from plaudit._show.grid import Column, Grid

_WORDS_STAY_WHOLE: Final = 50


def html(grid: Grid) -> str:
    """The grid as an HTML table."""
    head = "".join(f'<th style="text-align:left">{_escaped(column.heading)}</th>' for column in grid.columns)
    styles = [_cell_style(column) for column in grid.columns]
    body = "".join(
        f"<tr>{''.join(map('<td style={}>{}</td>'.format, styles, map(_escaped, row)))}</tr>" for row in grid.rows
    )
    caption = f'<caption style="caption-side:bottom">{_escaped(grid.caption)}</caption>' if grid.caption else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell_style(column: Column) -> str:
    """Ids and times stay on one line, long columns fold anywhere, and in the others words stay whole."""
    if column.narrow == column.widest:
        folding = "white-space:nowrap"
    else:
        folding = "overflow-wrap:break-word"
        if column.widest > _WORDS_STAY_WHOLE:
            folding = f"overflow-wrap:anywhere;min-width:{2 * column.narrow}ch"
    return f'"text-align:left;vertical-align:top;{folding}"'


def _escaped(value: str) -> str:
    return html_escapes.escape(value, quote=True)
