"""Settings: where they come from, which one wins, and the messages of those that are refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from plaudit_server.config import (
    SETTINGS,
    Admin,
    Auth,
    Config,
    ConfigError,
    Connections,
    Http,
    Jwt,
    Limits,
    Setting,
    Tls,
    Tokens,
    Tracing,
    gather,
    load,
    render,
    split_address,
    without_password,
)
from plaudit_server.config.grants import NamedGrant, Role

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def toml_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plaudit.toml"
    path.write_text(text, encoding="utf-8")
    return path


def value_of(config: Config, setting: Setting) -> Any:
    return getattr(getattr(config, setting.section) if setting.section else config, setting.name)


def test_without_anything_the_defaults_are_those_of_the_readme() -> None:
    config = load({}, {})
    assert config == Config()
    assert (config.store, config.listen) == ("sqlite:plaudit.db", "127.0.0.1:50051")
    assert not config.authenticated


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    path = toml_file(tmp_path, 'store = "sqlite:file"\nlisten = "127.0.0.1:1"\nlog_level = "error"')
    config = load(
        {"store": "sqlite:flag", "listen": None},
        {"PLAUDIT_STORE": "sqlite:env", "PLAUDIT_LISTEN": "127.0.0.1:2", "HOME": "/root"},
        path,
    )
    assert (config.store, config.listen, config.log_level) == ("sqlite:flag", "127.0.0.1:2", "error")
    assert config.limits == Limits()


def test_the_environment_may_name_the_file_and_a_flag_another(tmp_path: Path) -> None:
    path = toml_file(tmp_path, "limits.calls_per_second = 5")
    assert load({}, {"PLAUDIT_CONFIG": str(path)}).limits.calls_per_second == 5.0
    other = tmp_path / "other.toml"
    other.write_text("")
    assert load({}, {"PLAUDIT_CONFIG": str(path)}, other).limits.calls_per_second == 0.0


def test_each_setting_is_read_alike_from_its_flag_variable_and_file(tmp_path: Path) -> None:
    config = Config(
        store="sqlite:x.db",
        listen="[::1]:7",
        workers=3,
        log_level="debug",
        log_format="json",
        log_calls="all",
        log_slow_seconds=2.0,
        audit_log="/tmp/audit",
        tls=Tls("cert", "key", "ca"),
        auth=Auth(
            True, 3.5, (NamedGrant("spiffe://mesh/a", Role.WRITER, ("acme/*",)), NamedGrant("b", Role.READER, ("*",)))
        ),
        jwt=Jwt("https://issuer", "plaudit", "https://issuer/keys", ("ES256",), "r", "p", 5.0, 60.0),
        limits=Limits(10, 11, 12, 20, 13, 14, 0.25, 2**24, 4.0, 5.0, 1.5, 2.5, 9.5, 3.0),
        connections=Connections(5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.5, 7.5, 7.0, 8.0, 6.0),
        admin=Admin("127.0.0.1:7000", "127.0.0.1:8000"),
        tracing=Tracing("https://collector:4317", 0.5),
        http=Http(
            "127.0.0.1:9000",
            "https://a.dev",
            ("a.dev",),
            ("https://b.dev",),
            (),
            ("10.0.0.0/8",),
            5,
            6.0,
            7.0,
            8.0,
            9.0,
        ),
        tokens=Tokens("master", 1.0, 2.0),
        insecure=True,
        reflection=False,
    )
    grants = (
        '[{"principal": "spiffe://mesh/a", "role": "writer", "projects": ["acme/*"]},'
        ' {"principal": "b", "role": "reader", "projects": ["*"]}]'
    )

    def text(setting: Setting) -> str:
        value = value_of(config, setting)
        if setting.name == "grants":
            return grants
        return ",".join(value) if isinstance(value, tuple) else str(value)

    from_flags = load({s.parameter: text(s) for s in SETTINGS}, {})
    from_environment = load({}, {s.variable: text(s) for s in SETTINGS})
    from_file = load({}, {}, toml_file(tmp_path, render(config, {})))
    assert from_flags == from_environment == from_file == config
    assert all(value_of(config, s) != s.default for s in SETTINGS)


def test_a_variable_with_file_reads_the_value_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "store"
    secret.write_text("sqlite:/secret/place.db\n")
    assert load({}, {"PLAUDIT_STORE_FILE": str(secret)}).store == "sqlite:/secret/place.db"


def test_a_variable_and_its_file_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PLAUDIT_STORE and PLAUDIT_STORE_FILE are both set"):
        load({}, {"PLAUDIT_STORE": "sqlite:a", "PLAUDIT_STORE_FILE": str(tmp_path / "b")})


def test_a_missing_secret_file_is_named() -> None:
    with pytest.raises(ConfigError, match="PLAUDIT_STORE_FILE: cannot read the file /nowhere"):
        load({}, {"PLAUDIT_STORE_FILE": "/nowhere"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('stoer = "x"', "unknown setting stoer; .*lists those there are"),
        ('[tls]\ncert = "x"', r"unknown setting tls\.cert"),
        ("[tsl]", "unknown setting tsl"),
        ("tls = 1", r"tls is a section; write \[tls\]"),
        ("store = ", "is no TOML file"),
        ("store = 5", "'5' is not what store takes: write text"),
        ("insecure = 1", "is not what insecure takes: write true or false"),
        ('insecure = "maybe"', "write true or false"),
        ("limits.in_flight_calls = true", "a whole number"),
        ("limits.in_flight_calls = 1.5", "a whole number"),
        ('limits.calls_per_second = "fast"', "limits.calls_per_second"),
        ("limits.calls_per_second = true", "write a number"),
        ("limits.calls_per_second = nan", "use 0 or more"),
        ("limits.calls_per_second = -1", "use 0 or more"),
        ("limits.in_flight_calls = 0", "use 1 to 4096"),
        ('log_level = "loud"', "use debug, info, warning, error"),
        ('listen = "here"', r"use HOST:PORT"),
        ('listen = "127.0.0.1:65536"', r"use HOST:PORT"),
        ('listen = "::1:5"', r"use HOST:PORT"),
        ('auth.grants = [{principal = "a", role = "reader"}]', "a table of principal, role and projects"),
        ('auth.grants = [{principal = "a", role = "reader", projects = "*"}]', "projects is a list of patterns"),
        ('auth.grants = [{principal = "a", role = "reader", projects = ["a"]}]', "'a' is no project pattern"),
        ('auth.grants = ["no json"]', "auth.grants"),
        ('jwt.algorithms = ["HS256"]', "jwt.algorithms is 'HS256'; use RS256"),
        ('jwt.algorithms = ["none"]', "jwt.algorithms is 'none'"),
        ('jwt.issuer = "https://i"', "jwt.issuer needs jwt.audience, jwt.keys"),
        ('jwt.keys = "keys.json"', "need jwt.issuer"),
        ('[jwt]\nissuer = "i"\naudience = "a"\nkeys = "http://far.example/keys"', "an https URL"),
        ('tls.certificate = "c"', "go together"),
        ('tls.client_ca = "c"', "needs tls.certificate"),
    ],
)
def test_what_is_unknown_or_wrong_in_the_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load({}, {}, toml_file(tmp_path, text))


@pytest.mark.parametrize("path", ["/nowhere/plaudit.toml", "/"])
def test_an_unreadable_file_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(path)):
        load({}, {}, path)


@pytest.mark.parametrize("variable", ["PLAUDIT_STROE", "PLAUDIT_TLS", "PLAUDIT_LISTEN_FILES"])
def test_an_unknown_variable_is_an_error(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown variable {variable}"):
        load({}, {variable: "x"})


@pytest.mark.parametrize(
    "variable",
    [
        "PLAUDIT_TARGET",
        "PLAUDIT_PROJECT",
        "PLAUDIT_API_KEY",
        "PLAUDIT_PORT",
        "PLAUDIT_SERVICE_HOST",
        "PLAUDIT_PORT_50051_TCP_ADDR",
        "PLAUDIT_SERVER_SERVICE_PORT_GRPC",
        "PLAUDITX",
    ],
)
def test_variables_of_the_client_and_of_kubernetes_are_let_be(variable: str) -> None:
    assert load({}, {variable: "tcp://10.0.0.1:50051"}) == Config()


def test_an_unknown_flag_is_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown setting stoer"):
        load({"stoer": "x"}, {})


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.7:1", "plaudit.internal:1"])
def test_beyond_this_machine_needs_authentication_or_insecure(listen: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        Config(listen=listen)
    [warning] = Config(listen=listen, insecure=True).warnings()
    assert "no authentication" in warning
    [warning] = Config(listen=listen, auth=Auth(api_keys=True)).warnings()
    assert "clear text" in warning
    assert not Config(listen=listen, auth=Auth(api_keys=True), tls=Tls("c", "k")).warnings()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.0.1:5", "[::1]:5", "localhost:5"])
def test_this_machine_alone_needs_nothing(listen: str) -> None:
    assert Config(listen=listen).warnings() == []


def test_a_server_certificate_alone_authenticates_nobody() -> None:
    assert not Config(tls=Tls("c", "k")).authenticated
    assert Config(tls=Tls("c", "k", "ca")).authenticated


@pytest.mark.parametrize(
    ("address", "parts"), [("127.0.0.1:5", ("127.0.0.1", 5)), ("[::1]:0", ("::1", 0)), ("a.b:65535", ("a.b", 65535))]
)
def test_addresses_are_split(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:se@cret@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user:secret@host/db?password=also&x=1", "postgresql://user:***@host/db?password=***&x=1"),
        ("postgresql:host=h password='a b' user=u", "postgresql:host=h password=*** user=u"),
        ("sqlite:/var/lib/plaudit.db", "sqlite:/var/lib/plaudit.db"),
    ],
)
def test_passwords_are_hidden(text: str, shown: str) -> None:
    assert without_password(text) == shown
    assert Config(store=text).shown_store == shown
    assert "secret" not in render(Config(store=text), {})


def test_what_is_shown_is_toml_that_tells_each_origin(tmp_path: Path) -> None:
    path = toml_file(tmp_path, "limits.rows_per_second = 9")
    flags, environ = {"log_level": "error"}, {"PLAUDIT_AUDIT_LOG": 'a "quoted" \\ name'}
    config, given = load(flags, environ, path), gather(flags, environ, path)
    shown = render(config, given)
    assert 'log_level = "error"  # --log-level' in shown
    assert f"rows_per_second = 9.0  # {path}: limits.rows_per_second" in shown
    assert "# PLAUDIT_AUDIT_LOG" in shown
    assert 'store = "sqlite:plaudit.db"  # default' in shown
    assert tomllib.loads(shown)["audit_log"] == 'a "quoted" \\ name'


def test_every_setting_is_on_the_settings_page_with_its_help_text() -> None:
    text = DOCS.read_text("utf-8")
    for setting in SETTINGS:
        assert f"`{setting.key}`" in text
        assert setting.help in text, setting.key


@pytest.mark.parametrize(
    ("admin", "words"),
    [
        ({"listen": "9464"}, "admin.listen is '9464'"),
        ({"grpc_listen": "localhost:x"}, "admin.grpc_listen is 'localhost:x'"),
        ({"listen": "127.0.0.1:50051"}, "port 50051 is that of listen"),
        ({"listen": "127.0.0.1:50050"}, "port 50051 is that of listen"),  # of the second worker
        ({"listen": "127.0.0.1:7000", "grpc_listen": "127.0.0.1:7002"}, "port 7002 is that of admin.listen"),
        ({"listen": "127.0.0.1:65534"}, "no port 65536"),
    ],
)
def test_admin_ports_that_can_not_be_are_refused(admin: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        Config(workers=3, store="postgresql://h/d", admin=Admin(**admin))


def test_each_worker_has_admin_ports_of_its_own() -> None:
    admin = Admin("127.0.0.1:7000", "[::1]:0")
    assert [admin.of_worker(number) for number in range(2)] == [admin, Admin("127.0.0.1:7001", "[::1]:0")]
    assert Config(workers=2, store="postgresql://h/d", admin=Admin("127.0.0.1:0", "127.0.0.1:0")).warnings() == []
    assert Admin().of_worker(3) == Admin()


def test_admin_ports_beyond_this_machine_are_warned_of() -> None:
    [line] = Config(admin=Admin("0.0.0.0:9464", "127.0.0.1:9465")).warnings()
    assert "admin.listen 0.0.0.0:9464" in line


@pytest.mark.parametrize("endpoint", ["collector:4317", "http://", "grpc://collector:4317"])
def test_a_collector_is_a_url(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="tracing"):
        Tracing(endpoint)


def test_a_grant_of_a_role_of_a_later_version_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "plaudit.toml"
    path.write_text(
        'auth.grants = [{principal = "a", role = "annotator", projects = ["*"]},'
        ' {principal = "b", role = "reader", projects = ["*"]}]'
    )
    assert [grant.principal for grant in load({}, {}, path).auth.grants] == ["b"]
    assert [record.getMessage() for record in caplog.records] == [
        "the grant of a has the role 'annotator', which this version does not know: it is ignored"
    ]


@pytest.mark.parametrize(
    ("http", "words"),
    [
        ({"listen": "8080"}, "http.listen is '8080'"),
        ({"listen": "0.0.0.0:8080"}, "http.listen is 0.0.0.0:8080, beyond this machine"),
        ({"listen": "127.0.0.1:50051"}, "port 50051 is that of listen"),
        ({"origins": ("*",)}, "every page could then call"),
        ({"origins": ("chat.acme.dev",)}, "http.origins is 'chat.acme.dev'"),
        ({"origins": ("https://a/",)}, "http.origins"),
        ({"origins": ("https://a:443",)}, "http.origins"),
        ({"origins": ("https://A",)}, "http.origins"),
        ({"public_url": "https://a/b"}, "http.public_url"),
        ({"hosts": ("a:80",)}, "http.hosts is 'a:80'"),
        ({"trusted_proxies": ("proxy",)}, "http.trusted_proxies is 'proxy'"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "http.trusted_proxies"),
    ],
)
def test_http_settings_that_cannot_be_are_refused(http: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        Config(http=Http(**http))
