"""Where a server listens: the target as a user writes it, checked and read once; opening a channel is in `channel`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final

_SECURE_SCHEMES: Final = ("https", "grpcs")
_PLAIN_SCHEMES: Final = ("http", "grpc")
# What gRPC reads itself; the names after the colon are not ours to check, but for ports.
_NAMES: Final = re.compile(r"(unix|unix-abstract|vsock|dns|ipv4|ipv6|xds|google-c2p):(.*)", re.DOTALL)
_HOST_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s\[\]:/?#@\\]+)(?::([0-9]+))?")
_HTTPS_PORT: Final = 443
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A target of gRPC, and whether the connection to it uses TLS."""

    target: str
    secure: bool
    scheme: str = field(default="", compare=False)
    """What stood before `://`, if it was one of ours."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`, `https://host:port`, `grpcs://…`, `http://…`, `grpc://…` or a name of gRPC's (`unix:…`).

        Raises ValueError, which says how to write it, for what no connection can ever be opened to. The message has
        neither user nor password in it.
        """
        if not text.strip():
            raise ValueError("the target is empty; write host:port, such as localhost:50051")
        if any(character.isspace() or not character.isprintable() for character in text):
            raise ValueError("not the address of a server: there are blanks in the target; write host:port")
        scheme, separator, rest = text.partition("://")
        if separator and scheme in _SECURE_SCHEMES + _PLAIN_SCHEMES:
            secure = scheme in _SECURE_SCHEMES
            rest = rest.removesuffix("/")
            default = _HTTPS_PORT if secure else None
            return cls(_host_and_port(rest, default, f"{scheme}://"), secure, scheme)
        named = _NAMES.fullmatch(text)
        if named is not None:
            _check_name(named[1], named[2])
            return cls(text, secure=False)
        if separator:
            named_scheme = f"the scheme {scheme!r}" if re.fullmatch(r"[A-Za-z][\w+.-]{0,20}", scheme) else "its scheme"
            raise ValueError(
                f"not the address of a server: {named_scheme} is not known; "
                f"write host:port, or https://host:port for TLS"
            )
        return cls(_host_and_port(text, None, ""), secure=False)

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, where no proxy of the environment must be used."""
        if self.target.startswith(("unix:", "unix-abstract:", "vsock:")):
            return True
        return is_loopback(self.host)

    @property
    def host(self) -> str:
        """The host alone, without brackets; empty for a name of gRPC's that has none."""
        target = re.sub(r"^(dns|ipv4|ipv6):(//[^/]*/)?", "", self.target)
        found = _HOST_AND_PORT.match(target)
        return "" if found is None else found[1].strip("[]")


def is_loopback(host: str) -> bool:
    """Whether a host names this machine."""
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _host_and_port(text: str, default: int | None, scheme: str) -> str:
    """The text as `host:port`. Raises ValueError."""
    found = _HOST_AND_PORT.fullmatch(text)
    port = None if found is None else found[2] or default
    if found is None or port is None or len(str(port)) > 9 or not 0 < int(port) <= _LAST_PORT:
        raise ValueError(_advice(text, scheme))
    return f"{found[1]}:{port}"


def _advice(text: str, scheme: str) -> str:
    """What is wrong with a text, and how to write it: without what may be a secret in it."""
    shown, reasons = text, []
    if "@" in shown:
        reasons.append("it must not have a user or a password (send an api_key)")
        shown = shown.rpartition("@")[2]
    host, mark, _ = shown.partition(re.search(r"[/?#\\]|$", shown)[0] or "\0")  # type: ignore[index]
    if mark:
        reasons.append("it must not have a path")
        shown = host
    bare = shown.count(":") > 1 and "[" not in shown
    name, _, port = shown.rpartition(":") if "]:" in shown or shown.count(":") == 1 else (shown, "", "")
    if bare:
        reasons.append("an IPv6 address stands in brackets")
        name = "[::1]"
    elif not port:
        reasons.append("it has no port")
    elif not (port.isascii() and port.isdigit() and 0 < int(port[:9]) <= _LAST_PORT):
        reasons.append(f"a port is a number from 1 to {_LAST_PORT}")
    port = port if port.isascii() and port.isdigit() and 0 < int(port[:9]) <= _LAST_PORT and not bare else "50051"
    if not re.fullmatch(r"\[[^\]]*\]|[\w.-]+", name):
        name = "host"
    return f"not the address of a server: {', and '.join(reasons) or 'no host'}; write {scheme}{name}:{port}"


def _check_name(kind: str, rest: str) -> None:
    """Check a name that gRPC reads itself, as far as it can be seen that it never works. Raises ValueError."""
    if kind in ("unix", "unix-abstract"):
        path = rest.removeprefix("//") if kind == "unix" else rest
        if not path:
            raise ValueError(f"not the address of a server: {kind}: needs a path; write unix:/run/plaudit.sock")
        if rest.startswith("//") and not path.startswith("/"):
            raise ValueError("not the address of a server: after unix:// the path is absolute; write unix:///run/…")
    elif kind in ("dns", "ipv4", "ipv6"):
        names = re.sub(r"^//[^/]*/", "", rest)
        for name in names.split(",") if kind != "dns" else [names]:
            _host_and_port(name, None, f"{kind}:")
