"""TLS: the server's credentials, read again when their files change, and who a client's certificate stands for."""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections.abc import Iterable, Mapping
from typing import Final

import grpc

from plaudit_server.auth.principals import Principal, usable_name
from plaudit_server.config import Tls
from plaudit_server.errors import StartError, Unauthenticated

logger = logging.getLogger("plaudit_server")

CREDENTIAL: Final = "certificate"

AuthContext = Mapping[str, Iterable[bytes]]

_State = tuple[tuple[int, int, int], ...]


class CertificateFiles:
    """The files of a Tls section; `changed` is called at each handshake, from threads of grpc."""

    def __init__(self, config: Tls) -> None:
        self._paths = [path for path in (config.certificate, config.private_key, config.client_ca) if path]
        self._client_ca = bool(config.client_ca)
        self._lock = threading.Lock()
        self._state: _State | None = None
        self._refused: _State | None = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold now. Raises OSError, and ValueError for what is not PEM or does not fit together."""
        state = self._stat()
        contents = []
        for path in self._paths:
            with open(path, "rb") as file:
                contents.append(file.read())
        certificate, key = contents[:2]
        authorities = contents[2] if self._client_ca else None
        _check(self._paths)
        if self._stat() != state:
            raise ValueError("they were written to at this moment")
        self._state = state
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What the files hold if they have changed since, else None; raises nothing.

        Half-written files keep the old certificate in force, and are tried again at the next handshake.
        """
        with self._lock:
            try:
                state = self._stat()
                if state == self._state:
                    return None
                configuration = self.read()
            except (OSError, ValueError) as error:
                if self._refused != (refused := self._stat_or_none()):
                    logger.warning("the new TLS files cannot be used, the old ones stay in force: %s", error)
                self._refused = refused
                return None
            logger.info("TLS certificate read again from %s", self._paths[0])
            return configuration

    def _stat(self) -> _State:
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, self._paths))

    def _stat_or_none(self) -> _State | None:
        try:
            return self._stat()
        except OSError:
            return None


def server_credentials(config: Tls) -> grpc.ServerCredentials:
    """Credentials for `add_secure_port`, which follow their files. Raises StartError."""
    files = CertificateFiles(config)
    try:
        first = files.read()
    except OSError as error:
        raise StartError(f"cannot read {error.filename}: {error.strerror}; check the paths under [tls]") from error
    except ValueError as error:
        raise StartError(f"the TLS files cannot be used: {error}") from error
    return grpc.dynamic_ssl_server_credentials(
        first,
        # grpc's documentation asks for None when nothing has changed; its stubs do not allow it.
        files.changed,  # type: ignore[arg-type]
        require_client_authentication=bool(config.client_ca),
    )


def certificate_principal(context: AuthContext) -> Principal | None:
    """Who the peer's certificate stands for: its SPIFFE id, else its subject; None without one.

    grpc has verified the chain in the handshake. Raises Unauthenticated for a certificate that names nobody.
    """
    if not _first(context, "x509_pem_cert"):
        return None
    name = _first(context, "peer_spiffe_id")
    if not name:
        if any(uri.lower().startswith(b"spiffe:") for uri in context.get("peer_uri", ())):
            # Not valid as an SVID, so grpc gave no SPIFFE id: the subject must not stand in for it.
            raise Unauthenticated("the certificate's SPIFFE id cannot be used; it must be its only URI")
        name = _first(context, "x509_subject")
    if not usable_name(name):
        raise Unauthenticated("the certificate has neither a SPIFFE id nor a subject that can be a name")
    return Principal(name, (), CREDENTIAL)


def _first(context: AuthContext, key: str) -> str:
    return next(iter(context.get(key, ())), b"").decode("utf-8", "replace")


def _check(paths: list[str]) -> None:
    """Raise ValueError unless the files are a certificate, its key (between two writes of a rotation it is not), and
    authorities if there is a third.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # grpc's library decides whether a key is long enough; here it only matters whether the files can be read.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    certificate, key, *authorities = paths
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError("the private key is not that of the certificate") from error
        raise ValueError("the certificate or its key is no PEM without password") from error
    for path in authorities:
        try:
            context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise ValueError("the client_ca holds no certificate in PEM") from error


def _no_password() -> str:
    """No password; without this function OpenSSL would ask for one at the terminal."""
    return ""
