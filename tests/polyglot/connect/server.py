"""The server that Connect's conformance suite talks to: its service, behind the bridge and the connections of ours.

The suite starts it, writes what it wants to its standard input, and reads its address from its standard output.
"""

from __future__ import annotations

import asyncio
import base64
import signal
import ssl
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import grpc
import uvloop
from google.protobuf import any_pb2
from google.rpc import status_pb2

from plaudit_server.web.bridge import Bridge, Handlers
from plaudit_server.web.connection import Bounds
from plaudit_server.web.doors import Doors
from plaudit_server.web.methods import methods_of
from plaudit_server.web.server import HttpServer
from tests.polyglot.connect.protos import Protos

DEFAULT_LIMIT = 8 * 1024 * 1024


class Service:
    """What the suite asks of a server: to echo what it got, and to answer as it was asked to."""

    def __init__(self, protos: Protos) -> None:
        self._protos = protos

    def handlers(self) -> Handlers:
        """The service as handlers on bytes."""
        methods = methods_of([self._protos.service("ConformanceService")])
        made: dict[str, Any] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary("UnaryRequest", "UnaryResponse")),
            "IdempotentUnary": grpc.unary_unary_rpc_method_handler(
                self._unary("IdempotentUnaryRequest", "IdempotentUnaryResponse")
            ),
            "Unimplemented": grpc.unary_unary_rpc_method_handler(self._unimplemented),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self._server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self._client_stream),
            "BidiStream": grpc.stream_stream_rpc_method_handler(self._bidi_stream),
        }
        return Handlers({path: (method, made[method.descriptor.name]) for path, method in methods.items()})

    def _unary(self, request: str, response: str) -> Any:
        async def answer(read: Callable[[], Awaitable[bytes]], context: Any) -> bytes:
            asked = self._protos.message(request).FromString(await read())
            payload = await self._payload(asked.response_definition, [asked], context)
            return _bytes(self._protos.message(response)(payload=payload))

        return answer

    async def _unimplemented(self, read: Callable[[], Awaitable[bytes]], context: Any) -> NoReturn:
        await read()
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not implemented")
        raise AssertionError

    async def _client_stream(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        read = self._protos.message("ClientStreamRequest").FromString
        asked = [read(raw) async for raw in requests]
        definition = asked[0].response_definition if asked else self._protos.message("UnaryResponseDefinition")()
        payload = await self._payload(definition, asked, context)
        return _bytes(self._protos.message("ClientStreamResponse")(payload=payload))

    async def _server_stream(self, read: Callable[[], Awaitable[bytes]], context: Any) -> None:
        asked = self._protos.message("ServerStreamRequest").FromString(await read())
        await self._stream(asked.response_definition, [asked], context, "ServerStreamResponse")

    async def _bidi_stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        read = self._protos.message("BidiStreamRequest").FromString
        asked = [read(raw) async for raw in requests]  # HTTP/1.1 has no full duplex
        if asked:
            await self._stream(asked[0].response_definition, asked, context, "BidiStreamResponse")

    async def _payload(self, definition: Any, asked: Sequence[Any], context: Any) -> Any:
        await self._metadata(definition, context)
        await asyncio.sleep(definition.response_delay_ms / 1000)
        info = self._request_info(asked, context)
        if definition.WhichOneof("response") == "error":
            await self._fail(definition.error, context, info)
        return self._protos.message("ConformancePayload")(data=definition.response_data, request_info=info)

    async def _stream(self, definition: Any, asked: Sequence[Any], context: Any, response: str) -> None:
        await self._metadata(definition, context)
        for number, data in enumerate(definition.response_data):
            payload = self._protos.message("ConformancePayload")(data=data)
            if number == 0:
                payload.request_info.CopyFrom(self._request_info(asked, context))
            await asyncio.sleep(definition.response_delay_ms / 1000)
            await context.write(self._protos.message(response)(payload=payload).SerializeToString())
        if definition.HasField("error"):
            info = None if definition.response_data else self._request_info(asked, context)
            await self._fail(definition.error, context, info)

    async def _metadata(self, definition: Any, context: Any) -> None:
        await context.send_initial_metadata(_pairs(definition.response_headers))
        context.set_trailing_metadata(_pairs(definition.response_trailers))

    async def _fail(self, error: Any, context: Any, info: Any) -> None:
        status = status_pb2.Status(code=error.code, message=error.message, details=error.details)
        if info is not None:
            status.details.add().Pack(info)
        code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
        details = ("grpc-status-details-bin", status.SerializeToString())
        await context.abort(code, error.message, (*context.exchange.trailing, details))

    def _request_info(self, asked: Sequence[Any], context: Any) -> Any:
        info = self._protos.message("ConformancePayload").RequestInfo()
        by_name: dict[str, list[str]] = {}
        for name, value in context.invocation_metadata():
            text = base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value
            by_name.setdefault(name, []).append(text)
        for name, values in by_name.items():
            info.request_headers.add(name=name, value=values)
        if context.exchange.timeout is not None:
            info.timeout_ms = round(context.time_remaining() * 1000)
        for one in asked:
            packed = any_pb2.Any()
            packed.Pack(one)
            info.requests.append(packed)
        return info


def _bytes(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


def _pairs(headers: Any) -> list[tuple[str, str | bytes]]:
    pairs: list[tuple[str, str | bytes]] = []
    for header in headers:
        name = header.name.lower()
        for value in header.value:
            is_binary = name.endswith("-bin")
            pairs.append((name, base64.b64decode(value + "=" * (-len(value) % 4)) if is_binary else value))
    return pairs


def _tls(asked: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "certificate"), Path(folder, "key")
        certificate.write_bytes(asked.server_creds.cert)
        key.write_bytes(asked.server_creds.key)
        context.load_cert_chain(certificate, key)
    if asked.client_tls_cert:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=asked.client_tls_cert.decode())
    return context


async def serve(protos: Protos) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    read = sys.stdin.buffer.read
    asked = protos.message("ServerCompatRequest").FromString(read(struct.unpack("!I", read(4))[0]))
    limit = asked.message_receive_limit or DEFAULT_LIMIT
    bridge = Bridge(Service(protos).handlers(), Doors(), limit)
    contexts = [_tls(asked)] if asked.use_tls else []
    server = HttpServer(bridge, Bounds(), tls=(lambda: contexts.pop() if contexts else None) if contexts else None)
    address = await server.start("127.0.0.1:0")
    answer = protos.message("ServerCompatResponse")(host="127.0.0.1", port=int(address.rpartition(":")[2]))
    if asked.use_tls:
        answer.pem_cert = asked.server_creds.cert
    encoded = answer.SerializeToString()
    sys.stdout.buffer.write(struct.pack("!I", len(encoded)) + encoded)
    sys.stdout.buffer.flush()
    await stopping.wait()
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(serve(Protos(Path(sys.argv[1]))))
