"""The form of an export's file that is a table: Parquet, which is written at the end, out of pages by column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from plaudit import v1
from plaudit._core.changes import Tombstone
from plaudit._core.model import Feedback
from plaudit._core.paths import found_at, segments
from plaudit._export.forms import Form
from plaudit._export.pages import Page, pieces, settled, write_parquet
from plaudit._export.snapshot import Redo
from plaudit._frames.arrow import check_installed
from plaudit._frames.columns import record_columns, record_values
from plaudit._frames.kinds import Column, Kind

_EXTRACTED: Final[dict[str, Kind]] = {"double": "number", "int": "integer", "text": "text", "bool": "boolean"}

_PLAIN: Final[Mapping[Kind, Callable[..., Any]]] = {"texts": list, "text map": dict, "number map": dict}


class Parquet(Form):
    """A table with the columns of `plaudit.frames.schema`.

    In the part is each page with its values by column: nothing is read twice from messages.
    """

    is_file = False

    def __init__(self, extract: Sequence[str] = ()) -> None:
        """`extract` are paths in the payload with a type, as `payload.score:double`, that become columns.

        Raises ImportError without pyarrow, which is imported only when the file is written.
        """
        check_installed("a Parquet file")
        self._extracted = [_Extracted(text) for text in extract]
        self.columns = [*record_columns(), *(each.column for each in self._extracted)]

    def packed(self, page: Sequence[v1.Feedback]) -> bytes:
        """A page of values by column."""
        return self._page(page).piece() if page else b""

    def pieces(self, part: IO[bytes]) -> Iterator[bytes]:
        """The whole pages."""
        return pieces(part)

    def count(self, piece: bytes) -> int:
        """The rows of a page."""
        return Page.of_piece(piece).rows

    def last(self, piece: bytes) -> v1.Feedback:
        """The id and the time of creation of the last row."""
        page = Page.of_piece(piece)
        message = v1.Feedback(id=page.column("id")[-1])
        message.created_at.FromMicroseconds(page.column("created_at")[-1])
        return message

    def write(self, part: IO[bytes], changed: Redo, out: IO[bytes]) -> int:
        """Write the file."""
        pages = map(Page.of_piece, self.pieces(part))
        return write_parquet(out, self.columns, settled(pages, changed, self._page_of))

    def keep(self, changed: Redo, path: Path) -> None:
        """Write what changed to a file, for a process of its own that writes the table; see `finish`."""
        with path.open("wb") as file:
            for id, now in changed.items():
                file.write((self._page_of(now) or Page(0, {"id": [id]})).piece())

    def _page_of(self, now: Feedback | Tombstone | None) -> Page | None:
        """The page of what became of a record; None of one that is not in the file any more."""
        return self._page([now._message]) if isinstance(now, Feedback) else None

    def _page(self, messages: Sequence[v1.Feedback]) -> Page:
        values = dict(record_values(messages))
        for column in self.columns:
            plain = _PLAIN.get(column.kind)
            if plain is not None:
                held = values[column.name]
                # Most have none, and nothing is made of each.
                values[column.name] = list(map(plain, held)) if any(held) else [plain()] * len(held)
        if self._extracted:
            records = [Feedback(message) for message in messages]
            values |= {each.column.name: [each.value(record) for record in records] for each in self._extracted}
        return Page.of_values(len(messages), values)


class _Extracted:
    """A path in the payload that becomes a column of a type; what is not of the type becomes null."""

    def __init__(self, text: str) -> None:
        path, _, kind = text.rpartition(":")
        if not path.startswith("payload.") or kind not in _EXTRACTED:
            raise ValueError(f"extract is written as payload.score:double (or int, text, bool), not {text!r}")
        self.column = Column(path, _EXTRACTED[kind])
        self._type = kind
        self._keys = segments(path)

    def value(self, record: Feedback) -> Any:
        """The value of a record."""
        value = found_at(record.payload, self._keys)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        match self._type:
            case "double":
                return float(value) if is_number else None
            case "int":
                return int(value) if is_number and value == int(value) and -(2**63) <= value < 2**63 else None
            case "text":
                return value if isinstance(value, str) else None
            case _:
                return value if isinstance(value, bool) else None
