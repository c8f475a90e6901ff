"""Rows of a Parquet file on their way to an import: read by a process that has ended before gRPC is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from plaudit._cli import process


@contextmanager
def unpacked(path: str) -> Iterator[None]:
    """Within this, a Parquet file is read from a temporary file of its rows, if this process is the command's own.

    pyarrow and gRPC together would take twice the memory.
    """
    if not (process.is_own() and path.lower().endswith(".parquet") and Path(path).is_file()):
        yield
        return
    from plaudit.importers import tables

    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows")
        # What has failed there fails here once more, where it is reported.
        if process.run("unpacking", path, str(rows)):
            with tables.read_from(path, rows):
                yield
        else:
            yield


def main(arguments: Sequence[str]) -> NoReturn:
    """Write the rows of one file to another, and exit."""
    process.own()
    process.spare_memory()
    from plaudit.importers import UnusableError, tables

    path, rows = arguments
    try:
        tables.unpack(path, Path(rows))
    except (UnusableError, OSError, KeyboardInterrupt):
        raise SystemExit(1) from None
    raise SystemExit(0)
