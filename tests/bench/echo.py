"""The controls of calls: a bare echo of the same server style, and plaudit's own wiring without a store.

    python -m tests.bench.echo bare     answers each call with its own bytes
    python -m tests.bench.echo chain    parses, admits, validates and answers creates as plaudit does; stores nothing

Prints `ready on HOST:PORT`, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import grpc
import uvloop

METHOD = "/plaudit.bench.Echo/Echo"
ROOT = Path(__file__).parents[2]


class Address(NamedTuple):
    """A server to call, and its process."""

    target: str
    pid: int


async def _echo(raw: bytes, context: Any) -> bytes:
    return raw


async def _serve_bare() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("plaudit.bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready on 127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(1.0)  # h2load leaves unfinished calls


async def _serve_chain() -> None:
    # Imported here, because the bare echo's memory is a control too.
    from plaudit.v1 import CreateFeedbackRequest
    from plaudit_server.app import Server
    from plaudit_server.config import Config
    from plaudit_server.errors import InvalidFields, Violation
    from plaudit_server.feedback import resource, rules
    from plaudit_server.feedback.model import FeedbackModel
    from plaudit_server.feedback.records import seal
    from plaudit_server.feedback.servicer import FeedbackService
    from plaudit_server.feedback.watch import Watches
    from plaudit_server.rpc.call import Call
    from plaudit_server.rpc.resource import Parts, Running
    from plaudit_server.store.engines.memory import MemoryEngine
    from plaudit_server.store.ledger import microseconds

    class Answering(FeedbackService):
        """Answers a create as soon as it is valid: with the record, as if it had been stored."""

        async def CreateFeedback(self, call: Call, request: CreateFeedbackRequest) -> bytes:  # noqa: N802
            out: list[Violation] = []
            rules.check_project(request.project, out)
            record = rules.new_record(request.feedback, request.project, call.user_id, out)
            if record is None or out:
                raise InvalidFields(out)
            now = microseconds()
            row = seal(record.body, record.payload.encode(), now, now, 1, 1, "anonymous")
            return row.head + row.payload

    def start(parts: Parts) -> Running:
        return Running({resource.SERVICE.name: Answering(parts, Watches(parts.store))})

    store = MemoryEngine(FeedbackModel(microseconds))
    server = Server(Config(listen="127.0.0.1:0"), store, [replace(resource.RESOURCE, start=start)])
    print(f"ready on {await server.start()}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(1.0)  # h2load leaves unfinished calls


@contextmanager
def echo_server(kind: Literal["bare", "chain"] = "bare") -> Iterator[Address]:
    """An echo server in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.echo", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Address(process.stdout.readline().rpartition(" ")[2].strip(), process.pid)
        finally:
            process.stdin.close()
            process.wait(10)


if __name__ == "__main__":
    uvloop.run(_serve_chain() if sys.argv[1:] == ["chain"] else _serve_bare())
