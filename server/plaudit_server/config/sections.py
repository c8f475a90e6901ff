"""The sections of the settings; each checks its values, and that what belongs together is set together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from plaudit_server.config.addresses import check_host, check_network, check_origin, is_loopback, moved, split_address
from plaudit_server.config.errors import ConfigError
from plaudit_server.config.fields import check_values, setting
from plaudit_server.config.grants import NamedGrant

# Never a symmetric one: everybody who can verify could then sign, and a public key could be used as a secret.
JWT_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates, all as PEM files, read again when they change."""

    certificate: str = setting("", "File with the server's certificate, then its intermediates; empty: no TLS.")
    private_key: str = setting("", "File with the certificate's private key.")
    client_ca: str = setting("", "File with the authorities of client certificates; with it every client needs one.")

    def __post_init__(self) -> None:
        check_values(self, "tls.")
        if bool(self.certificate) != bool(self.private_key):
            raise ConfigError("tls.certificate and tls.private_key go together; give both or none")
        if self.client_ca and not self.certificate:
            raise ConfigError("tls.client_ca needs tls.certificate and tls.private_key")


@dataclass(frozen=True, slots=True)
class Auth:
    """API keys, and what principals of certificates and tokens may do."""

    api_keys: bool = setting(False, "Whether callers may authenticate with keys of `plaudit-server keys`.")
    key_refresh_seconds: float = setting(
        2.0, "How often keys are read again; a revoked key is refused after this time.", minimum=0.05, maximum=3600
    )
    grants: tuple[NamedGrant, ...] = setting(
        (), "Roles of principals: tables (in flags and environment JSON) of principal, role and projects."
    )

    def __post_init__(self) -> None:
        check_values(self, "auth.")


@dataclass(frozen=True, slots=True)
class Jwt:
    """Tokens of an identity provider."""

    issuer: str = setting("", "The `iss` that tokens must have; empty: no tokens are accepted.")
    audience: str = setting("", "The `aud` that tokens must have.")
    keys: str = setting("", "The issuer's public keys (JWKS): a file, or an https URL.")
    algorithms: tuple[str, ...] = setting(
        ("RS256", "ES256"), "The signature algorithms accepted.", choices=JWT_ALGORITHMS
    )
    role_claim: str = setting("plaudit_role", "The claim that holds the role, or a list with it.")
    projects_claim: str = setting("plaudit_projects", "The claim that lists the project patterns of that role.")
    leeway_seconds: float = setting(30.0, "How far clocks may differ.", minimum=0, maximum=300)
    key_refresh_seconds: float = setting(300.0, "How often the keys are read again.", minimum=1, maximum=86_400)

    def __post_init__(self) -> None:
        check_values(self, "jwt.")
        if self.issuer and not (self.audience and self.keys and self.algorithms):
            raise ConfigError("jwt.issuer needs jwt.audience, jwt.keys and jwt.algorithms")
        if not self.issuer and (self.audience or self.keys):
            raise ConfigError("jwt.audience and jwt.keys need jwt.issuer")
        plain = self.keys.startswith("http://") and not is_loopback(re.split("[/:]", self.keys[7:])[0])
        if plain:
            raise ConfigError("jwt.keys must be a file or an https URL; http is taken on this machine alone")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the server a project, or all projects together, may use at a time."""

    in_flight_calls: int = setting(
        1024,
        "Calls without streams that may run at a time; further calls are told when to come back.",
        minimum=1,
        maximum=4096,
    )
    in_flight_read_streams: int = setting(
        256, "Streams of answers (StreamFeedback) that may run at a time.", minimum=1, maximum=4096
    )
    in_flight_write_streams: int = setting(
        512, "Streams of requests (IngestFeedback, ImportFeedback) that may run at a time.", minimum=1, maximum=4096
    )
    in_flight_watches: int = setting(2048, "Watches that may run at a time.", minimum=1, maximum=100_000)
    in_flight_health_watches: int = setting(256, "Health watches that may run at a time.", minimum=1, maximum=4096)
    in_flight_reflection: int = setting(32, "Reflection streams that may run at a time.", minimum=1, maximum=4096)
    principal_share: float = setting(
        0.5,
        "The part of each of these, and of answer_bytes, that one principal may hold (one address, if nobody logs in).",
        minimum=0.01,
        maximum=1,
    )
    answer_bytes: int = setting(
        128 * 1024 * 1024,
        "Bytes of answers that may wait for their clients to read them; a call that finds no room is refused.",
        minimum=8 * 1024 * 1024,
        maximum=1 << 40,
    )
    read_seconds: float = setting(
        10.0, "The longest time that a read may take; a query that takes longer is stopped.", minimum=0.01, maximum=3600
    )
    write_seconds: float = setting(10.0, "The longest time that a write may take.", minimum=0.01, maximum=3600)
    calls_per_second: float = setting(0.0, "Calls a second of each project; 0: no limit.", minimum=0)
    rows_per_second: float = setting(0.0, "Rows written a second by each project; 0: no limit.", minimum=0)
    bytes_per_second: float = setting(0.0, "Bytes of requests a second of each project; 0: no limit.", minimum=0)
    burst_seconds: float = setting(
        2.0, "How many seconds' worth of its quota a project may use at once.", minimum=0.1, maximum=3600
    )

    def __post_init__(self) -> None:
        check_values(self, "limits.")


@dataclass(frozen=True, slots=True)
class Connections:
    """How connections are kept; each default answers an attack or a failure, see docs/settings.md."""

    max_concurrent_streams: int = setting(200, "Calls at a time on one connection.", minimum=1, maximum=10_000)
    handshake_timeout_seconds: float = setting(10.0, "Time for TLS and HTTP/2 to begin.", minimum=0.1, maximum=600)
    max_idle_seconds: float = setting(300.0, "Idle connections are closed after this time.", minimum=1)
    max_age_seconds: float = setting(900.0, "Connections are closed after this time; clients reconnect.", minimum=1)
    max_age_grace_seconds: float = setting(
        60.0, "Time for calls to end on a connection that is closed for its age.", minimum=0
    )
    min_ping_interval_seconds: float = setting(10.0, "Clients that ping more often are disconnected.", minimum=0)
    stream_stall_seconds: float = setting(
        60.0, "A stream of answers whose client reads nothing for this time is ended.", minimum=0.1, maximum=3600
    )
    ingest_idle_seconds: float = setting(
        120.0,
        "A stream of requests that stays silent for this time is ended; the client opens another when it has more.",
        minimum=0.1,
        maximum=86_400,
    )
    watch_stall_seconds: float = setting(
        20.0,
        "A watch whose client reads nothing for this time is ended; the client may resume it.",
        minimum=0.1,
        maximum=3600,
    )
    drain_delay_seconds: float = setting(
        0.0,
        "How long a stopping server, with health NOT_SERVING, still takes calls, so that balancers leave it first.",
        minimum=0,
        maximum=3600,
    )
    shutdown_grace_seconds: float = setting(10.0, "Time for calls to end when the server stops.", minimum=0)

    def __post_init__(self) -> None:
        check_values(self, "connections.")


@dataclass(frozen=True, slots=True)
class Admin:
    """Ports for operators, without keys and TLS; they never show feedback."""

    listen: str = setting(
        "", "HOST:PORT for HTTP: /metrics, /livez, /readyz; empty: none. Each worker adds its number to the port."
    )
    grpc_listen: str = setting("", "HOST:PORT for gRPC: health and channelz; empty: none. Workers as above.")

    def __post_init__(self) -> None:
        check_values(self, "admin.")
        for key, address in self.addresses:
            split_address(address, key)

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """The addresses that are set, each with the name of its setting."""
        named = (("admin.listen", self.listen), ("admin.grpc_listen", self.grpc_listen))
        return [(key, address) for key, address in named if address]

    def of_worker(self, number: int) -> Admin:
        """The ports of the worker with a number, counted from 0: larger by that number; port 0 stays any free port."""
        return Admin(moved(self.listen, number), moved(self.grpc_listen, number))


@dataclass(frozen=True, slots=True)
class Tokens:
    """Feedback tokens, for the end users of a product."""

    master_file: str = setting(
        "", "File with the master secret of signing keys, 64 hex digits; empty: no feedback tokens are accepted."
    )
    token_per_minute: float = setting(10.0, "Calls a minute with one token.", minimum=0.1)
    address_per_minute: float = setting(30.0, "Calls a minute with tokens from one address.", minimum=0.1)

    def __post_init__(self) -> None:
        check_values(self, "tokens.")


@dataclass(frozen=True, slots=True)
class Http:
    """The HTTP port: Connect, gRPC-Web and JSON, for browsers and curl."""

    listen: str = setting("", "HOST:PORT for Connect, gRPC-Web and JSON over HTTP/1.1; empty: none.")
    public_url: str = setting("", "The address that browsers use for it, such as https://feedback.acme.dev.")
    hosts: tuple[str, ...] = setting(
        (), "Host names that requests may be sent to, beside loopback's and the address's."
    )
    origins: tuple[str, ...] = setting((), "Origins whose pages may call it, such as https://chat.acme.dev.")
    public_services: tuple[str, ...] = setting(
        ("SubmitService",), "Services that pages of any origin may call.", choices=("SubmitService",)
    )
    trusted_proxies: tuple[str, ...] = setting(
        (), "Addresses and networks of proxies whose X-Forwarded-For names the caller."
    )
    connections: int = setting(4096, "Connections at a time.", minimum=1, maximum=100_000)
    idle_seconds: float = setting(75.0, "Idle connections are closed after this time.", minimum=1, maximum=86_400)
    head_seconds: float = setting(10.0, "Time for a request's head to arrive.", minimum=0.1, maximum=600)
    body_seconds: float = setting(
        30.0,
        "Time for a request's body to arrive; on a stream of requests, for its next piece.",
        minimum=0.1,
        maximum=3600,
    )
    user_timeout_seconds: float = setting(
        30.0, "A connection whose peer acknowledges nothing for this time is closed.", minimum=1, maximum=3600
    )

    def __post_init__(self) -> None:
        check_values(self, "http.")
        if self.listen:
            split_address(self.listen, "http.listen")
        for origin in self.origins:
            check_origin(origin, "http.origins")
        if self.public_url:
            check_origin(self.public_url, "http.public_url")
        for host in self.hosts:
            check_host(host, "http.hosts")
        for network in self.trusted_proxies:
            check_network(network, "http.trusted_proxies")


@dataclass(frozen=True, slots=True)
class Tracing:
    """OpenTelemetry's spans."""

    otlp_endpoint: str = setting(
        "", "Where spans are sent (OTLP over gRPC), such as http://127.0.0.1:4317; empty: no tracing."
    )
    sample_ratio: float = setting(
        1.0, "The part of the calls that is traced if their caller has not decided.", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        check_values(self, "tracing.")
        if self.otlp_endpoint and not re.match(r"https?://[^/\s]", self.otlp_endpoint):
            raise ConfigError(f"tracing.otlp_endpoint is {self.otlp_endpoint!r}; use http://HOST:PORT or https://")
