"""Rows of CSV and Parquet files, one at a time, as mappings of columns to values."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from plaudit.importers import UnusableError
from plaudit.importers.documents import Row
from plaudit.importers.pieces import LINE_BYTES, inputs

TABLES: Final = (".csv", ".tsv", ".parquet")
_ROWS_AT_ONCE: Final = 1_000


def is_table(path: str) -> bool:
    """Whether a path's name says that it is a CSV or Parquet file."""
    return Path(path.removesuffix(".gz").removesuffix(".zst")).suffix.lower() in TABLES


def table(path: str) -> Iterator[Row]:
    """The rows of a CSV, TSV or Parquet file; in a CSV every value is a text. Raises OSError, UnusableError."""
    if path.lower().endswith(".parquet"):
        yield from _parquet(path)
        return
    delimiter = "\t" if path.removesuffix(".gz").lower().endswith(".tsv") else ","
    before = csv.field_size_limit(LINE_BYTES)
    try:
        for prefix, pieces in inputs(path):
            yield from _csv(_text(pieces), prefix, delimiter)
    finally:
        csv.field_size_limit(before)


def _csv(lines: Iterator[str], prefix: str, delimiter: str) -> Iterator[Row]:
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    number = 0
    try:
        for number, values in enumerate(reader, 1):  # it is in the place of an error too
            place = f"{prefix}row {number}"
            if None in values or None in values.values():
                yield Row(place, None, f"has another number of columns than the head, which has {len(values) - 1}")
            else:
                yield Row(place, values)
    except (csv.Error, UnicodeDecodeError) as error:
        yield Row(f"{prefix}row {number + 1}", None, f"cannot be read, nor what comes after it: {error}")


def _text(pieces: Iterator[bytes]) -> Iterator[str]:
    """Lines with their ends, which csv needs."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + decode(piece)).split("\n")
        for line in whole:
            yield line + "\n"
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
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", value)
    except pyarrow.ArrowException as error:
        yield Row(f"row {number + 1}", None, f"cannot be read, nor what comes after it: {error}")
