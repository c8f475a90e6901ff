"""A PostgreSQL server for tests: a temporary one, or the one that PLAUDIT_TEST_POSTGRES names.

The temporary one is of the newest version that is installed, or of the programs in PLAUDIT_TEST_POSTGRES_BIN.
"""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from plaudit_server.resources import tables
from plaudit_server.store.migrate import META, SCHEMA_MIGRATION

EXISTING = os.environ.get("PLAUDIT_TEST_POSTGRES", "")
_CHOSEN = os.environ.get("PLAUDIT_TEST_POSTGRES_BIN", "")
_START_SECONDS = 60.0
_SUPERUSER = "plaudit"
# As in production where a crash matters; small where it does not.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_senders": "4",
    "wal_keep_size": "64MB",
    "log_min_messages": "warning",
    "restart_after_crash": "off",
}
# A locale that differs much from C, so that an order or a fold without its collation gives wrong results; what a build
# without ICU has instead, from PostgreSQL 17 on; and what is left to older ones.
_LOCALES: Final = (
    ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=sv-SE"],
    ["--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"],
    ["--locale=C.UTF-8"],
)


def binaries() -> Path | None:
    """The directory of postgres, initdb and pg_ctl: the one that was chosen, or of the newest installed version."""
    if _CHOSEN:
        return _readable(Path(_CHOSEN))
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    for directory in reversed(debian):
        if (directory / "initdb").exists():
            return directory
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@cache
def version() -> int:
    """The major version of the programs."""
    directory = binaries()
    assert directory is not None, "no PostgreSQL is installed"
    said = subprocess.run([directory / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)", said)
    assert found is not None, said
    return int(found[1])


@cache
def _readable(directory: Path) -> Path:
    """The programs where the user that runs them can read them: a copy if a directory above is closed to others."""
    if not (directory / "initdb").exists():
        raise RuntimeError(f"PLAUDIT_TEST_POSTGRES_BIN: there is no initdb in {directory}")
    user = system_user()
    if user is None:
        return directory
    test = [*as_user(user), "test", "-x", str(directory / "initdb")]
    if subprocess.run(test, check=False).returncode == 0:
        return directory
    home = Path(tempfile.mkdtemp(prefix="plaudit-postgres-build-"))
    atexit.register(shutil.rmtree, home)
    home.chmod(0o755)
    shutil.copytree(directory.parent, home / "build", symlinks=True)
    return home / "build" / directory.name


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Cluster:
    """A temporary server in a directory of its own; `standby_of` makes it a standby of another.

    With `home`, a directory, its files are there, stay there after `remove`, and are used if they are there already.
    """

    def __init__(self, *, standby_of: Cluster | None = None, home: Path | None = None, **settings: str) -> None:
        directory = binaries()
        assert directory is not None, "no PostgreSQL is installed"
        self._bin = directory
        user = system_user()
        self._prefix = [] if user is None else as_user(user)
        self._is_kept = home is not None
        # The server goes to another directory: a path from here would lead elsewhere there.
        self._home = home.absolute() if home else Path(tempfile.mkdtemp(prefix="plaudit-postgres-"))
        self._home.mkdir(parents=True, exist_ok=True)
        if user is not None:
            shutil.chown(self._home, user)
        self._data = self._home / "data"
        self._settings = _SETTINGS | settings
        self.port = free_port()
        self._server: subprocess.Popen[Any] | None = None
        if (self._data / "PG_VERSION").exists():
            (self._data / "postmaster.pid").unlink(missing_ok=True)  # of a run that was killed
        elif standby_of is None:
            self._make()
        else:
            self._follow(standby_of)
        try:
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def pid(self) -> int:
        """The id of the parent process."""
        assert self._server is not None, "PostgreSQL is stopped"
        return self._server.pid

    def url(self, database: str, **options: str) -> str:
        """The URL of a database of this server."""
        more = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self.port}/{database}" + (f"?{more}" if more else "")

    def start(self) -> None:
        """Start, and wait until it answers."""
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log()}")
            time.sleep(0.02)

    def _make(self) -> None:
        """Make a cluster in the first of the locales that the build has."""
        since = (15, 17, 0)  # the versions that know their options
        for locale in (locale for locale, oldest in zip(_LOCALES, since, strict=True) if version() >= oldest):
            options = ["-U", _SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-sync", *locale]
            try:
                return self._run("initdb", "-D", self._data, *options)
            except RuntimeError as error:
                if "ICU is not supported in this build" not in str(error):
                    raise
        raise RuntimeError("this build has no locale for the tests")

    def _follow(self, primary: Cluster) -> None:
        """Make a standby of a running server; without pg_basebackup, which not every build has."""
        if version() < 15:
            start, stop = "pg_start_backup('standby', true, false)", "pg_stop_backup(false)"
        else:
            start, stop = "pg_backup_start('standby', true)", "pg_backup_stop()"
        with psycopg.connect(primary.url("postgres"), autocommit=True) as connection:
            connection.execute(f"SELECT {start}".encode())
            copied = ["cp", "-a", str(primary._data), str(self._data)]
            subprocess.run([*self._prefix, *copied], cwd=self._home, check=True)
            done = connection.execute(f"SELECT labelfile FROM {stop}".encode()).fetchone()
        assert done is not None
        (self._data / "postmaster.pid").unlink()
        (self._data / "standby.signal").touch()
        label = self._data / "backup_label"
        label.write_text(done[0])
        owner = self._data.stat()
        os.chown(label, owner.st_uid, owner.st_gid)
        with (self._data / "postgresql.auto.conf").open("a") as settings:
            url = primary.url("postgres", application_name="standby")
            settings.write(f"primary_conninfo = '{url}'\n")

    def _answers(self) -> bool:
        # Directly after a crash a start may be refused, because killed processes may still hold shared memory.
        if self._server is None or self._server.poll() is not None:
            options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
            command = [*self._prefix, str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
            command += ["-k", str(self._home), *options]
            with (self._home / "log").open("ab") as log:
                self._server = subprocess.Popen(command, cwd=self._home, stdout=log, stderr=log)
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT is a fast shutdown, SIGKILL a crash of every process of the server at once."""
        server, self._server = self._server, None
        if server is None:
            return
        children = _children(server.pid) if number == signal.SIGKILL else []
        server.send_signal(number)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        server.wait(_START_SECONDS)
        while any(_is_alive(child) for child in children):
            time.sleep(0.005)

    def promote(self) -> None:
        """Make a standby the primary."""
        self._run("pg_ctl", "-D", self._data, "promote", "-w")

    def execute(self, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def log(self) -> str:
        return (self._home / "log").read_text(errors="replace")

    def remove(self) -> None:
        """Stop, and remove all files but those that are kept."""
        self.stop()
        if not self._is_kept:
            shutil.rmtree(self._home)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*self._prefix, str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=self._home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")


class Database:
    """A database of its own on a server, dropped at the end."""

    def __init__(self, server: str, options: str = "") -> None:
        self._server = server
        self.name = f"plaudit_test_{uuid.uuid4().hex[:12]}"
        self.url = re.sub(r"(//[^/?]*)(/[^?]*)?", rf"\1/{self.name}", server, count=1)
        self._administer(f"CREATE DATABASE {self.name} {options}")

    def execute(self, query: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement in it, and return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        """Remove every record, and keep the schema."""
        kept = (META.name, SCHEMA_MIGRATION.name)
        self.execute("; ".join(f"DELETE FROM {table.name}" for table in tables() if table.name not in kept))

    def drop(self) -> None:
        self._administer(f"DROP DATABASE {self.name} WITH (FORCE)")

    def _administer(self, query: str) -> None:
        with psycopg.connect(make_conninfo(self._server), autocommit=True) as connection:
            connection.execute(query.encode())


def system_user() -> str | None:
    """The user for a server that root must not run: a system user when the tests run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def as_user(user: str) -> list[str]:
    """The command prefix. Not Popen's `user`, which forks the whole process; grpc's threads may not survive that."""
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]


def _children(parent: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def _is_alive(pid: int) -> bool:
    try:
        # A zombie process no longer holds anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
