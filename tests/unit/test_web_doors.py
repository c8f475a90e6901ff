"""Who may call from a browser, and whose address a call comes from."""

from __future__ import annotations

import pytest

from plaudit_server.web.doors import Doors, cors_headers, preflight_headers
from plaudit_server.web.faults import HttpRefusal
from plaudit_server.web.headers import Headers
from plaudit_server.web.peers import TrustedProxies, peer_text

DOORS = Doors(
    listen_host="feedback.lan",
    hosts=frozenset({"feedback.acme.dev"}),
    origins=frozenset({"https://chat.acme.dev"}),
    public_origin="https://feedback.acme.dev",
)


def headers(**values: str) -> Headers:
    return Headers((name.encode(), value.encode("latin-1")) for name, value in values.items())


def refusal(host: str | None) -> int:
    with pytest.raises(HttpRefusal) as refused:
        DOORS.check_host(headers() if host is None else headers(host=host))
    return refused.value.status


@pytest.mark.parametrize("host", [
    "localhost", "LOCALHOST:8080", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8080", "localhost.",
    "feedback.lan:8080", "feedback.acme.dev", "Feedback.Acme.dev.:443",
])  # fmt: skip
def test_hosts_of_ours(host: str) -> None:
    assert DOORS.check_host(headers(host=host)) == host.lower()


@pytest.mark.parametrize("host", [
    "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0", "[::]",
    "2130706433", "0x7f.0.0.1", "127.1", "[::ffff:10.0.0.1]",
])  # fmt: skip
def test_hosts_of_others_are_misdirected(host: str) -> None:
    assert refusal(host) == 421


@pytest.mark.parametrize(
    "host", [None, "", "a b", "localhost:port", "localhost:123456", "user@localhost", "a/b", "[::1", "é"]
)
def test_what_is_no_host(host: str | None) -> None:
    assert refusal(host) == 400


def test_two_hosts_are_none() -> None:
    with pytest.raises(HttpRefusal) as refused:
        DOORS.check_host(Headers([(b"host", b"localhost"), (b"host", b"localhost")]))
    assert refused.value.status == 400


@pytest.mark.parametrize("listen", ["0.0.0.0", "[::]", ""])
def test_listening_everywhere_gives_no_name(listen: str) -> None:
    with pytest.raises(HttpRefusal):
        Doors(listen_host=listen).check_host(headers(host=listen or "x"))


def test_listening_on_an_address_gives_its_name() -> None:
    assert Doors(listen_host="10.0.0.7").check_host(headers(host="10.0.0.7:80")) == "10.0.0.7:80"


@pytest.mark.parametrize(("scheme", "host", "origin"), [
    ("http", "localhost:8080", "http://localhost:8080"), ("https", "feedback.acme.dev", "https://feedback.acme.dev"),
    ("http", "localhost:80", "http://localhost"), ("https", "h:443", "https://h"),
    ("http", "127.0.0.1:8080", "https://feedback.acme.dev"),  # behind a proxy that ends TLS
    ("http", "localhost:8080", "https://chat.acme.dev"),
])  # fmt: skip
def test_origins_that_may_call(scheme: str, host: str, origin: str) -> None:
    assert DOORS.check_origin(headers(origin=origin), scheme, host, public=False) == origin


@pytest.mark.parametrize("origin", [
    "null", "", "http://evil.example", "https://localhost:8080", "http://localhost:8081", "http://localhost",
    "https://chat.acme.dev.evil.example", "http://chat.acme.dev", "*", "HTTPS://chat.acme.dev",
])  # fmt: skip
def test_foreign_origins_may_call_only_what_is_public(origin: str) -> None:
    with pytest.raises(HttpRefusal) as refused:
        DOORS.check_origin(headers(origin=origin), "http", "localhost:8080", public=False)
    assert refused.value.status == 403
    assert DOORS.check_origin(headers(origin=origin), "http", "localhost:8080", public=True) == origin


def test_a_program_sends_no_origin_and_two_are_refused() -> None:
    assert DOORS.check_origin(headers(), "http", "localhost", public=False) is None
    twice = Headers([(b"origin", b"https://chat.acme.dev")] * 2)
    for public in (False, True):
        with pytest.raises(HttpRefusal):
            DOORS.check_origin(twice, "http", "localhost", public=public)


def test_cors_names_the_origin_and_never_allows_credentials() -> None:
    for pairs in (cors_headers("https://a"), preflight_headers("https://a")):
        sent = dict(pairs)
        assert sent["access-control-allow-origin"] == "https://a"
        assert "origin" in sent["vary"]
        assert "access-control-allow-credentials" not in sent
    assert cors_headers(None) == [("vary", "origin")]
    assert dict(preflight_headers("https://a"))["access-control-max-age"] == "7200"
    assert "authorization" in dict(preflight_headers("https://a"))["access-control-allow-headers"].split(", ")


PROXIES = TrustedProxies.parse(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])


@pytest.mark.parametrize(("connected", "forwarded", "peer"), [
    ("203.0.113.5", ["1.1.1.1"], "203.0.113.5"),  # no proxy of ours: its words are not believed
    ("10.0.0.1", [], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
    ("10.0.0.1", ["6.6.6.6, 203.0.113.5"], "203.0.113.5"),
    ("10.0.0.1", ["6.6.6.6, 203.0.113.5, 10.2.3.4"], "203.0.113.5"),
    ("10.0.0.1", ["6.6.6.6", "203.0.113.5", "10.2.3.4"], "203.0.113.5"),
    ("10.0.0.1", ["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
    ("10.0.0.1", ["203.0.113.5, unknown, 10.2.3.4"], "10.2.3.4"),
    ("10.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
    ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
    ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
    ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
    ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
    ("10.0.0.1", [""], "10.0.0.1"),
    ("not an address", ["203.0.113.5"], "not an address"),
])  # fmt: skip
def test_the_peer(connected: str, forwarded: list[str], peer: str) -> None:
    assert PROXIES.peer(connected, forwarded) == peer


def test_nobody_is_trusted_unless_named() -> None:
    assert TrustedProxies().peer("127.0.0.1", ["1.1.1.1"]) == "127.0.0.1"
    with pytest.raises(ValueError, match="does not appear"):
        TrustedProxies.parse(["proxy.lan"])


def test_peers_are_written_as_grpc_writes_them() -> None:
    assert (peer_text("1.2.3.4", 5), peer_text("::1", 0)) == ("ipv4:1.2.3.4:5", "ipv6:[::1]:0")
