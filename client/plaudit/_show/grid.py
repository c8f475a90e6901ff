"""What is shown as a table, as plain text in columns; how it is drawn is in `table` and `html`.

What users wrote is shown as text and never obeyed: here control characters become visible and harmless.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

# What our own tables hold beyond ASCII, in ASCII.
_PLAIN: Final = str.maketrans({"█": "#", "…": "...", "–": "-"})


class Column(NamedTuple):
    """A column: its heading, and in cells of a terminal how wide it may get, and how narrow without folding ids."""

    heading: str
    widest: int
    narrow: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns, rows of texts, and a line below them, which may be empty."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    caption: str = ""


FIELD_COLUMNS: Final = (Column("Field", 25, 25), Column("Value", 120, 16))
"""The columns of a table that shows the fields of one thing, a row for each."""

_FIELD_CHARACTERS: Final = 2_000


def field_row(name: str, value: Any) -> list[str]:
    """A row of such a table: texts as they are, lists and mappings as JSON."""
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return [name, cell(str(value), _FIELD_CHARACTERS)]


def cell(text: str, characters: int) -> str:
    """A text for one cell: harmless, and no longer than this."""
    return visible(text if len(text) <= characters else f"{text[: characters - 1]}…")


def visible(text: str) -> str:
    """Text with its control characters, line ends and changes of direction made visible and harmless."""
    return text if text.isprintable() else "".join(_visible_character(character) for character in text)


def shown_time(time: datetime) -> str:
    """A time in UTC for one cell, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ")


def is_unicode(encoding: str) -> bool:
    """Whether an encoding has every character."""
    return encoding.lower().startswith("utf")


def writable(text: str, encoding: str) -> str:
    """Text that can be written in an encoding: what it lacks is written as an escape, as `\\u2192`."""
    if is_unicode(encoding) or text.isascii():
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


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
