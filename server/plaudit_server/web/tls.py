"""TLS of the HTTP port: contexts of the same files as gRPC's, and who a client's certificate stands for."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final

from plaudit_server.auth.tls import logger
from plaudit_server.config import Tls
from plaudit_server.errors import StartError

AuthContext = Mapping[str, Iterable[bytes]]

_NOBODY: Final[AuthContext] = {}
# As RFC 2253 writes them, which is how gRPC gives a subject.
_SHORT_NAMES: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "street",
    "domainComponent": "DC",
    "userId": "UID",
    "emailAddress": "emailAddress",
    "serialNumber": "serialNumber",
    "givenName": "GN",
    "surname": "SN",
    "title": "title",
}
_ESCAPED: Final = ',+"\\<>;'
_SPIFFE: Final = "spiffe://"


class TlsFiles:
    """A context of the files of a Tls section, made again when they change."""

    def __init__(self, config: Tls) -> None:
        self._config = config
        self._paths = [path for path in (config.certificate, config.private_key, config.client_ca) if path]
        self._state: object = None

    def __call__(self) -> ssl.SSLContext | None:
        """The context of the files as they are now, if they have changed since this was last asked; else None.

        Raises StartError the first time that they cannot be used; later such files leave what there is in force.
        """
        try:
            state = self._stat()
            if state == self._state:
                return None
            context = self._context()
            if self._stat() != state:
                raise ValueError("they were written to at this moment")
        except (OSError, ValueError) as error:
            if self._state is None:
                raise StartError(f"the TLS files cannot be used: {error}") from error
            logger.warning("the new TLS files cannot be used, the old ones stay in force: %s", error)
            return None
        self._state = state
        return context

    def _stat(self) -> object:
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, self._paths))

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._config.certificate, self._config.private_key, password=_no_password)
        if self._config.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._config.client_ca)
        return context


def auth_context(transport: asyncio.Transport) -> AuthContext:
    """What the peer's certificate says, under the names that gRPC uses; empty without one."""
    certificate: Any = transport.get_extra_info("peercert")
    if not certificate:
        return _NOBODY
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    found = {
        # Nobody asks for its bytes: what counts is that there is one.
        "x509_pem_cert": [b"certificate"],
        "peer_uri": [uri.encode() for uri in uris],
        "x509_subject": [_subject(certificate.get("subject", ())).encode()],
    }
    if len(uris) == 1 and _is_spiffe(uris[0]):
        found["peer_spiffe_id"] = [uris[0].encode()]
    return found


def _is_spiffe(uri: str) -> bool:
    """As gRPC decides: a trust domain of at most 255 characters, a path, at most 2,048 in all."""
    if not uri.startswith(_SPIFFE) or len(uri) > 2048:
        return False
    domain, slash, path = uri.removeprefix(_SPIFFE).partition("/")
    return 0 < len(domain) <= 255 and bool(slash and path)


def _subject(names: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A subject as RFC 2253 writes it, the last part first; empty when a part has a name that is not known here."""
    parts = []
    for name in reversed(list(names)):
        pairs = list(name)
        if any(kind not in _SHORT_NAMES for kind, _ in pairs):
            return ""
        parts.append("+".join(f"{_SHORT_NAMES[kind]}={_escaped(value)}" for kind, value in reversed(pairs)))
    return ",".join(parts)


def _escaped(value: str) -> str:
    text = "".join(f"\\{c}" if c in _ESCAPED else _visible(c) for c in value)
    if text.startswith(("#", " ")):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if value.endswith(" ") and len(value) > 1 else text


def _visible(character: str) -> str:
    """Printable ASCII as it is, everything else byte by byte in UTF-8."""
    if " " <= character <= "~":
        return character
    return "".join(f"\\{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def _no_password() -> str:
    """Instead of asking on the terminal."""
    raise ValueError("the private key is encrypted; give one that is not")
