"""The form of an export's file that is a table: Parquet, which is written at the end, out of tables of Arrow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

from plaudit import v1
from plaudit._core.model import Feedback
from plaudit._core.paths import found_at, segments
from plaudit._export.forms import Form, new_in
from plaudit._export.snapshot import Redo
from plaudit._frames.arrow import imported, table
from plaudit._frames.columns import Column, Kind, record_columns, record_values

if TYPE_CHECKING:
    import pyarrow

_LENGTH_BYTES: Final = 4
_ROW_GROUP: Final = 50_000
_EXTRACTED: Final[dict[str, Kind]] = {"double": "number", "int": "integer", "text": "text", "bool": "boolean"}


class Parquet(Form):
    """A table with the columns of `plaudit.frames.schema`, in row groups of 50,000 records.

    In the part is a stream of Arrow for each page, after its length: nothing is read twice from messages.
    """

    is_file = False

    def __init__(self, extract: Sequence[str] = ()) -> None:
        """`extract` are paths in the payload with a type, as `payload.score:double`, that become columns.

        Raises ImportError without pyarrow.
        """
        self._arrow = imported("a Parquet file")
        self._extracted = [_Extracted(text) for text in extract]
        self._columns = [*record_columns(), *(each.column for each in self._extracted)]

    def packed(self, page: Sequence[v1.Feedback]) -> bytes:
        """A stream of Arrow after its length."""
        made = self._table(page)
        with self._arrow.BufferOutputStream() as out:
            with self._arrow.ipc.new_stream(out, made.schema) as stream:
                stream.write_table(made)
            body: bytes = out.getvalue().to_pybytes()
        return len(body).to_bytes(_LENGTH_BYTES, "little") + body

    def pieces(self, part: IO[bytes]) -> Iterator[bytes]:
        """The streams that are whole."""
        left = os.fstat(part.fileno()).st_size - part.tell()
        while len(head := part.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
            length = int.from_bytes(head, "little")
            left -= _LENGTH_BYTES + length
            if left < 0:
                return
            yield head + part.read(length)

    def count(self, piece: bytes) -> int:
        """The rows of a table."""
        return int(self._read(piece).num_rows)

    def last(self, piece: bytes) -> v1.Feedback:
        """The id and the time of creation of the last row."""
        last = self._read(piece).select(["id", "created_at"]).slice(self.count(piece) - 1).to_pylist()[0]
        message = v1.Feedback(id=last["id"])
        message.created_at.FromDatetime(last["created_at"])
        return message

    def write(self, part: IO[bytes], changed: Redo, out: IO[bytes]) -> int:
        """Write the file."""
        from pyarrow import parquet

        rows = 0
        waiting = self._table([])
        with parquet.ParquetWriter(out, waiting.schema, compression="zstd") as writer:

            def write(group: pyarrow.Table) -> None:
                # Only what one group has is in the dictionaries, however many texts there are in all.
                writer.write_table(group.unify_dictionaries(), row_group_size=_ROW_GROUP)

            for made in self._all(part, changed):
                rows += made.num_rows
                waiting = self._arrow.concat_tables([waiting, made])
                while waiting.num_rows >= _ROW_GROUP:
                    write(waiting.slice(0, _ROW_GROUP))
                    waiting = waiting.slice(_ROW_GROUP)
            if waiting.num_rows:
                write(waiting)
        return rows

    def _all(self, part: IO[bytes], changed: Redo) -> Iterator[pyarrow.Table]:
        """The tables of the part with their records as they are after what changed, and one of the new records."""
        seen: set[str] = set()
        for piece in self.pieces(part):
            yield self._settled(self._read(piece), changed, seen)
        yield self._table(new_in(changed, seen))

    def _table(self, page: Sequence[v1.Feedback]) -> pyarrow.Table:
        values = dict(record_values(page))
        if self._extracted:
            records = [Feedback(message) for message in page]
            values |= {each.column.name: [each.value(record) for record in records] for each in self._extracted}
        return table(self._columns, values, "a Parquet file")

    def _read(self, piece: bytes) -> pyarrow.Table:
        return self._arrow.ipc.open_stream(self._arrow.py_buffer(piece).slice(_LENGTH_BYTES)).read_all()

    def _settled(self, read: pyarrow.Table, changed: Redo, seen: set[str]) -> pyarrow.Table:
        """A table with its records as they are after what changed."""
        if not changed:
            return read
        parts: list[pyarrow.Table] = []
        begin = 0
        for place, id in enumerate(read.column("id").to_pylist()):
            if id in changed:
                seen.add(id)
                now = changed[id]
                parts.append(read.slice(begin, place - begin))
                if isinstance(now, Feedback):
                    parts.append(self._table([now._message]))
                begin = place + 1
        return self._arrow.concat_tables([*parts, read.slice(begin)]) if parts else read


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
