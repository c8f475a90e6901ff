"""Rows of CSV and Parquet files, one at a time, as mappings of columns to values."""

from __future__ import annotations

import codecs
import csv
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from plaudit.importers import UnusableError
from plaudit.importers.documents import Row
from plaudit.importers.pieces import LINE_BYTES, MOST_TIMES, bound_of, inputs

TABLES: Final = (".csv", ".tsv", ".parquet")
_ROWS_AT_ONCE: Final = 100
_BUFFER: Final = 64 * 1024


_unpacked_rows: Final[dict[str, Path]] = {}


@contextmanager
def read_from(path: str, rows: Path) -> Iterator[None]:
    """Within this, the rows of a Parquet file are read from a file that `unpack` has made of it."""
    _unpacked_rows[path] = rows
    try:
        yield
    finally:
        del _unpacked_rows[path]


def unpack(path: str, rows: Path) -> None:
    """Write the rows of a Parquet file so that they are read without pyarrow. Raises OSError, UnusableError.

    The file may be read by who has written it only: values keep their types, times and decimals too.
    """
    with rows.open("wb") as out:
        for row in _parquet(path):
            pickle.dump(tuple(row), out)


def _unpacked(rows: Path) -> Iterator[Row]:
    with rows.open("rb") as file:
        while file.peek(1):
            yield Row(*pickle.load(file))


def is_table(path: str) -> bool:
    """Whether a path's name says that it is a CSV or Parquet file."""
    return Path(path.removesuffix(".gz").removesuffix(".zst")).suffix.lower() in TABLES


def table(path: str) -> Iterator[Row]:
    """The rows of a CSV, TSV or Parquet file; in a CSV every value is a text. Raises OSError, UnusableError."""
    if path.lower().endswith(".parquet"):
        yield from _unpacked(_unpacked_rows[path]) if path in _unpacked_rows else _parquet(path)
        return
    delimiter = "\t" if path.removesuffix(".gz").lower().endswith(".tsv") else ","
    before = csv.field_size_limit(LINE_BYTES)
    try:
        for prefix, pieces in inputs(path):
            yield from _csv(_text(pieces), prefix, delimiter)
    finally:
        csv.field_size_limit(before)


def _csv(lines: Iterator[str], prefix: str, delimiter: str) -> Iterator[Row]:
    size = 0

    def measured() -> Iterator[str]:
        nonlocal size
        for line in lines:
            size += len(line)
            if size > LINE_BYTES:
                raise csv.Error(f"a row has more than {LINE_BYTES} characters")
            yield line

    reader = csv.DictReader(measured(), delimiter=delimiter, strict=True)
    number = 0
    try:
        for number, values in enumerate(reader, 1):  # it is in the place of an error too
            size = 0
            place = f"{prefix}row {number}"
            if None in values or None in values.values():
                yield Row(place, None, f"has another number of columns than the head, which has {len(values) - 1}")
            else:
                yield Row(place, values)
    except (csv.Error, UnicodeDecodeError) as error:
        yield Row(f"{prefix}row {number + 1}", None, f"cannot be read, nor what comes after it: {error}")


def _text(pieces: Iterator[bytes]) -> Iterator[str]:
    """Lines with their ends, which csv needs; one without an end for so long that no row has as much is cut."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + decode(piece)).split("\n")
        for line in whole:
            yield line + "\n"
        if len(rest) > LINE_BYTES:
            yield rest
            rest = ""
    rest += decode(b"", True)
    if rest:
        yield rest


def _parquet(path: str) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UnusableError("a Parquet file needs pyarrow: pip install plaudit[arrow]") from error
    import pyarrow

    number = 0
    try:
        # In pieces of pages: some writers make one group of all rows.
        with parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
            _check_size(path, file.metadata)
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False):
                is_long = batch.nbytes > LINE_BYTES
                for row in (batch.slice(at, 1) for at in range(batch.num_rows)) if is_long else [batch]:
                    if row.nbytes > LINE_BYTES:
                        number += 1
                        yield Row(f"row {number}", None, f"has more than {LINE_BYTES} bytes")
                        continue
                    for value in _values(row):
                        number += 1
                        yield Row(f"row {number}", value)
    except pyarrow.ArrowException as error:
        yield Row(f"row {number + 1}", None, f"cannot be read, nor what comes after it: {error}")


def _values(rows: Any) -> list[dict[str, Any]]:
    """Rows as mappings; times of more than microseconds, which Python has no type for, as texts."""
    import pyarrow

    try:
        values: list[dict[str, Any]] = rows.to_pylist()
    except ValueError:
        fields = [
            pyarrow.field(each.name, pyarrow.string()) if getattr(each.type, "unit", "") == "ns" else each
            for each in rows.schema
        ]
        values = rows.cast(pyarrow.schema(fields)).to_pylist()
    return values


def _check_size(path: str, metadata: Any) -> None:
    """Raise UnusableError for what is compressed beyond measure."""
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if size > bound_of(os.stat(path).st_size):
        raise UnusableError(f"the input is more than {MOST_TIMES} times its compressed size")
