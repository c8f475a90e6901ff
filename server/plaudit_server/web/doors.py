"""Which requests the HTTP port accepts from browsers: by Host and Origin, before anything else, and CORS; pure.

Any page on the web can make a browser send requests to a server on its user's machine, under a name that resolves there
(DNS rebinding). Its requests carry that name as their Host and the page's address as their Origin: both are checked on
every path, with or without a preflight.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from plaudit_server.web.faults import HttpRefusal
from plaudit_server.web.headers import HeaderPairs, Headers

PREFLIGHT_SECONDS: Final = 7200

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(?::([0-9]{1,5}))?")
_SENT: Final = ", ".join(
    (
        "authorization",
        "connect-accept-encoding",
        "connect-content-encoding",
        "connect-protocol-version",
        "connect-timeout-ms",
        "content-encoding",
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-timeout",
        "traceparent",
        "tracestate",
        "x-grpc-web",
        "x-request-id",
        "x-user-agent",
    )
)
_READ: Final = ", ".join(
    (
        "connect-content-encoding",
        "content-encoding",
        "grpc-encoding",
        "grpc-message",
        "grpc-status",
        "grpc-status-details-bin",
        "retry-after",
        "trailer-x-request-id",
        "x-request-id",
    )
)


@dataclass(frozen=True, slots=True)
class Doors:
    """The rules for Host and Origin of one server."""

    listen_host: str = ""
    """The host of the address that the server listens on."""
    hosts: frozenset[str] = frozenset()
    """More names that requests may be sent to, in lower case."""
    origins: frozenset[str] = frozenset()
    """Origins whose pages may call every service."""
    public_services: frozenset[str] = frozenset()
    """Services, by name without package, that pages of any origin may call."""
    public_origin: str = ""
    """The origin of the server's public URL, for a proxy that ends TLS in front of it."""

    def check_host(self, headers: Headers) -> str:
        """The request's Host, in lower case and with its port. Raises HttpRefusal: 400 for none, several, or no host;
        421 for another server's.
        """
        value = headers.get("host")
        found = None if value is None else _HOST.fullmatch(value)
        if value is None or found is None:
            raise HttpRefusal(400, "a request needs exactly one Host")
        name = found[1].lower().removesuffix(".")
        if not (_is_loopback(name) or name == self._own_name() or name in self.hosts):
            raise HttpRefusal(421, "this server does not answer for that host; its names are set by http.hosts")
        return value.lower()

    def check_origin(self, headers: Headers, scheme: str, host: str, *, public: bool) -> str | None:
        """The request's Origin; None for a request without one, as programs send it. Raises HttpRefusal: 403 for a
        foreign one, unless what is asked for is `public`.
        """
        values = headers.all("origin")
        if not values:
            return None
        origin = values[0]
        if len(values) == 1 and (public or origin in self.origins or origin in self._own_origins(scheme, host)):
            return origin
        raise HttpRefusal(403, "pages of this origin may not call this server; those that may are in http.origins")

    def _own_name(self) -> str:
        host = self.listen_host.lower()
        return "" if _is_unspecified(host) else host

    def _own_origins(self, scheme: str, host: str) -> tuple[str, str]:
        # The port that a scheme implies is not written in an origin, but may be in a Host.
        name = host.removesuffix(":443" if scheme == "https" else ":80")
        return f"{scheme}://{name}", self.public_origin or f"{scheme}://{name}"


def cors_headers(origin: str | None) -> HeaderPairs:
    """What lets a page of an origin that was let in read an answer: never with credentials, there are no cookies."""
    vary = [("vary", "origin")]
    if origin is None:
        return vary
    return [("access-control-allow-origin", origin), ("access-control-expose-headers", _READ), *vary]


def preflight_headers(origin: str) -> HeaderPairs:
    """The answer to a preflight of an origin that was let in."""
    return [
        ("access-control-allow-origin", origin),
        ("access-control-allow-methods", "GET, POST"),
        ("access-control-allow-headers", _SENT),
        ("access-control-max-age", str(PREFLIGHT_SECONDS)),
        ("vary", "origin, access-control-request-method, access-control-request-headers"),
    ]


@lru_cache(maxsize=256)
def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _is_unspecified(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_unspecified
    except ValueError:
        return not name
