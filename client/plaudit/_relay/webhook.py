"""Webhooks by the Standard Webhooks specification: signed, to an address that has been checked, without redirects."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import quote, urlsplit

from plaudit._relay.event import Event
from plaudit._relay.sinks import NotDelivered, Stopped

_PREFIX: Final = "whsec_"
_LEAST_SECRET_BYTES: Final = 24
_GONE: Final = 410
_READ_BYTES: Final = 64 * 1024

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def secret_of(text: str) -> bytes:
    """The key of a secret in the form `whsec_…`, or in base64. Raises ValueError, which does not show it."""
    try:
        key = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a secret is whsec_ and base64, as in: openssl rand -base64 32") from None
    if len(key) < _LEAST_SECRET_BYTES:
        raise ValueError(f"a secret has at least {_LEAST_SECRET_BYTES} bytes")
    return key


def signature(secrets: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """The header of a delivery: a signature by each secret, so that receivers may change theirs at any time."""
    signed = f"{id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets
    )


class Webhook:
    """Sends each change to a URL by POST; any answer from 200 to 299 means that it has arrived."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[bytes],
        *,
        form: str = "webhook",
        timeout: float = 15.0,
        allowed: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout` in seconds; `allowed` are networks that are not public and may be connected to all the same.

        Raises ValueError for a URL that cannot be used.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a webhook's URL is https://host/path")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a webhook's URL holds no user and password: deliveries are signed")
        self._host, self._is_tls = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secrets = secrets
        self._form = form
        self._timeout = timeout
        self._allowed = allowed
        self._tls = tls or (ssl.create_default_context() if self._is_tls else None)

    def deliver(self, event: Event) -> None:
        """Send it. Raises NotDelivered for all but a good answer, a redirect too; Stopped when the URL is gone."""
        body = event.body(self._form)
        connection = self._connection()
        try:
            connection.request("POST", self._path, body, self._headers(event, body))
            response = connection.getresponse()
            response.read(_READ_BYTES)
        except (OSError, HTTPException) as error:
            raise NotDelivered(f"{self._host}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        if response.status == _GONE:
            raise Stopped(f"{self._host} answered 410: it wants no more")
        if not 200 <= response.status < 300:
            after = response.getheader("Retry-After") or ""
            raise NotDelivered(f"{self._host} answered {response.status}", float(after) if after.isdigit() else None)

    def _headers(self, event: Event, body: bytes) -> Mapping[str, str]:
        now = int(time.time())
        id = quote(event.id, safe="/:")  # in a header stands ASCII, and nothing that could end it
        headers = {
            "Host": self._host if self._port in (80, 443) else f"{self._host}:{self._port}",
            "Content-Type": "application/cloudevents+json" if self._form == "cloudevents" else "application/json",
            "User-Agent": "plaudit-relay",
            "webhook-id": id,
            "webhook-timestamp": str(now),
        }
        if self._secrets:
            headers["webhook-signature"] = signature(self._secrets, id, now, body)
        return headers

    def _connection(self) -> HTTPConnection:
        """A connection to an address that may be connected to; it was checked, and it is what is connected to."""
        address = self._address()
        if self._tls is None:
            return HTTPConnection(address, self._port, timeout=self._timeout)
        return _Verified(self._host, address, self._port, self._timeout, self._tls)

    def _address(self) -> str:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NotDelivered(f"{self._host} is not found: {error.strerror or error}") from error
        addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        for address in addresses:
            if may_connect(address, self._allowed):
                return str(address)
        named = ", ".join(sorted({str(address) for address in addresses}))
        raise NotDelivered(f"{self._host} is {named}, which is no public address: --allow-private names networks")


class _Verified(HTTPSConnection):
    """TLS to an address, with the certificate of a name."""

    def __init__(self, name: str, address: str, port: int, timeout: float, tls: ssl.SSLContext) -> None:
        super().__init__(address, port, timeout=timeout, context=tls)
        self._name = name
        self._verifying = tls

    def connect(self) -> None:
        """Connect to the address, and take the certificate of the name alone."""
        HTTPConnection.connect(self)
        self.sock = self._verifying.wrap_socket(self.sock, server_hostname=self._name)


def may_connect(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address is public, or of a network that was allowed; addresses within others count as these."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            address = inner
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return address.is_global and not address.is_multicast
