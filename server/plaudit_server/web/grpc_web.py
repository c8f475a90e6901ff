"""gRPC-Web in its binary form: envelopes both ways, the last one of the answer holds the trailers; no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from plaudit_server.web.compression import GZIP
from plaudit_server.web.envelopes import TRAILERS, sealed
from plaudit_server.web.exchange import STATUS_DETAILS, EnvelopedExchange, Outcome, Parts, reader_of
from plaudit_server.web.faults import WebFault
from plaudit_server.web.headers import Headers, grpc_message, grpc_timeout, header_pairs, names_token


@dataclass
class GrpcWeb(EnvelopedExchange):
    """A call in gRPC-Web; unary and streams look the same."""

    protocol = "grpc_web"

    def read_head(self, headers: Headers) -> None:
        """Take what the head says; a fault in it is kept for later."""
        try:
            self.metadata = headers.metadata()
            self.timeout = grpc_timeout(headers.get("grpc-timeout"))
            self._compression = reader_of(headers.get("grpc-encoding"))
        except WebFault as fault:
            self.fault = fault
        self.compresses = names_token(headers.all("grpc-accept-encoding"), GZIP)

    def end(self, outcome: Outcome) -> Parts:
        """The trailers, as HTTP/1.1 writes headers, in an envelope."""
        trailers = [("grpc-status", str(outcome.code))]
        if outcome.message:
            trailers.append(("grpc-message", grpc_message(outcome.message)))
        if outcome.details:
            trailers += header_pairs([(STATUS_DETAILS, outcome.details)])
        trailers += header_pairs([pair for pair in self.trailing if pair[0] != STATUS_DETAILS])
        text = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        return [*self._head(), sealed(TRAILERS, text.encode())]

    def _head(self) -> Parts:
        headers = [
            ("content-type", f"application/grpc-web+{self.codec.name}"),
            ("grpc-accept-encoding", GZIP),
            ("x-accel-buffering", "no"),
            ("cache-control", "no-store"),
        ]
        if self.compresses:
            headers.append(("grpc-encoding", GZIP))
        return self._head_once(200, headers)
