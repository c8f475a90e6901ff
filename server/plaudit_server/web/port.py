"""The HTTP port of a server: its settings and its handlers, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plaudit._contract import limits
from plaudit_server.config import Config, split_address
from plaudit_server.errors import MessageTooLarge, UnreadableRequest
from plaudit_server.rpc import port
from plaudit_server.rpc.declare import Service
from plaudit_server.web.bridge import Bridge, Handlers, Pages
from plaudit_server.web.connection import Bounds
from plaudit_server.web.doors import Doors
from plaudit_server.web.embedded import Embedded
from plaudit_server.web.faults import TooLarge, WebFault
from plaudit_server.web.mail_links import MailLinks
from plaudit_server.web.methods import Method, methods_of
from plaudit_server.web.peers import TrustedProxies
from plaudit_server.web.server import HttpServer
from plaudit_server.web.tls import TlsFiles, auth_context


def http_port(
    config: Config, services: Sequence[Service], handlers: port.Handlers, pages: Sequence[Pages]
) -> HttpServer:
    """The port, not yet open; `handlers` are by the full name of their service, then by method."""
    http = config.http
    served: dict[str, Any] = {}
    for path, method in methods_of([service.descriptor for service in services]).items():
        _, service, name = path.split("/")
        served[path] = (method, handlers[service][name])
    own = [Embedded().pages()]
    if "plaudit.v1.SubmitService" in handlers:
        own.append(MailLinks(handlers).pages())
    bridge = Bridge(
        Handlers(served, (*pages, *own)),
        Doors(
            listen_host=split_address(http.listen, "http.listen")[0],
            hosts=frozenset(http.hosts),
            origins=frozenset(http.origins),
            public_services=frozenset(http.public_services),
            public_origin=http.public_url,
        ),
        limit=limits.REQUEST_BYTES,
        body_seconds=http.body_seconds,
        proxies=TrustedProxies.parse(http.trusted_proxies),
        fault=_error,
    )
    return HttpServer(
        bridge,
        Bounds(http.connections, http.idle_seconds, http.head_seconds),
        user_timeout_seconds=http.user_timeout_seconds,
        reuse_port=config.workers > 1,
        tls=TlsFiles(config.tls) if config.tls.certificate else None,
        auth_context=auth_context,
    )


def _error(fault: WebFault, method: Method) -> Exception:
    """A fault of a request as what the chain knows, so that it has its details, its metrics and its line in the log."""
    if isinstance(fault, TooLarge):
        return MessageTooLarge(fault.size, fault.limit)
    return UnreadableRequest(method.descriptor.input_type.full_name, fault.code, fault.message)
