"""How many bytes a row takes in a store, and how many of these are indexes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import apsw
import psycopg

from tests.growth.stores import SQLITE, Stores

HEAD: Final = "| engine | rows | bytes a row | of it indexes | each index |\n|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Size:
    """What the records of a store take: the bytes of the table, and those of each index by its name."""

    engine: str
    rows: int
    table: int
    indexes: dict[str, int]

    @property
    def share(self) -> float:
        """The part of the indexes in the whole."""
        indexes = sum(self.indexes.values())
        return indexes / (indexes + self.table)

    @property
    def bytes_of_row(self) -> float:
        """Of a row and its entries in all indexes."""
        return (self.table + sum(self.indexes.values())) / self.rows

    def line(self) -> str:
        """A row of the table of documents."""
        each = ", ".join(
            f"`{name}` {size / self.rows:.0f}" for name, size in sorted(self.indexes.items(), key=lambda one: -one[1])
        )
        return f"| {self.engine} | {self.rows:,} | {self.bytes_of_row:,.0f} | {self.share:.0%} | {each} |"


def size_of(stores: Stores, engine: str, count: int) -> Size:
    """Of a store of the given number of rows."""
    url = stores.url(engine, count)
    if engine == SQLITE:
        with closing(apsw.Connection(str(stores.file(count)), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            # Read once from the beginning to the end: a join would do so for each index.
            pages: Any = connection.execute("SELECT name, pgsize FROM dbstat('main', TRUE)").fetchall()
            names: Any = connection.execute("SELECT name FROM sqlite_schema WHERE tbl_name = 'feedback'").fetchall()
        sizes: dict[str, int] = {name: size for name, size in pages if (name,) in names}
        return Size(engine, count, sizes.pop("feedback"), sizes)
    with psycopg.connect(url) as connection:
        [[table]] = connection.execute("SELECT pg_table_size('feedback')").fetchall()
        indexes = connection.execute(
            "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index"
            " WHERE indrelid = 'feedback'::regclass"
        ).fetchall()
    return Size(engine, count, table, dict(indexes))
