"""The control of every figure: a server of the same style that answers each call with its own bytes.

python -m tests.bench.echo        prints `ready on HOST:PORT`, and ends with its standard input
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import uvloop

METHOD = "/plaudit.bench.Echo/Echo"


async def _echo(raw: bytes, context: Any) -> bytes:
    return raw


async def _serve() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("plaudit.bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready on 127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


@contextmanager
def echo_server() -> Iterator[str]:
    """An echo server in a process of its own; gives its `host:port`."""
    command = [sys.executable, "-m", "tests.bench.echo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().rpartition(" ")[2].strip()
        process.stdin.close()
        process.wait(10)


if __name__ == "__main__":
    uvloop.run(_serve())
