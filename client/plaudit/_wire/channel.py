"""One channel, blocking or of asyncio: opened by the first call, closed with the client; it makes the calls' stubs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

import grpc

from plaudit._contract import limits
from plaudit._wire.address import Address
from plaudit._wire.credentials import credentials_for
from plaudit._wire.methods import Method

ChannelT = TypeVar("ChannelT", bound=Any)
"""`grpc.Channel`, or `grpc.aio.Channel`."""

Kind = Literal["unary_unary", "unary_stream", "stream_stream"]
"""Which sides of a call are streams, by the names of gRPC."""

CHANNEL_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    # A response may have 4 MiB, which is exactly gRPC's own default limit: leave room.
    ("grpc.max_receive_message_length", limits.GRPC_RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that restarts is found again within a second, well before the deadline of a call.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt to connect may take: a host that drops packets must not use up the whole deadline.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.primary_user_agent", "plaudit-python"),
)


class LazyChannel(Generic[ChannelT]):
    """A channel that its first stub opens, and the stubs that it has made, one for each method.

    `library` is the module that opens it: `grpc` or `grpc.aio`. A channel `given` by the caller is used as it is, and
    stays the caller's to close. Nothing here locks.
    """

    __slots__ = ("_address", "_credentials", "_given", "_is_closed", "_library", "_opened", "stubs")

    def __init__(
        self, library: Any, target: str, credentials: grpc.ChannelCredentials | None, given: ChannelT | None
    ) -> None:
        self._library = library
        self._address = Address.parse(target)
        self._credentials = credentials
        self._given = given
        self._opened: ChannelT | None = None
        self._is_closed = False
        self.stubs: dict[str, Callable[..., Any]] = {}
        """The stubs that there are, by the name of the method; none after `close`."""

    def stub(self, method: Method[Any, Any], kind: Kind) -> Callable[..., Any]:
        """The stub of a method, made if there is none yet. Raises RuntimeError after `close`."""
        if self._is_closed:
            raise RuntimeError("the client is closed")
        made = self.stubs.get(method.name)
        if made is None:
            channel = self._given
            if channel is None:
                channel = self._opened = self._opened or self._open()
            made = self.stubs[method.name] = getattr(channel, kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return made

    def close(self) -> ChannelT | None:
        """Make no more stubs; the channel that was opened here and is now the caller's to close."""
        self._is_closed = True
        return self.forget()

    def forget(self) -> ChannelT | None:
        """Open another channel at the next stub; the one of before."""
        opened, self._opened = self._opened, None
        self.stubs = {}
        return opened

    def _open(self) -> ChannelT:
        credentials = credentials_for(self._address, self._credentials)
        channel: ChannelT
        if credentials is None:
            channel = self._library.insecure_channel(self._address.target, CHANNEL_OPTIONS)
        else:
            channel = self._library.secure_channel(self._address.target, credentials, CHANNEL_OPTIONS)
        return channel
