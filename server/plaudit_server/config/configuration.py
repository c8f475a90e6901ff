"""All settings of a server together, and what must hold between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from plaudit_server.config.addresses import is_loopback, split_address
from plaudit_server.config.errors import ConfigError
from plaudit_server.config.fields import check_values, setting
from plaudit_server.config.redaction import without_password
from plaudit_server.config.sections import Admin, Auth, Connections, Http, Jwt, Limits, Tls, Tokens, Tracing

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("auto", "json", "text")
LOGGED_CALLS: Final = ("failed", "all", "off")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a server. Raises ConfigError for settings that contradict each other."""

    store: str = setting("sqlite:plaudit.db", "Where feedback is kept: sqlite:PATH or postgresql://HOST/DATABASE.")
    listen: str = setting("127.0.0.1:50051", "Address to listen on, HOST:PORT; port 0 means any free one.")
    workers: int = setting(
        1, "Server processes on the one port; more than one needs a PostgreSQL store.", minimum=1, maximum=256
    )
    insecure: bool = setting(
        False, "Whether to listen where other machines can connect although callers are not authenticated."
    )
    reflection: bool = setting(True, "Whether the server describes its methods and messages to gRPC tools.")
    log_level: str = setting("info", "The least level that is logged, on standard error.", choices=LOG_LEVELS)
    log_format: str = setting(
        "auto", "The form of the log: json, text, or auto: text on a terminal, else json.", choices=LOG_FORMATS
    )
    log_calls: str = setting(
        "failed",
        "Which calls leave a line in the log, at level info: failed (and slow), all, off.",
        choices=LOGGED_CALLS,
    )
    log_slow_seconds: float = setting(
        1.0, "Calls slower than this, except streams, are logged; 0: none are.", minimum=0
    )
    audit_log: str = setting(
        "auto",
        "Where writes and refusals are logged: stderr, off, a file; auto: stderr, but off without authentication.",
    )
    tls: Tls = field(default_factory=Tls)
    auth: Auth = field(default_factory=Auth)
    jwt: Jwt = field(default_factory=Jwt)
    limits: Limits = field(default_factory=Limits)
    connections: Connections = field(default_factory=Connections)
    admin: Admin = field(default_factory=Admin)
    tracing: Tracing = field(default_factory=Tracing)
    http: Http = field(default_factory=Http)
    tokens: Tokens = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        check_values(self, "")
        _check_ports(self)
        for key, address in self.ports:
            host, _ = split_address(address, key)
            if not self.authenticated and not self.insecure and not is_loopback(host):
                raise ConfigError(
                    f"{key} is {address}, beyond this machine, and nobody is authenticated: set auth.api_keys, "
                    "jwt.issuer or tls.client_ca; or say --insecure where the network itself keeps others out"
                )

    @property
    def ports(self) -> list[tuple[str, str]]:
        """The addresses at which feedback can be called, each with the name of its setting."""
        return [
            (key, address) for key, address in (("listen", self.listen), ("http.listen", self.http.listen)) if address
        ]

    @property
    def authenticated(self) -> bool:
        """Whether callers must prove who they are; otherwise all are `anonymous`, with all rights."""
        return bool(self.auth.api_keys or self.jwt.issuer or self.tls.client_ca)

    @property
    def is_audited(self) -> bool:
        """Whether writes and refusals are logged."""
        return self.audit_log != "off" and (self.authenticated or self.audit_log != "auto")

    @property
    def shown_store(self) -> str:
        """The store's URL with its password hidden, for logs."""
        return without_password(self.store)

    def warnings(self) -> list[str]:
        """What an operator should know about these settings, a line each."""
        lines = []
        for key, address in self.ports:
            beyond = not is_loopback(split_address(address, key)[0])
            if beyond and not self.authenticated:
                lines.append(f"everybody who reaches {address} can read and purge everything: no authentication is set")
            elif beyond and not self.tls.certificate:
                lines.append(f"credentials travel in clear text to {address}: tls.certificate is not set")
        for key, address in self.admin.addresses:
            if not is_loopback(split_address(address, key)[0]):
                lines.append(f"everybody who reaches {key} {address} can see the state of the server, but no feedback")
        return lines


def _check_ports(config: Config) -> None:
    """Check that no two listeners share a port, and that every worker's port exists. Raises ConfigError."""
    taken: dict[int, str] = {}
    # The workers share the ports of callers; each has operators' ports of its own.
    shared = [(key, address, 1) for key, address in config.ports]
    for key, address, number in [*shared, *((*named, config.workers) for named in config.admin.addresses)]:
        port = split_address(address, key)[1]
        for wanted in range(port, port + number) if port else ():
            if wanted > 65535:
                raise ConfigError(f"{key} is {address}: there is no port {wanted} for the last of the workers")
            if wanted in taken:
                raise ConfigError(f"{key} is {address}, and port {wanted} is that of {taken[wanted]} already")
            taken[wanted] = key
