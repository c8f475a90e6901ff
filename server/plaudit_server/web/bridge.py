"""The HTTP port as an ASGI application: a request's bytes in, the handlers that gRPC uses, an answer's bytes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import grpc

from plaudit_server.web.codes import DEADLINE_EXCEEDED, UNKNOWN
from plaudit_server.web.context import WebContext
from plaudit_server.web.conversion import aside
from plaudit_server.web.doors import Doors, cors_headers, preflight_headers
from plaudit_server.web.exchange import Exchange, Head, Outcome, Parts
from plaudit_server.web.faults import BadRequest, HttpRefusal, WebFault
from plaudit_server.web.headers import HeaderPairs, Headers
from plaudit_server.web.methods import Method
from plaudit_server.web.negotiation import negotiate
from plaudit_server.web.peers import TrustedProxies, peer_text

logger = logging.getLogger("plaudit_server")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
SendEvent = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CONNECTION: Final = "plaudit.connection"
"""The key of a scope under which the server's connection is."""

_NO_CERTIFICATE: Final[Mapping[str, Iterable[bytes]]] = {}
_TEXT: Final = ("content-type", "text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that belongs to no call."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (_TEXT,)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for a page; `body` reads what came with it, at most the given number of bytes."""

    verb: str
    path: str
    query: str
    headers: Headers
    body: Callable[[int], Awaitable[bytes]]
    peer: str


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages under a path that begins with `prefix`; `public` ones may be asked for by pages of any origin."""

    prefix: str
    answer: Callable[[PageRequest], Awaitable[Page]]
    public: bool = False


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the port serves: methods by path with their handlers, and pages, the most specific ones first."""

    methods: Mapping[str, tuple[Method, grpc.RpcMethodHandler[bytes, bytes]]]
    pages: tuple[Pages, ...] = ()


@dataclass(frozen=True, slots=True)
class Bridge:
    """The ASGI application."""

    handlers: Handlers
    doors: Doors
    limit: int
    """The largest request, in bytes before compression."""
    body_seconds: float = 30.0
    """How long a request's body may take; for a stream of requests, the next piece of it."""
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    fault: Callable[[WebFault, Method], Exception] = lambda fault, method: fault
    """What the handlers raise for a request that its protocol does not allow."""

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "the server passes on requests alone"
        headers = Headers(scope["headers"])
        cors: HeaderPairs = []
        try:
            host = self.doors.check_host(headers)
            path = scope["path"]
            known = self.handlers.methods.get(path)
            pages = None if known else next((p for p in self.handlers.pages if path.startswith(p.prefix)), None)
            public = known[0].service in self.doors.public_services if known else pages is not None and pages.public
            origin = self.doors.check_origin(headers, scope["scheme"], host, public=public)
            cors = cors_headers(origin)
            if scope["method"] == "OPTIONS":
                await _answer(send, self._preflight(headers, origin, known is not None))
            elif known is not None:
                await self._call(*known, scope, headers, cors, receive, send)
            elif pages is not None:
                request = self._page_request(scope, headers, receive)
                # Public pages say themselves who may read them.
                page = await pages.answer(request)
                await _answer(send, page, () if pages.public else cors, scope["method"] == "HEAD")
            else:
                raise HttpRefusal(404, "there is nothing here")
        except HttpRefusal as refusal:
            body = f"{refusal.text}\n".encode()
            await _answer(send, Page(refusal.status, body, (_TEXT, *refusal.headers)), cors, scope["method"] == "HEAD")

    def _preflight(self, headers: Headers, origin: str | None, known: bool) -> Page:
        if not known or origin is None or headers.get("access-control-request-method") is None:
            raise HttpRefusal(405, "OPTIONS is for the preflights of browsers", ("allow", "GET, POST"))
        return Page(204, b"", tuple(preflight_headers(origin)))

    def _peer(self, scope: Scope, headers: Headers) -> str:
        client = scope.get("client")
        if client is None:
            return "unknown"
        connected, port = client
        caller = self.proxies.peer(connected, headers.all("x-forwarded-for"))
        return peer_text(caller, port if caller == connected else 0)

    def _page_request(self, scope: Scope, headers: Headers, receive: Receive) -> PageRequest:
        async def body(limit: int) -> bytes:
            read = b""
            async with asyncio.timeout(self.body_seconds):
                async for data in _pieces(receive):
                    read += data
                    if len(read) > limit:
                        raise HttpRefusal(413, f"the request has more than {limit} bytes")
            return read

        query = scope["query_string"].decode("latin-1")
        return PageRequest(scope["method"], scope["path"], query, headers, body, self._peer(scope, headers))

    async def _call(
        self,
        method: Method,
        handler: grpc.RpcMethodHandler[bytes, bytes],
        scope: Scope,
        headers: Headers,
        cors: HeaderPairs,
        receive: Receive,
        send: SendEvent,
    ) -> None:
        exchange = negotiate(method, scope["method"], scope["query_string"].decode("latin-1"), headers, self.limit)
        answer = _Answer(send, cors)

        connection = scope.get(CONNECTION)
        auth_context = _NO_CERTIFICATE if connection is None else connection.auth_context()
        context: Any = WebContext(exchange, self._peer(scope, headers), auth_context, answer.send)
        whole = connection is not None and connection.is_whole()
        requests = _Requests(exchange, receive, self.body_seconds, lambda fault: self.fault(fault, method), whole)
        try:
            outcome = await self._outcome(handler, requests, context, method)
            if connection is not None:
                # The end is small, and a caller that takes nothing must not keep it from the connection's buffer.
                connection.let_write()
            await answer.end(exchange.end(outcome))
        finally:
            if connection is None:
                context.done()
            else:
                connection.when_taken(context.done)

    async def _outcome(
        self, handler: grpc.RpcMethodHandler[bytes, bytes], requests: _Requests, context: Any, method: Method
    ) -> Outcome:
        """Run the handler, and return how the call ended."""
        seconds = context.exchange.timeout
        try:
            if seconds is None:
                await _run(handler, requests, context)
            else:
                async with asyncio.timeout(seconds):
                    await _run(handler, requests, context)
        except TimeoutError:
            return Outcome(DEADLINE_EXCEEDED, "the deadline of the call has passed")
        except grpc.aio.AbortError:
            pass
        except WebFault as fault:
            return Outcome(fault.code, fault.message)
        except Exception:
            logger.exception("%s failed outside of its handler", method.path)
            return Outcome(UNKNOWN, "internal error")
        return context.outcome or Outcome()


class _Answer:
    """Sends parts as events of ASGI."""

    def __init__(self, send: SendEvent, cors: HeaderPairs) -> None:
        self._send = send
        self._cors = cors

    async def send(self, parts: Parts) -> None:
        for part in parts:
            if isinstance(part, Head):
                await self._send(_start(part.status, [*part.headers, *self._cors]))
            else:
                await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self, parts: Parts) -> None:
        last = parts.pop()
        await self.send(parts)
        await self._send({"type": "http.response.body", "body": last, "more_body": False})


class _Requests:
    """The messages of a request, read as they are asked for."""

    def __init__(
        self,
        exchange: Exchange,
        receive: Receive,
        seconds: float,
        fault: Callable[[WebFault], Exception],
        whole: bool,
    ) -> None:
        """With `whole` the body has been read already, so nothing is waited for."""
        self._whole = whole
        self._exchange = exchange
        self._receive = receive
        self._seconds = seconds
        self._fault = fault

    async def one(self) -> bytes:
        """The only message, within the time that the whole body may take."""
        if self._whole:
            event = await self._receive()
            if event["type"] == "http.request" and not event["more_body"]:
                return await self._only(event["body"])
            raise asyncio.CancelledError
        try:
            async with asyncio.timeout(self._seconds):
                messages = [message async for message in self._messages()]
        except TimeoutError:
            raise self._too_slow() from None
        return messages[0]

    async def _only(self, body: bytes) -> bytes:
        exchange = self._exchange
        try:
            if exchange.slow_to_read(len(body)):
                messages = [*await aside(exchange, exchange.receive, body), *await aside(exchange, exchange.finish)]
            else:
                messages = [*exchange.receive(body), *exchange.finish()]
        except WebFault as fault:
            raise self._fault(fault) from None
        return messages[0]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Each message, as soon as it is complete."""
        messages = self._messages()
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise self._too_slow() from None
            yield message

    async def _messages(self) -> AsyncIterator[bytes]:
        exchange = self._exchange
        size = 0
        try:
            async for data in _pieces(self._receive):
                size += len(data)
                slow = exchange.slow_to_read(size)
                messages = await aside(exchange, exchange.receive, data) if slow else exchange.receive(data)
                for message in messages:
                    yield message
            slow = exchange.slow_to_read(size)
            for message in await aside(exchange, exchange.finish) if slow else exchange.finish():
                yield message
        except WebFault as fault:
            raise self._fault(fault) from None

    def _too_slow(self) -> Exception:
        return self._fault(BadRequest("", f"the request was not complete within {self._seconds:g} seconds"))


async def _run(handler: grpc.RpcMethodHandler[bytes, bytes], requests: _Requests, context: Any) -> None:
    """Call a handler in the shape that it has."""
    run: Any = handler
    match run.request_streaming, run.response_streaming:
        case True, True:
            await run.stream_stream(aiter(requests), context)
        case False, True:
            await run.unary_stream(requests.one, context)
        case True, False:
            await _write(await run.stream_unary(aiter(requests), context), context)
        case _:
            await _write(await run.unary_unary(requests.one, context), context)


async def _write(answer: bytes, context: Any) -> None:
    if context.outcome is None:
        await context.write(answer)


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes. Raises CancelledError when the caller has gone."""
    more = True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            raise asyncio.CancelledError
        more = event["more_body"]
        if event["body"]:
            yield event["body"]


def _start(status: int, headers: HeaderPairs) -> dict[str, Any]:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


async def _answer(send: SendEvent, page: Page, cors: Sequence[tuple[str, str]] = (), head: bool = False) -> None:
    headers = [*page.headers, *cors, ("x-content-type-options", "nosniff")]
    if page.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        headers.append(("content-length", str(len(page.body))))
    await send(_start(page.status, headers))
    await send({"type": "http.response.body", "body": b"" if head else page.body, "more_body": False})
