"""The proxy that gRPC takes from the environment, so that errors can name it; gRPC itself reads the variables."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from plaudit._wire.address import Address

_PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy")


def proxy_for(address: Address, environment: Mapping[str, str] | None = None) -> str:
    """What an error says of the proxy on the way to a server, without user and password; empty when there is none."""
    given = os.environ if environment is None else environment
    name = next((name for name in _PROXIES if given.get(name)), None)
    if name is None or address.is_local or not address.host or _is_exception(address.host, given):
        return ""
    shown = given[name].rpartition("@")[2].rpartition("//")[2].partition("/")[0]
    return f"the proxy {shown} (of {name} in the environment; no_proxy names the hosts that need none)"


def _is_exception(host: str, given: Mapping[str, str]) -> bool:
    listed = next((given[name] for name in _EXCEPTIONS if given.get(name)), "")
    for entry in filter(None, map(str.strip, listed.split(","))):
        if entry == "*" or host.lower().endswith(entry.lower().removeprefix("*")):
            return True
        with suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
    return False
