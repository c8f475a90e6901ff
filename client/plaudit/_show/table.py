"""Feedback as tables: in a terminal, in a notebook, in pandas; nothing here asks a server.

What users wrote is shown as text and never obeyed: no markup of rich, no HTML, no control characters.
"""

from __future__ import annotations

import html as html_escapes
import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from plaudit._core.model import FIELDS, Feedback

if TYPE_CHECKING:
    import pandas
    from rich.table import Table

    from plaudit._results.feedbacks import Feedbacks

_SHOWN_ROWS: Final = 200
_CELL_CHARACTERS: Final = 200
_FIELD_CHARACTERS: Final = 2_000

# No column gets narrower than this, however narrow the terminal is.
_NARROWEST: Final = 8
_REACTION: Final = "wandb.reaction.1"
_NOTE: Final = "wandb.note.1"


class _Column(NamedTuple):
    """A column: its heading, how wide it may get, and how narrow before ids and times are folded too; in cells."""

    heading: str
    widest: int
    narrow: int


_WORDS_STAY_WHOLE: Final = 50

_REF: Final = _Column("Ref", 64, 16)
_COLUMNS: Final = (
    _Column("Type", 40, 8),
    _Column("Feedback", 100, 16),
    _Column("Created", 20, 20),
    _Column("ID", 36, 36),
    _Column("Creator", 48, 8),
)
_FIELD_COLUMNS: Final = (_Column("Field", 25, 25), _Column("Value", 120, 16))


def table(feedbacks: Feedbacks, width: int | None = None) -> Table:
    """The records as a table of rich: as wide as it needs to be, or at most `width` cells, longer text folded."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    columns, rows, caption = _contents(feedbacks)
    natural = [
        min(column.widest, max([cell_len(column.heading), *(cell_len(row[i]) for row in rows)]))
        for i, column in enumerate(columns)
    ]
    widths = natural if width is None else _fitted(natural, columns, width - _frame(columns))
    made = Table(caption=caption or None, caption_justify="left")
    for column, fitted in zip(columns, widths, strict=True):
        made.add_column(column.heading, width=fitted, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def text(feedbacks: Feedbacks) -> str:
    """The records as a plain text table; as wide as the terminal, or where there is none as it needs to be."""
    from rich.console import Console

    terminal = Console(file=sys.stdout)
    made = table(feedbacks, terminal.width if terminal.is_terminal else None)
    width = sum(column.width or 0 for column in made.columns) + _frame(made.columns)
    output = Console(file=io.StringIO(), color_system=None, force_terminal=False, width=width)
    with output.capture() as captured:
        output.print(made)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def _frame(columns: Sequence[object]) -> int:
    """Cells that are not the columns': a line on each side, and a blank on both sides of each text."""
    return 3 * len(columns) + 1


def _fitted(natural: Sequence[int], columns: Sequence[_Column], available: int) -> list[int]:
    """Column widths within `available` cells where possible: the widest gives first, ids and times give last."""
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


def html(feedbacks: Feedbacks) -> str:
    """The records as an HTML table."""
    columns, rows, caption = _contents(feedbacks)
    head = "".join(f'<th style="text-align:left">{_escaped(column.heading)}</th>' for column in columns)
    styles = [_cell_style(column) for column in columns]
    body = "".join(
        f"<tr>{''.join(map('<td style={}>{}</td>'.format, styles, map(_escaped, row)))}</tr>" for row in rows
    )
    shown_caption = f'<caption style="caption-side:bottom">{_escaped(caption)}</caption>' if caption else ""
    return f"<table>{shown_caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell_style(column: _Column) -> str:
    """Ids and times stay on one line, long columns fold anywhere, and in the others words stay whole."""
    if column.narrow == column.widest:
        folding = "white-space:nowrap"
    else:
        folding = "overflow-wrap:break-word"
        if column.widest > _WORDS_STAY_WHOLE:
            folding = f"overflow-wrap:anywhere;min-width:{2 * column.narrow}ch"
    return f'"text-align:left;vertical-align:top;{folding}"'


def dataframe(feedbacks: Iterable[Feedback]) -> pandas.DataFrame:
    """The records as a DataFrame. Raises ImportError, saying what to install, without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from error
    return pandas.DataFrame([feedback.to_dict() for feedback in feedbacks], columns=list(FIELDS))


def visible(value: str) -> str:
    """Text with its control characters, line ends and changes of direction made visible and harmless."""
    return value if value.isprintable() else "".join(_visible_character(character) for character in value)


def _visible_character(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures: ␊ for a line feed
    if code == 0x7F:
        return "␡"
    is_control = code < 0xA0 and code > 0x7F
    is_line_end = code in (0x2028, 0x2029)
    is_direction = code in (0x061C, 0x200E, 0x200F) or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    is_surrogate = 0xD800 <= code <= 0xDFFF
    if is_control or is_line_end or is_direction or is_surrogate:
        return f"\\u{code:04x}"
    return character  # also joiners and tags, which emoji are made of


def _contents(feedbacks: Feedbacks) -> tuple[Sequence[_Column], list[list[str]], str]:
    """Columns, rows of cells, and the line below: the one record's fields, or a row for each record."""
    if len(feedbacks) == 1:
        return _FIELD_COLUMNS, _fields_of(feedbacks[0]), ""
    columns = (_REF, *_COLUMNS) if feedbacks.show_refs else _COLUMNS
    rows = [_row_of(feedback, feedbacks.show_refs) for feedback in feedbacks[:_SHOWN_ROWS]]
    hidden = len(feedbacks) - len(rows)
    return columns, rows, f"… and {hidden} more, not shown here" if hidden else ""


def _row_of(feedback: Feedback, show_ref: bool) -> list[str]:
    cells = [
        _type_of(feedback),
        _content_of(feedback),
        _time_of(feedback),
        feedback.id,
        f"{feedback.creator} ({feedback.user_id})" if feedback.creator else feedback.user_id,
    ]
    return [_cell(cell) for cell in ([feedback.ref, *cells] if show_ref else cells)]


def _type_of(feedback: Feedback) -> str:
    return {_REACTION: "reaction", _NOTE: "note"}.get(feedback.feedback_type, feedback.feedback_type)


def _content_of(feedback: Feedback) -> str:
    key = {_REACTION: "emoji", _NOTE: "note"}.get(feedback.feedback_type)
    content = None if key is None else feedback.payload.get(key)
    return content if isinstance(content, str) else feedback.payload_json


def _time_of(feedback: Feedback) -> str:
    return feedback.created_at.strftime("%Y-%m-%d %H:%M:%SZ")


def _fields_of(feedback: Feedback) -> list[list[str]]:
    """Name and value of each field that is set."""
    rows = []
    for name in FIELDS:
        value = feedback.payload_json if name == "payload" else getattr(feedback, name)
        if value is None or value in ("", [], {}):
            continue
        rows.append([name, _cell(_shown(value), _FIELD_CHARACTERS)])
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _cell(value: str, characters: int = _CELL_CHARACTERS) -> str:
    return visible(value if len(value) <= characters else f"{value[: characters - 1]}…")


def _escaped(value: str) -> str:
    return html_escapes.escape(value, quote=True)
