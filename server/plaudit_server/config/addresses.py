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


def check_origin(text: str, key: str) -> str:
    """An origin in the form in which browsers send it. Raises ConfigError, which names the `key`, also for `*`."""
    if text == "*":
        raise ConfigError(f"{key} is '*': every page could then call as whoever its user is; name the origins")
    found = re.fullmatch(r"(https?)://([a-z0-9._\-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", text)
    if found is None or text.endswith({"http": ":80", "https": ":443"}[found[1]]):
        raise ConfigError(
            f"{key} is {text!r}; write https://HOST or http://HOST:PORT as browsers do: in lower case, without a path,"
            " and without the port that the scheme implies"
        )
    return text


def check_host(text: str, key: str) -> str:
    """A host name as it is. Raises ConfigError, which names the `key`, for one with a port or in capital letters."""
    if not re.fullmatch(r"[a-z0-9._\-]*[a-z0-9_\-]|\[[0-9a-f:.]+\]", text):
        raise ConfigError(f"{key} is {text!r}; write a host name in lower case, without a port")
    return text


def check_network(text: str, key: str) -> str:
    """An address or a network as it is. Raises ConfigError, which names the `key`."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{key} is {text!r}; write an address, or a network such as 10.0.0.0/8: {error}") from error
    return text
