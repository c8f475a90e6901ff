"""A server with plaudit's security around methods that do nothing: admitted calls are noted, nothing is stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from plaudit.v1 import feedback_service_pb2
from plaudit_server.auth.authenticator import Authenticator
from plaudit_server.auth.tls import server_credentials
from plaudit_server.config import Config
from plaudit_server.feedback import resource
from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.chain import Chain
from plaudit_server.rpc.security import security
from plaudit_server.store.engines.memory import MemoryEngine
from plaudit_server.store.ledger import microseconds
from plaudit_server.store.url import open_store

SERVICE = feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"]


@dataclass
class Secured:
    """A running server; `seen` are method, user_id and owner of the calls that got through."""

    target: str = ""
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    """The code of each call, also of those that were refused."""
    hold: threading.Event = field(default_factory=threading.Event)
    """While a test has cleared it, methods wait for it."""

    def __post_init__(self) -> None:
        self.hold.set()

    def behaviour(self, method: MethodDescriptor) -> Any:
        answer = GetMessageClass(method.output_type)

        async def noted(call: Call) -> Any:
            self.seen.append((call.method, call.user_id, call.owner))
            if not self.hold.is_set():
                await asyncio.to_thread(self.hold.wait)
            return answer()

        async def unary(call: Call, request: Any) -> Any:
            return await noted(call)

        async def stream(call: Call, request: Any) -> AsyncIterator[Any]:
            yield await noted(call)

        async def streams(call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for _ in requests:
                yield await noted(call)

        if method.client_streaming:
            return streams
        return stream if method.server_streaming else unary


@contextmanager
def secured(config: Config) -> Iterator[Secured]:
    """Run the server in a thread until the block ends."""
    running = Secured()
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    failures: list[BaseException] = []

    async def serve() -> None:
        # Where there are no keys to read, no store is asked for any.
        store = open_store(config.store) if config.auth.api_keys else MemoryEngine(FeedbackModel(microseconds))
        authenticator = Authenticator(config, store)
        try:
            await store.open()
            await authenticator.start()
            around = security(config, authenticator)
            noting = [*around.observers, lambda _, code: running.codes.append(code.name)]
            chain = Chain(around.gates, around.steps, noting)
            handlers = {
                rpc.method: chain.handler(rpc, m, running.behaviour(m)) for rpc, m in resource.SERVICE.methods()
            }
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),))
            if config.tls.certificate:
                port = server.add_secure_port("127.0.0.1:0", server_credentials(config.tls))
            else:
                port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            running.target = f"127.0.0.1:{port}"
            ready.set()
            await stop.wait()
            running.hold.set()
            await server.stop(0.5)
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()
            await authenticator.close()
            await store.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(30)
    try:
        if failures:
            raise failures[0]
        yield running
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def make_store(path: Path) -> str:
    """The URL of a store that is made when it is opened."""
    return f"sqlite:{path}"


def call(channel: grpc.Channel, rpc: str, metadata: Any = None, timeout: float = 5.0, **fields: Any) -> list[Any]:
    """The answers of any RPC, called with one request of these fields. Raises grpc.RpcError."""
    method = SERVICE.methods_by_name[rpc]
    request = GetMessageClass(method.input_type)(**fields)
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    invoke = getattr(channel, kind)(
        f"/{SERVICE.full_name}/{rpc}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    sent = iter([request]) if method.client_streaming else request
    answer = invoke(sent, metadata=metadata, timeout=timeout)
    return list(answer) if method.server_streaming else [answer]


def bearer(credential: str) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata with a key or a token."""
    return (("authorization", f"Bearer {credential}"),)
