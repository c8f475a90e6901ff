"""Certificate authorities and certificates for tests, made when needed and valid for a day."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from plaudit_server.config import Tls

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, both also as PEM."""

    x509: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.x509.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write certificate and key as files; their paths."""
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        return certificate, key


def tls_of(server: Certificate, authority: Certificate, directory: Path) -> Tls:
    """The settings of a server with this certificate, which asks clients for one of this authority; as files."""
    certificate, key = server.write(directory, "server")
    trusted = directory / "authority.pem"
    trusted.write_bytes(authority.pem)
    return Tls(str(certificate), str(key), str(trusted))


def make(
    name: str = "",
    issuer: Certificate | None = None,
    *,
    uris: tuple[str, ...] = (),
    expired: bool = False,
) -> Certificate:
    """A certificate with `name` as CN (and O Acme), for this machine's names; without `issuer` an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [(NameOID.ORGANIZATION_NAME, "Acme"), (NameOID.COMMON_NAME, name)] if name else []
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.x509.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * _DAY)
        .not_valid_after(now - _DAY if expired else now + _DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        names: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            *map(x509.UniformResourceIdentifier, uris),
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not name)
    return Certificate(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def channel_credentials(authority: Certificate, client: Certificate | None = None) -> grpc.ChannelCredentials:
    """A client's credentials: the authority that it trusts, and its own certificate."""
    if client is None:
        return grpc.ssl_channel_credentials(authority.pem)
    return grpc.ssl_channel_credentials(authority.pem, client.key_pem, client.pem)
