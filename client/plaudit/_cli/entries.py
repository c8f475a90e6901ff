"""What a report lists, kept on disk while a command runs, so that its length takes no memory."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator


class Entries:
    """Places and what there is to say of each, in lists by their titles, in the order in which they were added."""

    def __init__(self) -> None:
        # Without a name it is a file that SQLite removes at the end.
        self._disk = sqlite3.connect("")
        self._disk.execute("create table entries (title text, place text, text text)")
        self.counts: Counter[str] = Counter()
        """How many entries each list has."""

    def add(self, title: str, place: str, text: str = "") -> None:
        """Add an entry to a list."""
        self.counts[title] += 1
        # Half of a pair, as JSON may hold one, is no UTF-8.
        texts = [each.encode("utf-8", "replace").decode() for each in (place, text)]
        self._disk.execute("insert into entries values (?, ?, ?)", (title, *texts))

    def read(self, title: str, most: int = -1) -> Iterator[tuple[str, str]]:
        """The entries of a list, or the first ones of it."""
        asked = "select place, text from entries where title = ? order by rowid limit ?"
        yield from self._disk.execute(asked, (title, most))
