"""What a handler sees of a call over HTTP: the few methods of a gRPC context that chain and services use."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import grpc

from plaudit_server.web.conversion import aside
from plaudit_server.web.exchange import STATUS_DETAILS, Exchange, Outcome, Parts

Metadata = Iterable[tuple[str, str | bytes]]
Send = Callable[[Parts], Awaitable[None]]


class WebContext:
    """One call over HTTP; `outcome` is how it was ended by `abort`, if it was."""

    def __init__(
        self,
        exchange: Exchange,
        peer: str,
        auth_context: Mapping[str, Iterable[bytes]],
        send: Send,
    ) -> None:
        """`send` sends parts, and waits while the caller takes nothing."""
        self.exchange = exchange
        self.outcome: Outcome | None = None
        self._started = time.monotonic()
        self._done: list[Callable[[Any], None]] = []
        self._peer = peer
        self._auth_context = auth_context
        self._send = send

    @property
    def protocol(self) -> str:
        """The protocol's name in metrics and traces."""
        return self.exchange.protocol

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """What came with the call."""
        return self.exchange.metadata

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What the peer's certificate says, under the names that gRPC uses."""
        return self._auth_context

    def peer(self) -> str:
        """The caller's address, as gRPC writes addresses."""
        return self._peer

    def time_remaining(self) -> float | None:
        """How many seconds the caller still gives the call; None for a call without a deadline."""
        timeout = self.exchange.timeout
        return None if timeout is None else max(0.0, self._started + timeout - time.monotonic())

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Add to the metadata that is sent before the first answer."""
        self.exchange.initial += metadata

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Set the metadata that is sent at the end."""
        self.exchange.trailing = list(metadata)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have a function called once the caller has taken the answer, or has gone."""
        self._done.append(callback)

    def done(self) -> None:
        """The caller has taken the answer, or has gone."""
        callbacks, self._done = self._done, []
        for callback in callbacks:
            callback(self)

    async def write(self, message: bytes) -> None:
        """Send a message; waits while the caller takes nothing."""
        exchange = self.exchange
        if exchange.slow_to_write(len(message)):
            encoded = await aside(exchange, exchange.encoded, message)
        else:
            encoded = exchange.encoded(message)
        await self._send(exchange.answer(encoded))

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with an error: raises AbortError."""
        trailing = list(trailing_metadata) or self.exchange.trailing
        status = next((v for name, v in trailing if name == STATUS_DETAILS and isinstance(v, bytes)), b"")
        self.exchange.trailing = [pair for pair in trailing if pair[0] != STATUS_DETAILS]
        self.outcome = Outcome(code.value[0], details, status)
        raise grpc.aio.AbortError(details)
