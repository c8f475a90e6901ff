"""The stores of a run: filled in pieces without requests, and kept from run to run; a piece is a call of `go_on`.

`python -m tests.growth.stores DIRECTORY ENGINE ROWS SECONDS` does a piece of one, and says whether it is done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from plaudit_server.store import migrate
from tests.growth import filling, rows
from tests.growth.filling import FillingDatabase, FillingFile, go_on
from tests.postgres.cluster import Cluster, version

SQLITE: Final = "sqlite"
POSTGRES: Final = "postgres"

# What need not survive a crash is made faster; the database does nothing by itself while something is measured.
_MAKING: Final[dict[str, Any]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "maintenance_work_mem": "1GB",
}
_SERVING: Final[dict[str, Any]] = {"autovacuum": "off", "shared_buffers": "512MB", "max_wal_size": "4GB"}


def fingerprint() -> str:
    """Of what decides what is in a store: another one needs stores of its own."""
    files = [
        Path(filling.__file__),
        Path(rows.__file__),
        *sorted(Path(migrate.__file__).parent.glob("migrations/**/*.sql")),
    ]
    return blake2b(b"".join(path.read_bytes() for path in files), digest_size=6).hexdigest()


class Stores:
    """The stores of a directory; what a run has made is found again by the next one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute() / fingerprint()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._cluster: Cluster | None = None

    @property
    def directory(self) -> Path:
        """Where they are."""
        return self._directory

    def fill(self, engine: str, count: int, seconds: float = float("inf")) -> bool:
        """Do a piece of a store, of about the given length; whether it is whole now."""
        if self._note(engine, count).exists():
            return True
        until = time.monotonic() + seconds
        if engine == SQLITE:
            url = f"sqlite:{self.file(count)}"
            whole = go_on(FillingFile(self.file(count)), url, count, until)
        else:
            with self._served(_MAKING) as cluster:
                url = cluster.url(_database(count))
                whole = go_on(FillingDatabase(url), url, count, until)
        if whole:
            self._note(engine, count).touch()
        return whole

    def url(self, engine: str, count: int) -> str:
        """A store that is whole."""
        self.fill(engine, count)
        return f"sqlite:{self.file(count)}" if engine == SQLITE else self.cluster().url(_database(count))

    def file(self, count: int) -> Path:
        """The file of a SQLite store."""
        return self._directory / f"rows-{count}.db"

    def cluster(self) -> Cluster:
        """The database server of the PostgreSQL stores, running."""
        if self._cluster is None:
            self._cluster = Cluster(home=self._directory / POSTGRES, **_SERVING)
        return self._cluster

    @contextmanager
    def copy(self, engine: str, count: int) -> Iterator[str]:
        """A copy of a store, removed at the end."""
        if engine == SQLITE:
            self.fill(engine, count)
            copied = self._directory / "copy"
            shutil.rmtree(copied, ignore_errors=True)
            copied.mkdir()
            try:
                # Sparse and shared where the file system can: it is large.
                subprocess.run(["cp", "--reflink=auto", self.file(count), copied / "plaudit.db"], check=True)
                os.sync()
                yield f"sqlite:{copied / 'plaudit.db'}"
            finally:
                shutil.rmtree(copied)
            return
        self.url(engine, count)
        cluster = self.cluster()
        cluster.execute("DROP DATABASE IF EXISTS growth_copy WITH (FORCE)")
        strategy = " STRATEGY FILE_COPY" if version() >= 15 else ""  # what older ones do anyway
        cluster.execute(f"CREATE DATABASE growth_copy TEMPLATE {_database(count)}{strategy}")
        try:
            yield cluster.url("growth_copy")
        finally:
            cluster.execute("DROP DATABASE growth_copy WITH (FORCE)")

    def close(self) -> None:
        """Stop the database server; everything is kept."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.remove()

    def _note(self, engine: str, count: int) -> Path:
        """Is there when a store is whole."""
        return self._directory / f"{engine}-{count}.whole"

    @contextmanager
    def _served(self, settings: dict[str, Any]) -> Iterator[Cluster]:
        self.close()
        cluster = Cluster(home=self._directory / POSTGRES, **_SERVING | settings)
        try:
            yield cluster
        finally:
            cluster.remove()


def _database(count: int) -> str:
    return f"growth_{count}"


def main(directory: str, engine: str, count: str, seconds: str) -> None:
    """Do a piece, and say whether the store is whole."""
    stores = Stores(Path(directory))
    whole = stores.fill(engine, int(count.replace("_", "")), float(seconds))
    print("whole" if whole else "to be continued")


if __name__ == "__main__":
    main(*sys.argv[1:])
