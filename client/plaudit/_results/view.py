"""What a collection of records shows: a row for each of the first 200, or the fields of the one that there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plaudit._core.feedback_types import NOTE, REACTION
from plaudit._core.model import Feedback
from plaudit._show.grid import Column, Grid, cell, shown_time

SHOWN_ROWS: Final = 200
"""The rows of a table, at most."""

_CELL_CHARACTERS: Final = 200

_REF: Final = Column("Ref", 64, 16)
_TYPE: Final = Column("Type", 40, 8)
_FEEDBACK: Final = Column("Feedback", 100, 16)
_CREATOR: Final = Column("Creator", 48, 8)
_COLUMNS: Final = (_TYPE, _FEEDBACK, Column("Created", 20, 20), Column("ID", 36, 36), _CREATOR)
_VERSION_COLUMNS: Final = (Column("Version", 10, 7), _TYPE, _FEEDBACK, Column("Made", 20, 20), _CREATOR)


def grid_of(feedbacks: Sequence[Feedback], show_refs: bool, total: int | None = None) -> Grid:
    """The records as columns of text, with the number of those, of `total`, that are left out.

    `show_refs` adds the ref of each.
    """
    return feedbacks[0]._grid() if len(feedbacks) == 1 else table_grid(feedbacks, show_refs, total)


def table_grid(feedbacks: Sequence[Feedback], show_refs: bool, total: int | None = None) -> Grid:
    """As `grid_of`, with a row for each record also when there is one."""
    columns = (_REF, *_COLUMNS) if show_refs else _COLUMNS
    rows = [_row_of(feedback, show_refs) for feedback in feedbacks[:SHOWN_ROWS]]
    hidden = (len(feedbacks) if total is None else total) - len(rows)
    return Grid(columns, rows, f"… and {hidden} more, not shown here" if hidden else "")


def versions_grid(versions: Sequence[Feedback]) -> Grid:
    """The versions of one record, a row for each of the last ones: what it was, and who made it, when."""
    rows = [
        [
            str(version.version),
            *(cell(text, _CELL_CHARACTERS) for text in (_type_of(version), _content_of(version))),
            shown_time(version.updated_at),
            cell(_creator_of(version), _CELL_CHARACTERS),
        ]
        for version in versions[-SHOWN_ROWS:]
    ]
    hidden = len(versions) - len(rows)
    caption = f"… and {hidden} older versions, not shown here" if hidden else ""
    return Grid(_VERSION_COLUMNS, rows, caption)


def _row_of(feedback: Feedback, show_ref: bool) -> list[str]:
    cells = [
        _type_of(feedback),
        _content_of(feedback),
        shown_time(feedback.created_at),
        feedback.id,
        _creator_of(feedback),
    ]
    return [cell(text, _CELL_CHARACTERS) for text in ([feedback.ref, *cells] if show_ref else cells)]


def _type_of(feedback: Feedback) -> str:
    return {REACTION: "reaction", NOTE: "note"}.get(feedback.feedback_type, feedback.feedback_type)


def _creator_of(feedback: Feedback) -> str:
    return f"{feedback.creator} ({feedback.user_id})" if feedback.creator else feedback.user_id


def _content_of(feedback: Feedback) -> str:
    key = {REACTION: "emoji", NOTE: "note"}.get(feedback.feedback_type)
    content = None if key is None else feedback.payload.get(key)
    return content if isinstance(content, str) else feedback.payload_json
