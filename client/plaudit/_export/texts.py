"""The forms of an export's file that are texts: lines of JSON, and CSV; a record after the other, each with its end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Final

from plaudit import v1
from plaudit._core.fields import span_status_name
from plaudit._core.lines import lines_of, no_formula, record_of, time_text
from plaudit._core.model import FIELDS, Feedback
from plaudit._core.transposed import transposed
from plaudit._export.forms import Form, new_in
from plaudit._export.snapshot import Redo

_ID: Final = 36
_CELL: Final = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(?:,|\r\n)')


class TextForm(Form):
    """A record after the other; the id of each stands at a place that is always the same."""

    id_at = 0
    """Where in a record its id begins."""

    def count(self, piece: bytes) -> int:
        """A piece is a record."""
        return 1

    def write(self, part: IO[bytes], changed: Redo, out: IO[bytes]) -> int:
        """Write the file: what has not changed as it stands in the part."""
        out.write(self.head)
        rows = 0
        seen = set()
        for piece in self.pieces(part):
            id = piece[self.id_at : self.id_at + _ID].decode()
            if id not in changed:
                out.write(piece)
            else:
                seen.add(id)
                now = changed[id]
                if not isinstance(now, Feedback):
                    continue
                out.write(self.packed([now._message]))
            rows += 1
        new = new_in(changed, seen)
        out.write(self.packed(new))
        return rows + len(new)


class Lines(TextForm):
    """A line of JSON for each record: nothing is lost, and `import` reads it."""

    id_at = len('{"id":"')

    def packed(self, page: Sequence[v1.Feedback]) -> bytes:
        """Lines."""
        return lines_of(page).encode()

    def pieces(self, part: IO[bytes]) -> Iterator[bytes]:
        """The whole lines."""
        for line in part:
            if line.endswith(b"\n"):
                yield line

    def last(self, piece: bytes) -> v1.Feedback:
        """The record of a line."""
        return record_of(piece.decode())._message


class Csv(TextForm):
    """A row for each record, the payload as JSON text; null is empty, and so is an empty text.

    With `excel`, what a spreadsheet would take for a formula has an apostrophe before it.
    """

    def __init__(self, *, excel: bool = False) -> None:
        self._excel = excel
        self.head = (("\ufeff" if excel else "") + ",".join(FIELDS) + "\r\n").encode()

    def packed(self, page: Sequence[v1.Feedback]) -> bytes:
        """Rows."""
        form, columns = _EMPTY.copy(), {}
        for name, values in transposed(page).items():
            cell = _CELLS[name]
            texts = [cell.empty if value is None else cell.write(value) for value in values]
            form[cell.place] = "%s"
            columns[cell.place] = self._quoted(texts) if cell.is_free else texts
        row = ",".join(form) + "\r\n"
        rows = zip(*[columns[place] for place in sorted(columns)], strict=True)
        return "".join([row % cells for cells in rows]).encode()

    def _quoted(self, texts: list[str]) -> list[str]:
        """Cells by RFC 4180: between quotes where they hold what ends a cell."""
        if self._excel:
            texts = [no_formula(text) for text in texts]
        # One text is searched faster than many; most columns have nothing to quote.
        return [_quoted(text) for text in texts] if _is_special("".join(texts)) else texts

    def pieces(self, part: IO[bytes]) -> Iterator[bytes]:
        """The whole rows: a row has an even number of quotes."""
        row, is_quoted = b"", False
        for line in part:
            is_quoted ^= line.count(b'"') % 2 == 1
            row += line
            if not is_quoted and line.endswith(b"\r\n"):
                yield row
                row = b""

    def last(self, piece: bytes) -> v1.Feedback:
        """The id and the time of creation of a row."""
        # Not by the module csv, which has a limit for the length of cells that is the same for the whole process.
        cells = [found[1] or found[2] or "" for found in _CELL.finditer(piece.decode())]
        row = dict(zip(FIELDS, cells, strict=True))
        message = v1.Feedback(id=row["id"])
        message.created_at.FromDatetime(datetime.fromisoformat(row["created_at"]))
        return message


@dataclass(frozen=True, slots=True)
class _Cell:
    """How the values of a field stand in a row."""

    place: int
    write: Callable[[Any], str]
    empty: str
    """What a record has that has no value."""
    is_free: bool
    """Whether it may be any text."""


def _cells() -> Mapping[str, _Cell]:
    """By the names of a message's fields."""
    places = {name: place for place, name in enumerate(FIELDS)}
    found = {}
    for field in v1.Feedback.DESCRIPTOR.fields:
        name = "payload" if field.name == "payload_json" else field.name
        write: Callable[[Any], str] = str
        if name == "span_status_code":
            write = span_status_name
        elif name in ("created_at", "updated_at"):
            write = time_text
        elif name.startswith("scorer_") and name != "scorer_trace_id":
            write = _json
        is_free = name not in ("id", "span_status_code", "created_at", "updated_at", "version", "revision")
        found[field.name] = _Cell(places[name], write, _EMPTY[places[name]], is_free)
    return found


def _json(value: Any) -> str:
    made = dict(value) if hasattr(value, "items") else list(value)
    return json.dumps(made, ensure_ascii=False, sort_keys=True)


_EMPTY: Final = ["UNSET" if name == "span_status_code" else "" for name in FIELDS]
_CELLS: Final = _cells()


def _is_special(text: str) -> bool:
    return '"' in text or "," in text or "\n" in text or "\r" in text


def _quoted(text: str) -> str:
    if '"' in text:
        return f'"{text.replace(chr(34), chr(34) * 2)}"'
    return f'"{text}"' if _is_special(text) else text
