"""A backup of a store and the way back, by the commands that operators use; whether the copy is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw

from tests.growth.stores import SQLITE, Stores

HEAD: Final = "| command | seconds | it says |\n|---|---|---|"


def back_and_forth(stores: Stores, count: int) -> list[str]:
    """Back a SQLite store up, and restore the copy beside it, which verifies it: a row of a table for each command.

    Raises AssertionError when a command fails, or the restored store has other records.
    """
    directory = stores.directory / "restored"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    source, copy, target = stores.url(SQLITE, count), directory / "copy", directory / "plaudit.db"
    try:
        lines = [_run("backup", str(copy), source), _run("restore", str(copy), f"sqlite:{target}")]
        assert f"{count} rows of 1 projects: all is well" in lines[-1]
        assert _counts(target) == _counts(stores.file(count))
    finally:
        shutil.rmtree(directory)
    return lines


def _run(command: str, argument: str, url: str) -> str:
    began = time.monotonic()
    whole = [sys.executable, "-m", "plaudit_server", command, *filter(None, [argument]), "--store", url]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")}
    done = subprocess.run(whole, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(line.rpartition("/")[2] for line in done.stdout.splitlines())
    return f"| {command} | {time.monotonic() - began:.0f} | {said} |"


def _counts(path: Path) -> list[Any]:
    """How many records of each type a store has, by its rows and by its counters."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return [
            connection.execute("SELECT feedback_type, count(*) FROM feedback GROUP BY 1 ORDER BY 1").fetchall(),
            connection.execute(
                "SELECT feedback_type, sum(records) FROM feedback_count GROUP BY 1 ORDER BY 1"
            ).fetchall(),
        ]
