"""The channels of one client, blocking or of asyncio: opened when calls need them, closed with the client.

A server takes a bounded number of calls on one connection, and gRPC lets further ones wait in it while their deadline
runs. So a channel takes fewer, and when it is full another is opened. Nothing here locks, and nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

from plaudit._contract import limits
from plaudit._core.errors import ClientClosedError
from plaudit._settings import Settings
from plaudit._wire.address import Address
from plaudit._wire.credentials import credentials_for
from plaudit._wire.methods import Method
from plaudit._wire.proxy import proxy_for

ChannelT = TypeVar("ChannelT", bound=Any)
"""`grpc.Channel`, or `grpc.aio.Channel`."""

Kind = Literal["unary_unary", "unary_stream", "stream_stream"]
"""Which sides of a call are streams, by the names of gRPC."""

CALLS_OF_CHANNEL: Final = 100
"""The calls at a time on one connection; a server of plaudit takes 200, many proxies take 100."""

CALLS: Final = 2 * CALLS_OF_CHANNEL
"""The unary calls of a client that are on their way at a time; further ones wait, and their deadline does not run."""

CHANNEL_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    # A response may have 4 MiB, which is exactly gRPC's own default limit: leave room.
    ("grpc.max_receive_message_length", limits.GRPC_RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that restarts is found again at once, well before the deadline of a call.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt to connect may take: a host that drops packets must not use up the whole deadline.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.primary_user_agent", "plaudit-python"),
)

# Channels to one target would share a connection.
_OWN_CONNECTION: Final = ("grpc.use_local_subchannel_pool", 1)
# gRPC would send what is meant for this machine through the proxy of the environment, too.
_NO_PROXY: Final = ("grpc.enable_http_proxy", 0)


class Channel(Generic[ChannelT]):
    """A channel, the stubs that were made for it, one for each method, and how many calls it has now."""

    __slots__ = ("calls", "inner", "stubs")

    def __init__(self, inner: ChannelT) -> None:
        self.inner = inner
        self.stubs: dict[str, Callable[..., Any]] = {}
        self.calls = 0

    def stub(self, method: Method[Any, Any], kind: Kind) -> Callable[..., Any]:
        """The stub of a method, made if there is none yet."""
        made = self.stubs.get(method.name)
        if made is None:
            made = self.stubs[method.name] = getattr(self.inner, kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return made


class Channels(Generic[ChannelT]):
    """The channels to one server. `library` is the module that opens them: `grpc` or `grpc.aio`.

    A channel `given` by the caller is used alone and as it is, and stays the caller's to close.
    """

    __slots__ = ("_credentials", "_given", "_library", "_opened", "address", "is_closed", "proxy", "target")

    def __init__(self, library: Any, settings: Settings, given: ChannelT | None) -> None:
        self._library = library
        self.address = Address.parse(settings.target)
        self._credentials = credentials_for(self.address, settings) if given is None else None
        self._given = None if given is None else Channel(given)
        self._opened: list[Channel[ChannelT]] = []
        self.is_closed = False
        self.target = self.address.target if given is None else "the server of the given channel"
        """The target, as errors name it."""
        self.proxy = "" if given is not None else proxy_for(self.address)
        """The proxy on the way, as errors name it; empty without one."""

    def take(self) -> Channel[ChannelT]:
        """A channel with room for a call, which is counted; another is opened if none has room.

        Raises ClientClosedError after `close`.
        """
        if self.is_closed:
            raise closed()
        chosen = self._given
        if chosen is None:
            chosen = next((one for one in self._opened if one.calls < CALLS_OF_CHANNEL), None)
            if chosen is None:
                chosen = Channel(self._open())
                self._opened.append(chosen)
        chosen.calls += 1
        return chosen

    def close(self) -> list[ChannelT]:
        """Give out no more channels; those that were opened here are now the caller's to close."""
        self.is_closed = True
        return [one.inner for one in self.forget()]

    def forget(self) -> list[Channel[ChannelT]]:
        """Open other channels from now on; returns those of before."""
        opened, self._opened = self._opened, []
        if self._given is not None:
            self._given = Channel(self._given.inner)
        return opened

    def _open(self) -> ChannelT:
        options = [*CHANNEL_OPTIONS]
        if self._opened:
            options.append(_OWN_CONNECTION)
        if self.address.is_local:
            options.append(_NO_PROXY)
        channel: ChannelT
        if self._credentials is None:
            channel = self._library.insecure_channel(self.address.target, options)
        else:
            channel = self._library.secure_channel(self.address.target, self._credentials, options)
        return channel


def closed() -> ClientClosedError:
    """The error of a call after `close`, and of a call that `close` has ended."""
    return ClientClosedError("the client is closed")
