"""Pages of records by column, as they stand in the part of a table's file, and that file; no messages, no gRPC.

So the file can be written by a process that holds nothing but the library for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Self, TypeVar

from plaudit._frames.arrow import imported, schema_of, table
from plaudit._frames.kinds import Column

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T")

_ROW_GROUP: Final = 50_000
_ROW_GROUP_BYTES: Final = 4 * 1024 * 1024
"""The most that the tables of a row group hold before they are compressed: long texts make groups of fewer rows."""

_PAGE: Final = 1_000
_PAGE_CHARACTERS: Final = 1024 * 1024

_PAYLOAD: Final = "payload"
_BETWEEN: Final = "\0"
"""Between payloads: no text of JSON has it."""
_HEAD_BYTES: Final = 16

_encoded: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Page:
    """Some records: by each column's name the values of all of them, or the one that all have."""

    rows: int
    values: Mapping[str, list[Any]]
    """As many as there are rows, or one."""

    @classmethod
    def of_values(cls, rows: int, values: Mapping[str, list[Any]]) -> Self:
        """A page of whole columns."""
        return cls(rows, {name: held[:1] if _is_same(held) else held for name, held in values.items()})

    @classmethod
    def of_piece(cls, piece: bytes) -> Self:
        """The page that is in a piece."""
        middle = _HEAD_BYTES + int(piece[: _HEAD_BYTES // 2], 16)
        rows, values = json.loads(piece[_HEAD_BYTES:middle])
        if middle < len(piece):
            values[_PAYLOAD] = piece[middle:].decode().split(_BETWEEN)
        return cls(rows, values)

    def piece(self) -> bytes:
        """The page as bytes that say how many they are; payloads as they are, since JSON would escape each quote."""
        values = dict(self.values)
        payloads = _BETWEEN.join(values.pop(_PAYLOAD, ())).encode()
        rest = _encoded([self.rows, values]).encode()
        return b"%08x%08x%b%b" % (len(rest), len(payloads), rest, payloads)

    def column(self, name: str) -> list[Any]:
        """The value of each row; not to be changed."""
        held = self.values[name]
        return held * self.rows if len(held) < self.rows else held

    def only(self, places: Sequence[int]) -> Page:
        """The page of some of the rows."""
        columns = {
            name: held if len(held) < self.rows else [held[place] for place in places]
            for name, held in self.values.items()
        }
        return Page(len(places), columns)


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The whole pieces of a file, from where it is."""
    while len(head := file.read(_HEAD_BYTES)) == _HEAD_BYTES:
        length = int(head[: _HEAD_BYTES // 2], 16) + int(head[_HEAD_BYTES // 2 :], 16)
        body = file.read(length)
        if len(body) < length:
            return
        yield head + body


def settled(pages: Iterable[Page], changed: Mapping[str, T], page_of: Callable[[T], Page | None]) -> Iterator[Page]:
    """Pages with their records as they are after what changed, then those that were new, by time of creation and id.

    `changed` has by id what changed while the pages were read, and `page_of` makes a page of it; None of a record that
    is not in the file any more.
    """
    if not changed:
        yield from pages
        return
    seen = set()
    for page in pages:
        ids = page.column("id")
        begin = 0
        if any(map(changed.__contains__, ids)):
            for place, id in enumerate(ids):
                if id in changed:
                    seen.add(id)
                    yield page.only(range(begin, place))
                    made = page_of(changed[id])
                    if made is not None:
                        yield made
                    begin = place + 1
        yield page.only(range(begin, page.rows)) if begin else page
    places = []
    for id in changed:
        made = None if id in seen else page_of(changed[id])
        if made is not None:
            places.append((made.column("created_at")[0], id))
    for _, id in sorted(places):
        made = page_of(changed[id])  # again: the pages of many new records would take much memory if they were kept
        if made is not None:
            yield made


def write_parquet(out: IO[bytes], columns: Sequence[Column], pages: Iterable[Page]) -> int:
    """Write a file of Parquet; returns how many rows it has."""
    arrow = imported("a Parquet file")
    from pyarrow import parquet

    rows = 0
    with parquet.ParquetWriter(out, schema_of(columns), compression="zstd") as writer:
        for group in _groups(arrow, columns, pages):
            # Only what one group has is in the dictionaries, however many texts there are in all.
            made = arrow.concat_tables(group).unify_dictionaries()
            rows += made.num_rows
            writer.write_table(made, row_group_size=made.num_rows)
            arrow.default_memory_pool().release_unused()
    return rows


def _groups(arrow: Any, columns: Sequence[Column], pages: Iterable[Page]) -> Iterator[list[pyarrow.Table]]:
    """The tables of each row group."""
    group: list[pyarrow.Table] = []
    rows = size = 0
    for page in _joined(pages):
        made = table(columns, {column.name: page.column(column.name) for column in columns}, "a Parquet file")
        if group and (rows + made.num_rows > _ROW_GROUP or size + made.nbytes > _ROW_GROUP_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(made)
        rows += made.num_rows
        size += made.nbytes
    if group:
        yield group


def _joined(pages: Iterable[Page]) -> Iterator[Page]:
    """Pages of as many rows as are worth a table: many small ones take much more memory than one."""
    waiting: list[Page] = []
    rows = size = 0
    for page in pages:
        if not page.rows:
            continue
        added = sum(map(len, page.column(_PAYLOAD)))
        if waiting and (rows + page.rows > _PAGE or size + added > _PAGE_CHARACTERS):
            yield _one(waiting)
            waiting, rows, size = [], 0, 0
        waiting.append(page)
        rows += page.rows
        size += added
    if waiting:
        yield _one(waiting)


def _one(pages: Sequence[Page]) -> Page:
    """The rows of several pages in one."""
    if len(pages) == 1:
        return pages[0]
    values = {name: [value for page in pages for value in page.column(name)] for name in pages[0].values}
    return Page(sum(page.rows for page in pages), values)


def _is_same(held: list[Any]) -> bool:
    """Whether all rows have the same, as in most columns of a page."""
    return len(held) > 1 and held[0] == held[-1] and held.count(held[0]) == len(held)
