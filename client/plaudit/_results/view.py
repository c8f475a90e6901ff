"""What a collection of records shows: a row for each of the first 200, or the fields of the one that there is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from plaudit._core.feedback_types import NOTE, REACTION
from plaudit._core.model import FIELDS, Feedback
from plaudit._show.grid import Column, Grid, cell

SHOWN_ROWS: Final = 200
"""The rows of a table, at most."""

_CELL_CHARACTERS: Final = 200
_FIELD_CHARACTERS: Final = 2_000

_REF: Final = Column("Ref", 64, 16)
_COLUMNS: Final = (
    Column("Type", 40, 8),
    Column("Feedback", 100, 16),
    Column("Created", 20, 20),
    Column("ID", 36, 36),
    Column("Creator", 48, 8),
)
_FIELD_COLUMNS: Final = (Column("Field", 25, 25), Column("Value", 120, 16))


def grid_of(feedbacks: Sequence[Feedback], show_refs: bool, total: int | None = None) -> Grid:
    """The records as columns of text, with the number of those, of `total`, that are left out.

    `show_refs` adds the ref of each.
    """
    if len(feedbacks) == 1:
        return Grid(_FIELD_COLUMNS, _fields_of(feedbacks[0]))
    columns = (_REF, *_COLUMNS) if show_refs else _COLUMNS
    rows = [_row_of(feedback, show_refs) for feedback in feedbacks[:SHOWN_ROWS]]
    hidden = (len(feedbacks) if total is None else total) - len(rows)
    return Grid(columns, rows, f"… and {hidden} more, not shown here" if hidden else "")


def _row_of(feedback: Feedback, show_ref: bool) -> list[str]:
    cells = [
        {REACTION: "reaction", NOTE: "note"}.get(feedback.feedback_type, feedback.feedback_type),
        _content_of(feedback),
        feedback.created_at.strftime("%Y-%m-%d %H:%M:%SZ"),
        feedback.id,
        f"{feedback.creator} ({feedback.user_id})" if feedback.creator else feedback.user_id,
    ]
    return [cell(text, _CELL_CHARACTERS) for text in ([feedback.ref, *cells] if show_ref else cells)]


def _content_of(feedback: Feedback) -> str:
    key = {REACTION: "emoji", NOTE: "note"}.get(feedback.feedback_type)
    content = None if key is None else feedback.payload.get(key)
    return content if isinstance(content, str) else feedback.payload_json


def _fields_of(feedback: Feedback) -> list[list[str]]:
    """Name and value of each field that is set."""
    rows = []
    for name in FIELDS:
        value = feedback.payload_json if name == "payload" else getattr(feedback, name)
        if value is None or value in ("", [], {}):
            continue
        rows.append([name, cell(_text_of(value), _FIELD_CHARACTERS)])
    return rows


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
