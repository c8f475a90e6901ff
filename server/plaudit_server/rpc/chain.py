"""What happens around every call of a service: one wrapper per RPC, made once, with its steps in a visible order.

grpc's own interceptors build a handler object for each call; here each method is wrapped once, when the server is
assembled. Health and reflection are not wrapped: they do not touch the store's rows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from plaudit._contract import limits
from plaudit_server.errors import DomainError, MalformedMessage, MessageTooLarge, QuotaExceeded, Stopping
from plaudit_server.rpc import elements
from plaudit_server.rpc.admission import COUNTED_ANSWER_BYTES, LARGE_ANSWER_BYTES, STREAM_STALL, Answers
from plaudit_server.rpc.call import REQUEST_ID_METADATA, Call, Context
from plaudit_server.rpc.declare import OTHER, Kind, Rpc
from plaudit_server.rpc.draining import RETRY_SECONDS, Draining
from plaudit_server.rpc.errors import describe

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")

_OK: Final = grpc.StatusCode.OK
_LARGE_REQUEST_BYTES: Final = 256 * 1024
_ABORT_SECONDS: Final = 5.0
_STALL_RETRY_SECONDS: Final = 1.0
_RECHECK_SECONDS: Final = 1.0

Beginning = Callable[[Call], None]
"""Done when a call has come in, once, before anything may refuse it; it raises nothing."""

Gate = Callable[[Call], None]
"""Done before bytes are parsed, again for each message of a stream: it lets the call pass or raises a DomainError."""


class Step(Protocol):
    """Something done before the method: it lets the call pass, changes the Call, or raises a DomainError.

    Where it has to wait it returns what to wait for; most never do, and a coroutine for each would cost every call.
    """

    def __call__(self, call: Call, request: Message) -> Awaitable[None] | None: ...  # noqa: D102


Parser = Callable[[bytes], Message]

Raw = bytes | Callable[[], Awaitable[bytes]]
"""A request's bytes, or what reads them: over HTTP a call is let in before the body of its request is read."""

Observer = Callable[[Call, grpc.StatusCode], None]
"""Called at the end of each call with its code: for logs and metrics."""

Unary = Callable[[Call, Any], Awaitable[Message | bytes]]
Streaming = Callable[[Call, Any], AsyncGenerator[Message | bytes, None]]


class Departed(Exception):
    """The client of a call has left while its answer was being sent: nobody's failure."""


class SlowReader(Exception):
    """Thrown into a streaming method whose client does not take the answer in time."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything around a method. In order: each beginning, each gate, parsing the bytes, each step, the method;
    errors map to a status in one place; observers see the end. Every call's trailers have its request id.
    """

    gates: Sequence[Gate] = ()
    steps: Sequence[Step] = ()
    observers: Sequence[Observer] = ()
    beginnings: Sequence[Beginning] = ()
    recheck: Gate | None = None
    """Asked again before a message of a stream of answers, so that a credential that has ended ends it; at most once a
    second."""
    draining: Draining = field(default_factory=Draining)
    """Which calls run, and which of them were ended because the server stops."""
    parsing: Callable[[Call], AbstractAsyncContextManager[object]] | None = None
    """A turn to read a large request from its bytes, which takes milliseconds."""
    answers: Answers | None = None
    """Where the bytes of answers are counted until the transport has taken them; None counts none."""

    def handler(
        self, rpc: Rpc, method: MethodDescriptor, behaviour: Any, send_timeout: float | None = None
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """A grpc handler on bytes for `behaviour(call, request)`, the method that `rpc` declares.

        `behaviour` is a coroutine function, or for a stream of answers a generator function; for a stream of
        requests its `request` is an async iterator of messages, each of which has passed the steps. With
        `send_timeout` (seconds), SlowReader is thrown into a generator whose answer waits longer for its client.
        """
        parse = _parser(rpc, method)
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._both_streams(rpc, parse, behaviour, send_timeout))
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(rpc, parse, behaviour, send_timeout))
        return grpc.unary_unary_rpc_method_handler(self._unary(rpc, parse, behaviour))

    def _unary(self, rpc: Rpc, parse: Parser, behaviour: Unary) -> Any:
        is_scan = rpc.kind is Kind.SCAN

        async def run(raw: Raw, context: Context) -> bytes:
            call = self._begun(Call(rpc.method, context, rpc))

            async def answer() -> bytes:
                request = await self._admitted(call, raw, parse)
                if is_scan and self.answers is not None and call.owner_name is not None:
                    # Before anything is read, now and when it is the read's turn: there would be no room for it.
                    call.has_room = partial(self.answers.check, call.owner_name, LARGE_ANSWER_BYTES)
                    call.has_room()
                encoded = _encoded(await behaviour(call, request))
                if len(encoded) >= COUNTED_ANSWER_BYTES:
                    self._count(call, len(encoded))
                return encoded

            return await self._concluded(call, answer()) or b""

        return run

    def _stream(self, rpc: Rpc, parse: Parser, behaviour: Streaming, send_timeout: float | None) -> Any:
        async def run(raw: Raw, context: Context) -> None:
            call = self._begun(Call(rpc.method, context, rpc))

            async def answer() -> None:
                request = await self._admitted(call, raw, parse)
                await self._send_all(call, behaviour(call, request), send_timeout)

            await self._concluded(call, answer())

        return run

    def _both_streams(self, rpc: Rpc, parse: Parser, behaviour: Streaming, send_timeout: float | None) -> Any:
        async def run(raws: AsyncIterator[bytes], context: Context) -> None:
            call = self._begun(Call(rpc.method, context, rpc))
            stream = aiter(raws)

            async def requests() -> AsyncIterator[Message]:
                async for raw in stream:
                    # Neither is kept here for as long as the request is worked on: it may be large.
                    admitted = [await self._admitted(call, raw, parse)]
                    raw = b""
                    yield admitted.pop()

            async def answer() -> None:
                # Also before the first message: an idle stream holds a place, too.
                self._enter(call)
                await self._send_all(call, behaviour(call, requests()), send_timeout)

            try:
                await self._concluded(call, answer())
            finally:
                await _close(stream)

        return run

    async def _concluded(self, call: Call, answer: Awaitable[T]) -> T | None:
        """What `answer` returns; None after an error, which becomes a status. Observers are called once in any case."""
        task = asyncio.current_task()
        assert task is not None
        self.draining.entered(task)
        try:
            answered = await answer
        except asyncio.CancelledError:
            if self.draining.has_ended(task):
                task.uncancel()
                await self._fail(call, Stopping(RETRY_SECONDS))
                return None
            self._done(call, grpc.StatusCode.CANCELLED)
            raise
        except Departed:
            self._done(call, grpc.StatusCode.CANCELLED)
            raise asyncio.CancelledError from None  # as grpc does itself when it notices in time
        except Exception as error:
            await self._fail(call, error)
            return None
        finally:
            self.draining.left(task)
        self._done(call, _OK)
        return answered

    def _count(self, call: Call, size: int) -> None:
        """Count an answer until its call is over, which is when the transport has taken it, or its client has left.

        Raises QuotaExceeded when too many of the caller's answers, or of all, wait for their clients to read.
        """
        answers, owner = self.answers, call.owner_name
        if answers is not None and owner is not None:
            answers.check(owner, size)
            answers.take(owner, size)
            call.context.add_done_callback(partial(_release, answers, owner, size))  # type: ignore[arg-type]

    async def _send_all(
        self, call: Call, responses: AsyncGenerator[Message | bytes, None], send_timeout: float | None
    ) -> None:
        checked = call.started
        # What a stream reads waits in memory, too: so there has to be room for it before it is read.
        size = LARGE_ANSWER_BYTES if call.rpc is not None and call.rpc.kind is Kind.STREAM_READ else 0
        async with aclosing(responses):
            while True:
                await self._room_in_time(call, size, send_timeout)
                with self._counted(call, size):
                    response = await anext(responses, None)
                    if response is None:
                        return
                    if self.recheck is not None and (now := time.monotonic()) - checked >= _RECHECK_SECONDS:
                        checked = now
                        self.recheck(call)
                    encoded = _encoded(response)
                    try:
                        async with asyncio.timeout(send_timeout):
                            await self._write(call, encoded, 0 if size else len(encoded))
                    except TimeoutError:
                        try:
                            await responses.athrow(SlowReader())
                        except SlowReader:  # the method does not handle it itself
                            raise QuotaExceeded(STREAM_STALL, _STALL_RETRY_SECONDS) from None

    async def _write(self, call: Call, encoded: bytes, size: int) -> None:
        """Hand a message to the transport; `size` bytes wait for room, and are counted until the transport has them."""
        if size < COUNTED_ANSWER_BYTES:
            await _hand_over(call, encoded)
            return
        await self._room(call, size)
        with self._counted(call, size):
            await _hand_over(call, encoded)

    async def _room_in_time(self, call: Call, size: int, seconds: float | None) -> None:
        if size:
            try:
                async with asyncio.timeout(seconds):
                    await self._room(call, size)
            except TimeoutError:
                raise QuotaExceeded(STREAM_STALL, _STALL_RETRY_SECONDS) from None

    async def _room(self, call: Call, size: int) -> None:
        if self.answers is not None and call.owner_name is not None:
            await self.answers.room(call.owner_name, size)

    @contextmanager
    def _counted(self, call: Call, size: int) -> Iterator[None]:
        """Count an answer until the block ends."""
        answers, owner = self.answers, call.owner_name
        if not size or answers is None or owner is None:
            yield
            return
        answers.take(owner, size)
        try:
            yield
        finally:
            answers.release(owner, size)

    def unknown(self) -> grpc.GenericRpcHandler:
        """A handler for every method that the server does not have: it answers as grpc would; observers see OTHER."""
        return _Unknown(self)

    async def refuse_unknown(self, path: str, context: Context) -> None:
        """End a call of a method that the server does not have."""
        call = self._begun(Call(OTHER, context, original=path))
        self._done(call, grpc.StatusCode.UNIMPLEMENTED)
        trailers = ((REQUEST_ID_METADATA, call.request_id),)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", trailers)

    def _begun(self, call: Call) -> Call:
        call.context.set_trailing_metadata(((REQUEST_ID_METADATA, call.request_id),))
        for beginning in self.beginnings:
            beginning(call)
        return call

    def _enter(self, call: Call) -> None:
        for gate in self.gates:
            gate(call)

    async def _admitted(self, call: Call, raw: Raw, parse: Parser) -> Message:
        self._enter(call)
        if not isinstance(raw, bytes):
            raw = await raw()
        call.size = len(raw)
        call.asked = time.monotonic()
        if len(raw) >= _LARGE_REQUEST_BYTES and self.parsing is not None:
            async with self.parsing(call):
                request = parse(raw)
        else:
            request = parse(raw)
        for step in self.steps:
            waiting = step(call, request)
            if waiting is not None:
                await waiting
        return request

    def _done(self, call: Call, code: grpc.StatusCode) -> None:
        for observer in self.observers:
            observer(call, code)

    async def _fail(self, call: Call, error: Exception) -> None:
        """The only place that ends a call with an error."""
        call.error = error
        problem = describe(error)
        call.reason = problem.reason
        if not isinstance(error, DomainError):
            logger.error("%s failed, request %s", call.method, call.request_id, exc_info=error)
        self._done(call, problem.code)
        call.error = None  # its traceback has the call in it, and the request: a cycle, see below
        trailers = (*problem.trailers(call.request_id), (REQUEST_ID_METADATA, call.request_id))
        # The status of a client that reads nothing waits after its data; the server does not wait for it.
        async with asyncio.timeout(_ABORT_SECONDS):
            try:
                await call.context.abort(problem.code, problem.short_message, trailers)
            except grpc.aio.InternalError:
                raise asyncio.CancelledError from None  # its client has left
            except grpc.aio.AbortError as aborted:
                # grpc keeps this exception with the call, and raises it again. With the frames that it has passed it
                # would keep the request until the collector of cycles comes round: 8 MiB each, for dozens of calls.
                aborted.__traceback__ = aborted.__context__ = None


class _Unknown(grpc.GenericRpcHandler):
    """Accepts every method, so it must be the last handler."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """A handler that refuses, whether requests and answers are streams or not."""
        path = str(handler_call_details.method)

        async def refuse(_: AsyncIterator[bytes], context: Context) -> None:
            await self._chain.refuse_unknown(path, context)

        return grpc.stream_stream_rpc_method_handler(refuse)


async def _hand_over(call: Call, encoded: bytes) -> None:
    """Raises Departed when there is nobody to send it to."""
    try:
        await call.context.write(encoded)
    except grpc.aio.InternalError:
        raise Departed from None


async def _close(stream: AsyncIterator[bytes]) -> None:
    """Free what grpc has read of a stream last: its generator and the object that has it are a cycle."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        with suppress(RuntimeError):  # somebody still waits for the next message
            await close()


def _release(answers: Answers, owner: str, size: int, context: Any) -> None:
    answers.release(owner, size)


def _encoded(response: Message | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()


def _parser(rpc: Rpc, method: MethodDescriptor) -> Parser:
    message_class = GetMessageClass(method.input_type)
    full_name = method.input_type.full_name
    check_elements = elements.checker(method.input_type, rpc.bounded)

    def parse(raw: bytes) -> Message:
        if len(raw) > limits.REQUEST_BYTES:
            raise MessageTooLarge(len(raw), limits.REQUEST_BYTES)
        check_elements(raw)
        try:
            return message_class.FromString(raw)
        except DecodeError as error:
            raise MalformedMessage(full_name) from error

    return parse
