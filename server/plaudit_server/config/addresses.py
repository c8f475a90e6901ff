"""Addresses to listen on, HOST:PORT, as text and as their parts."""

from __future__ import annotations

import ipaddress
import re

from plaudit_server.config.errors import ConfigError


def split_address(address: str, key: str = "listen") -> tuple[str, int]:
    """Host and port of `HOST:PORT`, an IPv6 host without its brackets. Raises ConfigError, which names the `key`."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/\s]+)):(\d{1,5})", address)
    if match is None or int(match[3]) > 65535:
        raise ConfigError(f"{key} is {address!r}; use HOST:PORT, as 127.0.0.1:50051 or [::1]:50051")
    return match[1] or match[2], int(match[3])


def moved(address: str, by: int) -> str:
    """An address whose port is larger by the given number; port 0, or an address without a port, stays as it is."""
    host, colon, port = address.rpartition(":")
    return f"{host}:{int(port) + by}" if colon and port != "0" else address


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
