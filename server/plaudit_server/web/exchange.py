"""One call over HTTP in whatever protocol: what the parts of the port agree on, and what the protocols share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from plaudit_server.web.codecs import Codec
from plaudit_server.web.codes import OK
from plaudit_server.web.compression import GZIP, IDENTITY, THREAD_BYTES, WORTH_BYTES, compressed, decompressed
from plaudit_server.web.envelopes import COMPRESSED, EnvelopeReader, sealed
from plaudit_server.web.faults import BadRequest, UnexpectedCompression, UnknownCompression, WebFault, WrongCount
from plaudit_server.web.headers import HeaderPairs, Metadata, header_pairs
from plaudit_server.web.methods import Method

STATUS_DETAILS: Final = "grpc-status-details-bin"
PUSHBACK: Final = "grpc-retry-pushback-ms"
REQUEST_ID: Final = "x-request-id"


class Head(NamedTuple):
    """The first part of an HTTP answer."""

    status: int
    headers: HeaderPairs


class Encoded(NamedTuple):
    """A message as it goes over the wire; `compressed` says that it is gzip."""

    data: bytes
    compressed: bool


Parts = list[Head | bytes]
"""What goes out next: a head comes first and once, bytes are those of the body."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: gRPC's number of the status code, its message, and `google.rpc.Status` as bytes if there is
    one.
    """

    code: int = OK
    message: str = ""
    details: bytes = b""


@dataclass
class Exchange(ABC):
    """One call, without I/O: bytes of its request go in, messages come out of them; answers go in, parts of the HTTP
    answer come out.

    `initial` and `trailing` are the metadata of the answer; the first is sent with the first answer or the end,
    whichever comes first, the second with the end.
    """

    method: Method
    codec: Codec
    limit: int
    """The largest message, in bytes as its codec writes it, before compression."""
    metadata: Metadata = ()
    timeout: float | None = None
    """The deadline that the caller has set, in seconds."""
    fault: WebFault | None = None
    """What is wrong with the request's head; raised in place of its first message."""
    initial: list[tuple[str, str | bytes]] = field(default_factory=list)
    trailing: list[tuple[str, str | bytes]] = field(default_factory=list)
    compresses: bool = False
    """Whether the caller accepts answers as gzip."""
    _compression: str = IDENTITY
    """How the request is compressed."""
    _messages: int = 0
    _begun: bool = False

    protocol = ""
    """The name of the protocol in metrics and traces, as OpenTelemetry has it in `rpc.system.name`."""

    @abstractmethod
    def receive(self, data: bytes) -> list[bytes]:
        """The request's messages, as protobuf, that are complete with these bytes of its body. Raises WebFault."""

    @abstractmethod
    def finish(self) -> list[bytes]:
        """The request has ended: the messages that are complete only now. Raises WebFault."""

    def encoded(self, message: bytes) -> Encoded:
        """An answer, given as protobuf, as its caller reads it; changes nothing, so that it may run in a thread."""
        data = self.codec.response(message)
        return self._compressed(data)

    @abstractmethod
    def answer(self, message: Encoded) -> Parts:
        """Send an answer."""

    @abstractmethod
    def end(self, outcome: Outcome) -> Parts:
        """End the call; `trailing` is complete."""

    def slow_to_read(self, size: int) -> bool:
        """Whether `receive` and `finish` may hold the event loop too long, once this many bytes have come."""
        return self._compression != IDENTITY or (size > THREAD_BYTES and self.codec.name == "json")

    def slow_to_write(self, size: int) -> bool:
        """Whether `encoded` holds the event loop too long, for a message of this many bytes."""
        return size > THREAD_BYTES and (self.codec.name == "json" or self.compresses)

    def _compressed(self, data: bytes) -> Encoded:
        if self.compresses and len(data) >= WORTH_BYTES:
            return Encoded(compressed(data), True)
        return Encoded(data, False)

    def _request(self, data: bytes) -> bytes:
        """One message of the request, decompressed, as protobuf."""
        self._messages += 1
        if self._messages > 1 and not self.method.client_streaming:
            raise WrongCount(self._messages)
        return self.codec.request(data)

    def _head_once(self, status: int, headers: HeaderPairs) -> Parts:
        """The head, unless it has gone out."""
        if self._begun:
            return []
        self._begun = True
        # Also here, where scripts of other origins and people with curl can read it.
        ids = [pair for pair in self.trailing if pair[0] == REQUEST_ID and pair not in self.initial]
        return [Head(status, [*headers, *header_pairs(self.initial), *header_pairs(ids)])]


@dataclass
class EnvelopedExchange(Exchange):
    """What those protocols share whose messages are envelopes in both directions."""

    def __post_init__(self) -> None:
        self._reader = EnvelopeReader(self.limit)

    def receive(self, data: bytes) -> list[bytes]:
        """The messages that are complete."""
        if self.fault is not None:
            raise self.fault
        messages = []
        for flags, content in self._reader.feed(data):
            if flags & ~COMPRESSED:
                raise BadRequest("", f"a message of the request has the flags {flags:#04x}")
            if flags & COMPRESSED:
                if self._compression == IDENTITY:
                    raise UnexpectedCompression
                # Several compressors leave an empty message as it is.
                content = decompressed(content, self.limit) if content else content
            messages.append(self._request(content))
        return messages

    def finish(self) -> list[bytes]:
        """No more messages; a request that must have one and had none is refused."""
        if self.fault is not None:
            raise self.fault
        self._reader.finish()
        if self._messages == 0 and not self.method.client_streaming:
            raise WrongCount(0)
        return []

    def answer(self, message: Encoded) -> Parts:
        """One envelope, after the head if it is the first."""
        return [*self._head(), self._sealed(0, message)]

    @abstractmethod
    def _head(self) -> Parts:
        """The head, unless it has gone out."""

    def _sealed(self, flags: int, content: Encoded) -> bytes:
        return sealed(flags | COMPRESSED if content.compressed else flags, content.data)


def reader_of(name: str | None) -> str:
    """The compression that a header names, gzip or identity. Raises UnknownCompression."""
    if name in (None, "", IDENTITY):
        return IDENTITY
    if name != GZIP:
        raise UnknownCompression(str(name))
    return GZIP
