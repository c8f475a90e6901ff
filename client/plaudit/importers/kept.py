"""Texts by key that are kept on disk while an input is read, so that their number takes no memory."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Final

_DIGEST_BYTES: Final = 16
_SEPARATOR: Final = "\x1f"


class Kept:
    """Texts by the parts of their keys, in a file that is gone with this object; of a key only a digest is kept."""

    def __init__(self) -> None:
        # Without a name it is a file that SQLite removes at the end.
        self._disk = sqlite3.connect("", check_same_thread=False)
        self._disk.execute("create table kept (key blob primary key, text text) without rowid")

    def add(self, *key: str, text: str = "") -> bool:
        """Keep a text, if there is none of this key; whether there was none."""
        done = self._disk.execute("insert or ignore into kept values (?, ?)", (_digest(key), text))
        return done.rowcount == 1

    def put(self, *key: str, text: str) -> None:
        """Keep a text in the place of the one of this key."""
        self._disk.execute("insert or replace into kept values (?, ?)", (_digest(key), text))

    def get(self, *key: str) -> str | None:
        """The text of a key; None where there is none."""
        found = self._disk.execute("select text from kept where key = ?", (_digest(key),)).fetchone()
        return None if found is None else str(found[0])


def _digest(key: tuple[str, ...]) -> bytes:
    text = _SEPARATOR.join(key).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()
