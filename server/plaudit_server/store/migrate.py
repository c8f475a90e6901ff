"""The schema's migrations: numbered SQL files, applied in order, each once, and remembered with a checksum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

from plaudit_server.store.base import Placement, StoreError, Table

_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")
_ONLY = re.compile(r"^-- Only for (new|older) stores\b", re.MULTILINE)

LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migration (
  number INTEGER NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL
)"""
"""Where a store remembers what was applied; the one table that no migration makes."""


META: Final = Table(
    name="meta",
    title="settings of the store",
    columns=("key", "value"),
    placement=Placement.EVERYWHERE,
    order=("key",),
    types={"value": "bytea"},
    copied=False,  # the store's own id, and declared indexes, which each store makes for itself
)
SCHEMA_MIGRATION: Final = Table(
    name="schema_migration",
    title="migrations",
    columns=("number", "name", "checksum"),
    placement=Placement.EVERYWHERE,
    order=("number",),
    types={"number": "int4"},
    copied=False,
)


class Migration(NamedTuple):
    """One file of migrations."""

    number: int
    name: str
    checksum: str
    sql: str

    def statements(self, *, new: bool = False) -> Iterator[str]:
        """The file's statements; each ends with a semicolon at the end of a line.

        `new` is whether the store is being made, so that it holds nothing yet: some statements are for new stores
        only, and some for older ones, as the comment before them begins with.
        """
        for statement in re.split(r";\s*\n", self.sql):
            only = _ONLY.search(statement)
            if only is not None and (only[1] == "new") is not new:
                continue
            if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
                yield statement


@cache
def migrations(engine: str) -> tuple[Migration, ...]:
    """The migrations of an engine (`sqlite`), in order, numbered 1, 2, 3 …"""
    found = []
    for file in resources.files("plaudit_server.store").joinpath("migrations", engine).iterdir():
        if match := _FILE_NAME.fullmatch(file.name):
            sql = file.read_text(encoding="utf-8")
            checksum = hashlib.sha256(sql.encode()).hexdigest()
            found.append(Migration(int(match[1]), match[2], checksum, sql))
    found.sort()
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise RuntimeError(f"the migrations of {engine} are not numbered 1, 2, 3 …")
    return tuple(found)


def pending(known: Sequence[Migration], applied: Iterable[tuple[int, str]]) -> Sequence[Migration]:
    """The migrations still to apply, given the numbers and checksums that the store remembers.

    Raises StoreError when the store was made by a newer version, or by another line of migrations.
    """
    remembered = dict(applied)
    if len(remembered) > len(known):
        raise StoreError(newer(len(remembered), len(known)))
    for migration in known[: len(remembered)]:
        if remembered.get(migration.number) != migration.checksum:
            raise StoreError(f"the store's schema migration {migration.number} is not the one that this version has")
    return known[len(remembered) :]


def newer(found: int, known: int) -> str:
    """The message for a store whose schema is newer than this program."""
    return f"the store has schema {found}, this version knows {known}: it was used by a newer version of plaudit"
