"""A real server for tests, plaudit's own and those of its users: on a free port, with a store of its own.

with plaudit_server.testing.server() as running:
    client = running.client(project="acme/chat")
    client.ref("weave:///acme/chat/call/1").add_reaction("👍")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import uvloop

from plaudit_server.app import Server, build_server
from plaudit_server.config import Config
from plaudit_server.resources import RESOURCES
from plaudit_server.rpc.resource import Resource
from plaudit_server.store.base import Engine
from plaudit_server.store.url import open_store

if TYPE_CHECKING:
    from plaudit import Client


class RunningServer:
    """A server in a thread of this process; `target` is the `host:port` to call."""

    def __init__(self, server: Server, target: str, loop: asyncio.AbstractEventLoop, clients: ExitStack) -> None:
        self.server = server
        self.target = target
        self._loop = loop
        self._clients = clients

    def client(self, project: str | None = "acme/chat", **options: Any) -> Client:
        """A client of this server, closed with it; `options` are those of Client."""
        # Imported here: the server's package must not need the client's.
        from plaudit import Client

        return self._clients.enter_context(Client(project, target=self.target, **options))

    def run(self, coroutine: Any, timeout: float = 30.0) -> Any:
        """Run a coroutine on the server's loop, as for its store; at most `timeout` seconds."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)


@contextmanager
def server(
    store: str | Path | Engine | None = None,
    config: Config | None = None,
    *,
    resources: Sequence[Resource] = RESOURCES,
) -> Iterator[RunningServer]:
    """Run a server until the block ends; without `store` (a file's path, a URL, or an Engine) on a temporary file.

    `resources` are what the server serves. Raises StoreError and StartError like `plaudit-server serve`.
    """
    with ExitStack() as stack:
        if isinstance(store, str) and "://" in store:
            store = open_store(store)
        elif not isinstance(store, Engine):
            path = store or Path(stack.enter_context(TemporaryDirectory(prefix="plaudit-"))) / "plaudit.db"
            store = open_store(f"sqlite:{path}")
        config = replace(config or Config(), listen="127.0.0.1:0")
        loop = uvloop.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="plaudit-server", daemon=True)
        thread.start()

        def on_loop(coroutine: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

        def end_loop() -> None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

        stack.callback(end_loop)
        running = build_server(config, store, resources)
        try:
            target = on_loop(running.start())
        finally:
            stack.callback(lambda: on_loop(running.stop(grace=1.0)))
        clients = stack.enter_context(ExitStack())
        yield RunningServer(running, target, loop, clients)
