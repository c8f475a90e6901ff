"""Who is at the other end: the address that connected, or the one that trusted proxies name; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks whose X-Forwarded-For is believed."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> TrustedProxies:
        """Addresses and networks (`10.0.0.0/8`) as settings name them. Raises ValueError."""
        return cls(tuple(map(ipaddress.ip_network, texts)))

    def peer(self, connected: str, forwarded: Sequence[str]) -> str:
        """The caller's address: the rightmost of X-Forwarded-For that is no trusted proxy, if the one that `connected`
        is one.

        Entries further left are the caller's own words. An entry that is no address ends the search: whoever wrote it
        is the caller as far as anybody can say.
        """
        if not self.networks:
            return connected
        found = _address(connected)
        if found is None or not self._trusts(found):
            return connected
        for text in reversed([part for value in forwarded for part in value.split(",")]):
            address = _address(_without_port(text.strip()))
            if address is None:
                break
            found = address
            if not self._trusts(address):
                break
        return str(found)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def peer_text(address: str, port: int) -> str:
    """An address in the form in which grpc names peers; port 0 for a caller behind a proxy."""
    return f"ipv6:[{address}]:{port}" if ":" in address else f"ipv4:{address}:{port}"


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.partition(":")
    return host if port.isdigit() else text


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both families shows an IPv4 caller as ::ffff:a.b.c.d.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
