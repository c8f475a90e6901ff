"""The forms of an export's file: lines of JSON, CSV, Parquet; each writes messages to an open binary file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from plaudit import v1
from plaudit._core.lines import line_of, no_formula, time_text
from plaudit._core.model import FIELDS, Feedback
from plaudit._core.paths import found_at, segments
from plaudit._frames.columns import Column, Kind

if TYPE_CHECKING:
    import pyarrow

FORMS: Final = ("jsonl", "csv", "parquet")
"""The forms, which are also the ends of files' names."""
_ROW_GROUP: Final = 50_000
_BATCH: Final = 5_000
_EXTRACTED: Final[dict[str, Kind]] = {"double": "number", "int": "integer", "text": "text", "bool": "boolean"}


class Form(Protocol):
    """What writes records in one form."""

    def add(self, message: v1.Feedback) -> None:
        """Write a record."""

    def close(self) -> None:
        """Write what is left; the file itself stays open."""


class Lines:
    """A line of JSON for each record: nothing is lost, and `import` reads it."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out

    def add(self, message: v1.Feedback) -> None:
        """Write a record."""
        self._out.write(line_of(message).encode() + b"\n")

    def close(self) -> None:
        """There is nothing left."""


class Csv:
    """A row for each record, the payload as JSON text; null is empty, and so is an empty text.

    With `excel`, what a spreadsheet would take for a formula has an apostrophe before it.
    """

    def __init__(self, out: IO[bytes], *, excel: bool) -> None:
        self._out = out
        self._excel = excel
        out.write((("\ufeff" if excel else "") + ",".join(FIELDS) + "\r\n").encode())

    def add(self, message: v1.Feedback) -> None:
        """Write a record."""
        row = _EMPTY.copy()
        for field, value in message.ListFields():
            place, write, is_free = _CELLS[field.number]
            text = write(value)
            row[place] = _quoted(no_formula(text) if self._excel else text) if is_free else text
        self._out.write((",".join(row) + "\r\n").encode())

    def close(self) -> None:
        """There is nothing left."""


class Parquet:
    """A table with the columns of `plaudit.frames.schema`, in row groups of 50,000 records."""

    def __init__(self, out: IO[bytes], extract: Sequence[str] = ()) -> None:
        """`extract` are paths in the payload with a type, as `payload.score:double`, that become columns."""
        from plaudit.frames import schema

        self._extracted = [_Extracted(text) for text in extract]
        self._schema = schema([each.column for each in self._extracted])
        from pyarrow import parquet

        self._writer = parquet.ParquetWriter(out, self._schema, compression="zstd")
        self._batch: list[Feedback] = []
        self._tables: list[pyarrow.Table] = []

    def add(self, message: v1.Feedback) -> None:
        """Take in a record."""
        self._batch.append(Feedback(message))
        if len(self._batch) == _BATCH:
            self._make_table()
            if len(self._tables) * _BATCH >= _ROW_GROUP:
                self._write()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._make_table()
        self._write()
        self._writer.close()

    def _make_table(self) -> None:
        import pyarrow

        from plaudit.frames import to_arrow

        if not self._batch:
            return
        table = to_arrow(self._batch)
        for each in self._extracted:
            field = self._schema.field(each.column.name)
            values = pyarrow.array([each.value(record) for record in self._batch], field.type)
            table = table.append_column(field, values)
        self._tables.append(table)
        self._batch = []

    def _write(self) -> None:
        import pyarrow

        if self._tables:
            table = pyarrow.concat_tables(self._tables).unify_dictionaries()
            self._writer.write_table(table, row_group_size=_ROW_GROUP)
            self._tables = []


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


def form_of(name: str, out: IO[bytes], *, excel: bool = False, extract: Sequence[str] = ()) -> Form:
    """What writes a form to a file. Raises ValueError for an unknown form and for options that it does not have."""
    if excel and name != "csv":
        raise ValueError("excel is an option of csv")
    if extract and name != "parquet":
        raise ValueError("extract is an option of parquet")
    match name:
        case "jsonl":
            return Lines(out)
        case "csv":
            return Csv(out, excel=excel)
        case "parquet":
            return Parquet(out, extract)
        case _:
            raise ValueError(f"there is no form {name!r}: {', '.join(FORMS)}")


def _cells() -> Mapping[int, tuple[int, Callable[[Any], str], bool]]:
    """By the number of a field: its column, what writes its value, and whether it may be any text."""
    places = {name: place for place, name in enumerate(FIELDS)}
    found: dict[int, tuple[int, Callable[[Any], str], bool]] = {}
    for field in v1.Feedback.DESCRIPTOR.fields:
        name = "payload" if field.name == "payload_json" else field.name
        write: Callable[[Any], str]
        if name == "span_status_code":
            write = _span_status
        elif name in ("created_at", "updated_at"):
            write = time_text
        elif name.startswith("scorer_") and name != "scorer_trace_id":
            write = _json
        else:
            write = str
        is_free = name not in ("id", "span_status_code", "created_at", "updated_at", "version", "revision")
        found[field.number] = (places[name], write, is_free)
    return found


def _span_status(number: int) -> str:
    return Feedback(v1.Feedback(span_status_code=number)).span_status_code  # type: ignore[arg-type]


def _json(value: Any) -> str:
    made = dict(value) if hasattr(value, "items") else list(value)
    return json.dumps(made, ensure_ascii=False, sort_keys=True)


_CELLS: Final = _cells()
_EMPTY: Final = ["UNSET" if name == "span_status_code" else "" for name in FIELDS]


def _quoted(text: str) -> str:
    """A cell by RFC 4180: between quotes where it holds what ends a cell."""
    if '"' in text:
        return f'"{text.replace(chr(34), chr(34) * 2)}"'
    return f'"{text}"' if "," in text or "\n" in text or "\r" in text else text
