"""What the server is told: frozen dataclasses, and their loading from flags, environment and a TOML file.

Every setting has one name in four forms: field `tls.private_key`, flag `--tls-private-key`, variable
`PLAUDIT_TLS_PRIVATE_KEY` (or, with the value in a file, `PLAUDIT_TLS_PRIVATE_KEY_FILE`), and in the TOML file
`private_key` under `[tls]`.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, get_type_hints

from plaudit_server.principals import NamedGrant, Role

T = TypeVar("T")

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("auto", "json", "text")
LOGGED_CALLS: Final = ("failed", "all", "off")

# Never a symmetric one: whoever can verify could then sign, and a public key would pass for a secret.
JWT_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class ConfigError(Exception):
    """A setting is unknown or wrong; the message says which one, and what to do."""


def _setting(
    default: T, help: str, *, minimum: float | None = None, maximum: float | None = None, choices: Sequence[str] = ()
) -> T:
    """A field with the line that --help and docs/operations.md show, and the values that it takes."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": tuple(choices)}
    settings: T = field(default=default, metadata=metadata)
    return settings


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates, all as PEM files, read again when they change."""

    certificate: str = _setting("", "File with the server's certificate, then its intermediates; empty: no TLS.")
    private_key: str = _setting("", "File with the certificate's private key.")
    client_ca: str = _setting("", "File with the authorities of client certificates; with it every client needs one.")

    def __post_init__(self) -> None:
        _check_values(self, "tls.")
        if bool(self.certificate) != bool(self.private_key):
            raise ConfigError("tls.certificate and tls.private_key go together; give both or none")
        if self.client_ca and not self.certificate:
            raise ConfigError("tls.client_ca needs tls.certificate and tls.private_key")


@dataclass(frozen=True, slots=True)
class Auth:
    """API keys, and what principals of certificates and tokens may do."""

    api_keys: bool = _setting(False, "Whether callers prove themselves by keys of `plaudit-server keys`.")
    key_refresh_seconds: float = _setting(
        2.0, "How often keys are read again: a revoked one ends within this time.", minimum=0.05, maximum=3600
    )
    grants: tuple[NamedGrant, ...] = _setting(
        (), "Roles of principals: tables (in flags and environment JSON) of principal, role and projects."
    )

    def __post_init__(self) -> None:
        _check_values(self, "auth.")


@dataclass(frozen=True, slots=True)
class Jwt:
    """Tokens of an identity provider."""

    issuer: str = _setting("", "The `iss` that tokens must have; empty: no tokens are taken.")
    audience: str = _setting("", "The `aud` that tokens must have.")
    keys: str = _setting("", "The issuer's public keys (JWKS): a file, or an https URL.")
    algorithms: tuple[str, ...] = _setting(
        ("RS256", "ES256"), "The signature algorithms taken.", choices=JWT_ALGORITHMS
    )
    role_claim: str = _setting("plaudit_role", "The claim that holds the role, or a list with it.")
    projects_claim: str = _setting("plaudit_projects", "The claim that lists the project patterns of that role.")
    leeway_seconds: float = _setting(30.0, "How far clocks may differ.", minimum=0, maximum=300)
    key_refresh_seconds: float = _setting(300.0, "How often the keys are read again.", minimum=1, maximum=86_400)

    def __post_init__(self) -> None:
        _check_values(self, "jwt.")
        if self.issuer and not (self.audience and self.keys and self.algorithms):
            raise ConfigError("jwt.issuer needs jwt.audience, jwt.keys and jwt.algorithms")
        if not self.issuer and (self.audience or self.keys):
            raise ConfigError("jwt.audience and jwt.keys need jwt.issuer")
        plain = self.keys.startswith("http://") and not _is_loopback(re.split("[/:]", self.keys[7:])[0])
        if plain:
            raise ConfigError("jwt.keys must be a file or an https URL; http is taken on this machine alone")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the server a project, or everybody together, may use at a time."""

    in_flight_calls: int = _setting(
        1024, "Calls that run at a time, watches not counted; more are told to come back.", minimum=1, maximum=4096
    )
    in_flight_watches: int = _setting(2048, "Watches that run at a time.", minimum=1, maximum=100_000)
    calls_per_second: float = _setting(0.0, "Calls a second of each project; 0: no limit.", minimum=0)
    rows_per_second: float = _setting(0.0, "Rows written a second by each project; 0: no limit.", minimum=0)
    burst_seconds: float = _setting(
        2.0, "How many seconds' worth of its quota a project may use at once.", minimum=0.1, maximum=3600
    )

    def __post_init__(self) -> None:
        _check_values(self, "limits.")


@dataclass(frozen=True, slots=True)
class Connections:
    """How connections are kept; the defaults have answered attacks and failures, see docs/operations.md."""

    max_concurrent_streams: int = _setting(200, "Calls at a time on one connection.", minimum=1, maximum=10_000)
    handshake_timeout_seconds: float = _setting(10.0, "Time for TLS and HTTP/2 to begin.", minimum=0.1, maximum=600)
    max_idle_seconds: float = _setting(300.0, "Idle connections are closed after this time.", minimum=1)
    max_age_seconds: float = _setting(900.0, "Connections are asked to reconnect after this time.", minimum=1)
    max_age_grace_seconds: float = _setting(60.0, "Time for calls to end on such a connection.", minimum=0)
    min_ping_interval_seconds: float = _setting(10.0, "Clients that ping more often are sent away.", minimum=0)
    watch_stall_seconds: float = _setting(
        20.0, "A watcher that takes nothing for so long is ended, and may come back.", minimum=0.1, maximum=3600
    )
    drain_delay_seconds: float = _setting(
        0.0,
        "How long a server that stops still takes calls, its health NOT_SERVING, so that balancers look away first.",
        minimum=0,
        maximum=3600,
    )
    shutdown_grace_seconds: float = _setting(10.0, "Time for calls to end when the server stops.", minimum=0)

    def __post_init__(self) -> None:
        _check_values(self, "connections.")


@dataclass(frozen=True, slots=True)
class Admin:
    """Ports for operators, without keys and TLS; they hold nothing of any feedback."""

    listen: str = _setting(
        "", "HOST:PORT for HTTP: /metrics, /livez, /readyz; empty: none. Each worker adds its number."
    )
    grpc_listen: str = _setting("", "HOST:PORT for gRPC: health and channelz; empty: none. Likewise for workers.")

    def __post_init__(self) -> None:
        _check_values(self, "admin.")
        for key, address in self.addresses:
            split_address(address, key)

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """Those that are set, each with its setting's name."""
        named = (("admin.listen", self.listen), ("admin.grpc_listen", self.grpc_listen))
        return [(key, address) for key, address in named if address]

    def of_worker(self, number: int) -> Admin:
        """The ports of a worker, counted from 0: so many above the first one's; free ones where any would do."""
        return Admin(_moved(self.listen, number), _moved(self.grpc_listen, number))


@dataclass(frozen=True, slots=True)
class Tracing:
    """OpenTelemetry's spans."""

    otlp_endpoint: str = _setting("", "Where spans go (OTLP over gRPC), as http://127.0.0.1:4317; empty: no tracing.")
    sample_ratio: float = _setting(
        1.0, "Which part of the calls is traced whose caller has not decided.", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        _check_values(self, "tracing.")
        if self.otlp_endpoint and not re.match(r"https?://[^/\s]", self.otlp_endpoint):
            raise ConfigError(f"tracing.otlp_endpoint is {self.otlp_endpoint!r}; use http://HOST:PORT or https://")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the server is told. Raises ConfigError when made of settings that do not go together."""

    store: str = _setting("sqlite:plaudit.db", "Where feedback is kept: sqlite:PATH or postgresql://HOST/DATABASE.")
    listen: str = _setting("127.0.0.1:50051", "Address to listen on, HOST:PORT; port 0 takes a free one.")
    workers: int = _setting(
        1, "Server processes on the one port; more than one for a PostgreSQL store alone.", minimum=1, maximum=256
    )
    insecure: bool = _setting(False, "Whether to listen beyond this machine although nobody is authenticated.")
    reflection: bool = _setting(True, "Whether the server tells its methods and messages to tools that ask for them.")
    log_level: str = _setting("info", "How much is logged on standard error.", choices=LOG_LEVELS)
    log_format: str = _setting("auto", "How: json, text, or auto: text on a terminal, else json.", choices=LOG_FORMATS)
    log_calls: str = _setting(
        "failed", "Which calls leave a line, at level info: failed (and slow), all, off.", choices=LOGGED_CALLS
    )
    log_slow_seconds: float = _setting(1.0, "From when on a call that is no stream is slow; 0: never.", minimum=0)
    audit_log: str = _setting(
        "auto", "Where writes and refusals are logged: stderr, off, a file; auto: stderr, off without authentication."
    )
    tls: Tls = field(default_factory=Tls)
    auth: Auth = field(default_factory=Auth)
    jwt: Jwt = field(default_factory=Jwt)
    limits: Limits = field(default_factory=Limits)
    connections: Connections = field(default_factory=Connections)
    admin: Admin = field(default_factory=Admin)
    tracing: Tracing = field(default_factory=Tracing)

    def __post_init__(self) -> None:
        _check_values(self, "")
        _check_ports(self)
        host, _ = split_address(self.listen)
        if not self.authenticated and not self.insecure and not _is_loopback(host):
            raise ConfigError(
                f"listen is {self.listen}, beyond this machine, and nobody is authenticated: set auth.api_keys, "
                "jwt.issuer or tls.client_ca; or say --insecure where the network itself keeps others out"
            )

    @property
    def authenticated(self) -> bool:
        """Whether callers must prove who they are; otherwise all are `anonymous`, with all rights."""
        return bool(self.auth.api_keys or self.jwt.issuer or self.tls.client_ca)

    @property
    def shown_store(self) -> str:
        """The store's URL without its password, fit for logs."""
        return without_password(self.store)

    def warnings(self) -> list[str]:
        """What an operator should know about these settings, a line each."""
        lines = []
        beyond = not _is_loopback(split_address(self.listen)[0])
        if beyond and not self.authenticated:
            lines.append(f"everybody who reaches {self.listen} can read and purge everything: no authentication is set")
        elif beyond and not self.tls.certificate:
            lines.append(f"credentials travel in clear text to {self.listen}: tls.certificate is not set")
        for key, address in self.admin.addresses:
            if not _is_loopback(split_address(address, key)[0]):
                lines.append(f"everybody who reaches {key} {address} can see how the server is; nothing of feedback")
        return lines


class Setting(NamedTuple):
    """One setting: its place in Config, its type, default, one-line help and choices."""

    section: str
    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...]

    @property
    def key(self) -> str:
        """As in messages and in the file: `tls.private_key`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def parameter(self) -> str:
        """As a Python identifier: `tls_private_key`."""
        return self.key.replace(".", "_")

    @property
    def flag(self) -> str:
        """As on the command line: `--tls-private-key`."""
        return "--" + self.parameter.replace("_", "-")

    @property
    def variable(self) -> str:
        """As in the environment: `PLAUDIT_TLS_PRIVATE_KEY`."""
        return "PLAUDIT_" + self.parameter.upper()


def _settings_of(kind: type, section: str) -> Iterator[Setting]:
    types = get_type_hints(kind)
    for part in fields(kind):
        if is_dataclass(types[part.name]):
            yield from _settings_of(types[part.name], part.name)
        else:
            meta = part.metadata
            yield Setting(section, part.name, types[part.name], part.default, meta["help"], meta["choices"])


SETTINGS: Final = tuple(_settings_of(Config, ""))

CONFIG_VARIABLE: Final = "PLAUDIT_CONFIG"
_CLIENT_VARIABLES: Final = {"PLAUDIT_TARGET", "PLAUDIT_PROJECT", "PLAUDIT_API_KEY", "PLAUDIT_API_KEY_FILE"}
# Settings of our own tests, whose environment the servers that they start inherit.
_TESTS_PREFIX: Final = "PLAUDIT_TEST_"
# What Kubernetes adds to every pod beside a Service named plaudit…
_SERVICE_LINK: Final = re.compile(r"PLAUDIT(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_.*)?)")


class Given(NamedTuple):
    """A raw value, and where it is from, as messages name the place."""

    value: Any
    origin: str


def load(flags: Mapping[str, object], environ: Mapping[str, str], toml_path: str | Path | None = None) -> Config:
    """The configuration in force: flags over environment over the TOML file over defaults.

    `flags` are by parameter name (`tls_private_key`); None means not given. Without `toml_path` the file that
    PLAUDIT_CONFIG names is read, if any. Raises ConfigError for whatever is unknown, unreadable or wrong.
    """
    given = gather(flags, environ, toml_path)
    values: dict[str, dict[str, Any]] = {}
    for setting in SETTINGS:
        if (found := given.get(setting.key)) is not None:
            values.setdefault(setting.section, {})[setting.name] = _read(setting, found)
    types = get_type_hints(Config)
    sections = {name: types[name](**parts) for name, parts in values.items() if name}
    return Config(**values.get("", {}), **sections)


def gather(
    flags: Mapping[str, object], environ: Mapping[str, str], toml_path: str | Path | None = None
) -> dict[str, Given]:
    """The strongest value given for each key, unread, with its origin. Raises ConfigError."""
    path = toml_path or environ.get(CONFIG_VARIABLE)
    given = _from_file(Path(path)) if path else {}
    given.update(_from_environment(environ))
    unknown = set(flags) - {setting.parameter for setting in SETTINGS}
    if unknown:
        raise ConfigError(f"unknown setting {min(unknown)}")
    for setting in SETTINGS:
        value = flags.get(setting.parameter)
        if value is not None and value != ():
            given[setting.key] = Given(value, setting.flag)
    return given


def _from_file(path: Path) -> dict[str, Given]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can not be read ({error.strerror}); check the path given as --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no TOML file: {error}") from error
    sections = {setting.section for setting in SETTINGS if setting.section}
    found: dict[str, Any] = {}
    for name, value in document.items():
        if name in sections:
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: {name} is a section; write [{name}] and its settings below")
            found.update({f"{name}.{inner}": content for inner, content in value.items()})
        else:
            found[name] = value
    known = {setting.key for setting in SETTINGS}
    for key in found:
        if key not in known:
            raise ConfigError(f"{path}: unknown setting {key}; `plaudit-server config` lists those there are")
    return {key: Given(value, f"{path}: {key}") for key, value in found.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    by_variable = {setting.variable: setting for setting in SETTINGS}
    found: dict[str, Given] = {}
    for variable, value in environ.items():
        if not variable.startswith("PLAUDIT_") or variable in (*_CLIENT_VARIABLES, CONFIG_VARIABLE):
            continue
        if variable.startswith(_TESTS_PREFIX):
            continue
        if (setting := by_variable.get(variable)) is not None:
            found[setting.key] = Given(value, variable)
        elif (setting := by_variable.get(variable.removesuffix("_FILE"))) is not None:
            if setting.variable in environ:
                raise ConfigError(f"{setting.variable} and {variable} are both set; keep one of them")
            found[setting.key] = Given(_content(value, variable), variable)
        elif not _SERVICE_LINK.fullmatch(variable):
            raise ConfigError(f"unknown variable {variable}; `plaudit-server serve --help` lists those there are")
    return found


def _content(path: str, variable: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable}: can not read the file {path}") from error


def _read(setting: Setting, given: Given) -> Any:
    """A raw value, text or TOML's, as the setting's type. Raises ConfigError."""
    raw, origin = given
    try:
        if setting.type is str:
            return _expect(raw, str, "text")
        if setting.type is bool:
            return _read_bool(raw)
        if setting.type is int:
            return int(raw) if isinstance(raw, str) else _expect(raw, int, "a whole number")
        if setting.type is float:
            return float(raw) if isinstance(raw, str | int) and not isinstance(raw, bool) else _expect(raw, float, "")
        if setting.name == "grants":
            return tuple(_read_grant(table) for table in _read_tables(raw))
        return _read_list(raw)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{origin}: {_shown(raw)} is not what {setting.key} takes: {error}") from error


def _shown(raw: object) -> str:
    text = without_password(str(raw))
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _expect(raw: Any, kind: type, words: str) -> Any:
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise TypeError(f"write {words or 'a number'}")
    return raw


def _read_bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    try:
        return {"true": True, "1": True, "false": False, "0": False}[raw.lower()]
    except (KeyError, AttributeError):
        raise ValueError("write true or false") from None


def _read_list(raw: Any) -> tuple[str, ...]:
    texts = raw.split(",") if isinstance(raw, str) else [part for item in raw for part in item.split(",")]
    return tuple(text.strip() for text in texts if text.strip())


def _read_tables(raw: Any) -> list[Any]:
    """Tables of the file; or JSON text of one or a list of them, in a flag as often as wanted."""
    items = [raw] if isinstance(raw, str) else list(raw)
    tables: list[Any] = []
    for item in items:
        read = json.loads(item) if isinstance(item, str) else item
        tables += read if isinstance(read, list) else [read]
    return tables


def _read_grant(table: Any) -> NamedGrant:
    if not isinstance(table, dict) or set(table) != {"principal", "role", "projects"}:
        raise ValueError("a grant is a table of principal, role and projects")
    projects = table["projects"]
    if isinstance(projects, str) or not all(isinstance(p, str) for p in projects):
        raise ValueError("projects is a list of patterns")
    name = _expect(table["principal"], str, "the principal as text")
    return NamedGrant(name, Role.parse(_expect(table["role"], str, "the role as text")), tuple(projects))


def _check_values(section: Any, prefix: str) -> None:
    """Ranges and choices, as the fields declare them."""
    for part in fields(section):
        value, meta = getattr(section, part.name), part.metadata
        if not meta:
            continue
        key = prefix + part.name
        for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if meta["choices"] and text not in meta["choices"]:
                raise ConfigError(f"{key} is {text!r}; use {', '.join(meta['choices'])}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            low = meta["minimum"] if meta["minimum"] is not None else -math.inf
            high = meta["maximum"] if meta["maximum"] is not None else math.inf
            if not (math.isfinite(value) and low <= value <= high):
                bounds = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
                raise ConfigError(f"{key} is {value}; use {bounds}")


def split_address(address: str, key: str = "listen") -> tuple[str, int]:
    """Host and port of `HOST:PORT`, an IPv6 host without its brackets. Raises ConfigError, which names the `key`."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/\s]+)):(\d{1,5})", address)
    if match is None or int(match[3]) > 65535:
        raise ConfigError(f"{key} is {address!r}; use HOST:PORT, as 127.0.0.1:50051 or [::1]:50051")
    return match[1] or match[2], int(match[3])


def _moved(address: str, by: int) -> str:
    host, colon, port = address.rpartition(":")
    return f"{host}:{int(port) + by}" if colon and port != "0" else address


def _check_ports(config: Config) -> None:
    """No two listeners may want one port, nor a worker a port that there is not."""
    taken = {split_address(config.listen)[1]: "listen"}
    for key, address in config.admin.addresses:
        port = split_address(address, key)[1]
        for wanted in range(port, port + config.workers) if port else ():
            if wanted > 65535:
                raise ConfigError(f"{key} is {address}: there is no port {wanted} for the last of the workers")
            if wanted in taken:
                raise ConfigError(f"{key} is {address}, and port {wanted} is that of {taken[wanted]} already")
            taken[wanted] = key


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_password(text: str) -> str:
    """Text with the passwords of its URLs and connection strings hidden."""
    hidden = re.sub(r"(://[^/@\s:]*:)\S*@", r"\1***@", text)
    return re.sub(r"(\bpassword\s*=\s*)('[^']*'|[^&\s]*)", r"\1***", hidden, flags=re.IGNORECASE)


def render(config: Config, given: Mapping[str, Given]) -> str:
    """The configuration as a TOML file, each setting with its origin; secrets are hidden."""
    lines: list[str] = []
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        value = getattr(getattr(config, section) if section else config, setting.name)
        origin = given[setting.key].origin if setting.key in given else "default"
        lines.append(f"{setting.name} = {_toml(value)}  # {origin}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case NamedGrant():
            projects = _toml(value.projects)
            return (
                f"{{ principal = {_toml(value.principal)}, role = {_toml(value.role.label)}, projects = {projects} }}"
            )
        case tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case str():
            return json.dumps(without_password(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return repr(value)
