"""Several server processes on one port, each started by exec, and one that supervises them.

The kernel spreads connections over the processes (SO_REUSEPORT). Each is a server of its own; what they share is
the database.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from importlib.metadata import version
from typing import Final

from plaudit_server.config import Config, ConfigError, split_address
from plaudit_server.errors import StartError
from plaudit_server.store.url import parse_url

logger = logging.getLogger("plaudit_server")

LISTEN_VARIABLE: Final = "_PLAUDIT_WORKER_LISTEN"
"""Set for workers only: the address that all of them listen on."""

HTTP_LISTEN_VARIABLE: Final = "_PLAUDIT_WORKER_HTTP_LISTEN"
"""Set beside it: the address of the HTTP port, which all of them share too; empty: none."""

NUMBER_VARIABLE: Final = "_PLAUDIT_WORKER_NUMBER"
"""Set with it: which of the workers this is, counted from 0."""

_LOOK_SECONDS: Final = 0.1
_RESTART_SECONDS: Final = 1.0
_READY: Final = b"ready\n"


def worker_listen(environ: Mapping[str, str]) -> str | None:
    """The address on which this process listens as a worker; None when it is not a worker."""
    return environ.get(LISTEN_VARIABLE)


def worker_http_listen(environ: Mapping[str, str]) -> str:
    """The address that this worker's HTTP port is to listen on; empty for none."""
    return environ.get(HTTP_LISTEN_VARIABLE, "")


def worker_number(environ: Mapping[str, str]) -> int:
    """Which worker this process is, counted from 0; one that replaces another has the number of the other."""
    return int(environ.get(NUMBER_VARIABLE, "0"))


def tell_ready() -> None:
    """Report to the process that started this worker that it serves."""
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()


def check(config: Config) -> None:
    """Raises ConfigError for several workers on a store that only one process can serve."""
    if config.workers > 1 and parse_url(config.store).is_embedded:
        raise ConfigError(
            "workers is above 1: a SQLite store is served by one process; PostgreSQL by as many as wanted"
        )


def supervise(config: Config) -> int:
    """Run the workers until SIGINT or SIGTERM; one that ends by itself is started again. Returns the exit code.

    Raises StartError when the address cannot be listened on, or a worker does not start at all.
    """
    with ExitStack() as held:

        def shared(address: str, key: str) -> str:
            reserved = held.enter_context(_reserved(address, key))
            return f"{address.rpartition(':')[0]}:{reserved.getsockname()[1]}"

        http = shared(config.http.listen, "http.listen") if config.http.listen else ""
        return _Workers(shared(config.listen, "listen"), http, config).run()


class _Workers:
    """The processes, by number."""

    def __init__(self, listen: str, http_listen: str, config: Config) -> None:
        self._listen = listen
        self._http_listen = http_listen
        self._config = config
        self._stopping = False
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._started: dict[int, float] = {}

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        try:
            for worker in range(self._config.workers):
                self._start(worker)
            if not all(self._is_ready(worker) for worker in self._running.values()):
                if not self._stopping:
                    raise StartError("a worker did not start; its messages are above")
                return 0
            print(
                f"plaudit {version('plaudit')} ready on {self._listen}, store {self._config.shown_store}, "
                f"{self._config.workers} workers",
                file=sys.stderr,
                flush=True,
            )
            while not self._stopping:
                time.sleep(_LOOK_SECONDS)
                self._start_those_that_ended()
            return 0
        finally:
            self._end()

    def _start(self, number: int) -> None:
        self._started[number] = time.monotonic()
        self._running[number] = subprocess.Popen(
            [sys.executable, "-m", "plaudit_server", *sys.argv[1:]],
            env={
                **os.environ,
                LISTEN_VARIABLE: self._listen,
                HTTP_LISTEN_VARIABLE: self._http_listen,
                NUMBER_VARIABLE: str(number),
            },
            # A worker stops when its standard input ends, so that none outlives this process, however it ends.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _is_ready(self, worker: subprocess.Popen[bytes]) -> bool:
        assert worker.stdout is not None
        return worker.stdout.readline() == _READY

    def _start_those_that_ended(self) -> None:
        for number, worker in self._running.items():
            if worker.poll() is not None and time.monotonic() - self._started[number] > _RESTART_SECONDS:
                logger.error("worker %d ended with code %d and is started again", worker.pid, worker.returncode)
                self._release(worker)
                self._start(number)

    def _signalled(self, number: int, _: object) -> None:
        """Have all workers drain; at a second signal, end them and ourselves at once."""
        again, self._stopping = self._stopping, True
        for worker in self._running.values():
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL if again else signal.SIGTERM)
        if again:
            os._exit(128 + number)

    def _end(self) -> None:
        for worker in self._running.values():
            assert worker.stdin is not None
            with suppress(OSError):
                worker.stdin.close()  # also stops a worker that was started while the signal came
        for worker in self._running.values():
            worker.wait()
            self._release(worker)

    def _release(self, worker: subprocess.Popen[bytes]) -> None:
        for stream in (worker.stdin, worker.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def _reserved(listen: str, key: str) -> socket.socket:
    """A socket that holds the address for the workers, without taking connections itself. Raises StartError."""
    host, port = split_address(listen, key)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # First without sharing the port: otherwise a server that is there already would not be noticed.
        with socket.socket(family, kind) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        shared = socket.socket(family, kind)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(address)
    except OSError as error:
        flag = "--" + key.replace(".", "-")
        raise StartError(f"cannot listen on {listen}: {error.strerror}; choose another with {flag}") from error
    return shared
