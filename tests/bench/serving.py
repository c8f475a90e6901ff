"""Servers that are measured, each in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plaudit_server.app import Server
from plaudit_server.config import Config
from plaudit_server.store.base import Engine
from tests.bench.echo import ROOT, Address
from tests.service.process import server_process


@contextmanager
def plaudit_server(store: Path | str, *flags: str) -> Iterator[Address]:
    """plaudit without changes, on this store."""
    with server_process(store, "127.0.0.1:0", *flags) as server:
        yield Address(server.target, server.process.pid)


async def serve(store: Engine) -> None:
    """Run a server on the given store until it is stopped; its address is its first line of output."""
    server = Server(Config(listen="127.0.0.1:0"), store)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print(await server.start(), flush=True)
    await stopping.wait()
    await server.stop(1.0)


@contextmanager
def served(module: str, *arguments: str) -> Iterator[Address]:
    """The server that a module starts by `serve` when it is run with these arguments."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield Address(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()
