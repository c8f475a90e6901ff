"""How far a relay has come, in a file that survives a crash at any moment, and that one relay at a time uses."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple


class CursorError(ValueError):
    """A cursor that cannot be used; the message says what to do."""


class Reached(NamedTuple):
    """All changes of a project up to `revision` have been delivered."""

    store_id: str
    project: str
    revision: int


class Cursor:
    """A file with the last revision before which nothing is undelivered; locked until it is closed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises OSError, and CursorError when another relay uses the file."""
        self._path = Path(path)
        # Not the file itself, which is replaced each time.
        self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise CursorError(f"another relay uses {self._path}: give each one a cursor of its own") from None

    def read(self, project: str) -> Reached | None:
        """What was written last; None without a file. Raises CursorError for another project's, or a broken one."""
        try:
            kept = json.loads(self._path.read_text("utf-8"))
            reached = Reached(str(kept["store_id"]), str(kept["project"]), int(kept["revision"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise CursorError(f"{self._path} is no cursor of a relay") from None
        if reached.project != project:
            raise CursorError(f"{self._path} is of the project {reached.project}, not of {project}")
        return reached

    def write(self, reached: Reached) -> None:
        """Keep it: when this returns, it is on disk. Raises OSError."""
        part = f"{self._path}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump(reached._asdict(), file)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._path)
        folder = os.open(self._path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let another relay use the file."""
        os.close(self._lock)
