"""The HTTP port over TLS, and who its callers are: certificates that change meanwhile, proxies, hosts and origins."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from plaudit.v1 import GetCallerRequest, ProjectServiceStub
from plaudit_server.config import Auth, Config, Tls
from plaudit_server.config.grants import NamedGrant, Role
from plaudit_server.testing import RunningServer
from plaudit_server.web import server as web
from tests.service.certificates import Certificate, channel_credentials, make, tls_of
from tests.service.web import FEEDBACK, JSON, address, ask, call, create, raw, read_all, until, web_server

AUTHORITY = make("mesh authority")
OTHER_AUTHORITY = make("another authority")
SERVER = make("server", AUTHORITY)
SPIFFE = "spiffe://mesh.acme/ns/eval/sa/judge"
JUDGE = make("judge", AUTHORITY, uris=(SPIFFE,))
PLAIN = make("plain", AUTHORITY)
GRANTS = (NamedGrant("spiffe://mesh.acme/*", Role.WRITER, ("acme/*",)),)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return tls_of(SERVER, AUTHORITY, tmp_path)


@pytest.fixture
def running(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(web, "_FILES_SECONDS", 0.05)
    with web_server(Config(tls=tls, auth=Auth(grants=GRANTS))) as running:
        yield running


class Caller(NamedTuple):
    """A client over TLS: the server, its own certificate, where that is written, and whom it trusts."""

    running: RunningServer
    client: Certificate | None
    place: Path
    trusts: Certificate = AUTHORITY

    @contextmanager
    def connected(self) -> Iterator[http.client.HTTPSConnection]:
        context = ssl.create_default_context(cadata=self.trusts.pem.decode())
        if self.client is not None:
            context.load_cert_chain(*self.client.write(self.place, "client"))
        connection = http.client.HTTPSConnection(*address(self.running), context=context, timeout=20)
        with contextlib.closing(connection):
            yield connection

    def call(self, method: str, request: Any) -> Any:
        with self.connected() as connection:
            return ask_over(connection, method, request)

    def gets_in(self) -> bool:
        try:
            return "version" in self.call("GetServerInfo", {})
        except (ssl.SSLError, ConnectionError):
            return False


def ask_over(connection: http.client.HTTPSConnection, method: str, request: Any) -> Any:
    path = method if method.startswith("/") else FEEDBACK + method
    connection.request("POST", path, json.dumps(request), {"content-type": JSON})
    return json.loads(connection.getresponse().read())


def write_atomically(path: str | None, content: bytes) -> None:
    assert path
    beside = Path(path).with_suffix(".new")
    beside.write_bytes(content)
    os.replace(beside, path)


@pytest.mark.parametrize(
    "client",
    [JUDGE, *(make(name, AUTHORITY) for name in ('plain, "and" more', "é;=\\<>#", "# ", " 👍\x01\x7f", "a+b", "a  "))],
    ids=lambda client: ascii(client.x509.subject.rfc4514_string()),
)
def test_a_certificate_stands_for_the_same_name_on_both_ports(
    running: RunningServer, tmp_path: Path, client: Certificate
) -> None:
    caller = Caller(running, client, tmp_path).call("/plaudit.v1.ProjectService/GetCaller", {})
    with grpc.secure_channel(running.target, channel_credentials(AUTHORITY, client)) as channel:
        same = ProjectServiceStub(channel).GetCaller(GetCallerRequest())
    assert (caller["name"], caller["credential"]) == (same.name, same.credential)


def test_what_a_certificate_may_do(running: RunningServer, tmp_path: Path) -> None:
    feedback = {"ref": "urn:x", "feedbackType": "a"}
    request = {"project": "acme/chat", "feedback": feedback}
    assert Caller(running, JUDGE, tmp_path).call("CreateFeedback", request)["feedback"]["userId"] == SPIFFE
    assert Caller(running, PLAIN, tmp_path).call("CreateFeedback", request)["code"] == "permission_denied"


def test_who_has_no_certificate_that_holds_says_nothing(running: RunningServer, tmp_path: Path) -> None:
    before = running.server.calls
    for client in (None, make("judge", OTHER_AUTHORITY, uris=(SPIFFE,)), make("judge", AUTHORITY, expired=True)):
        assert not Caller(running, client, tmp_path).gets_in()
    with raw(running, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n") as plain, contextlib.suppress(ConnectionError):
        assert b"HTTP/1.1 2" not in read_all(plain)
    assert running.server.calls == before
    assert Caller(running, JUDGE, tmp_path).gets_in()


def test_files_are_rotated_while_it_runs(
    running: RunningServer, tls: Tls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Caller(running, JUDGE, tmp_path).connected() as kept:
        assert "version" in ask_over(kept, "GetServerInfo", {})
        rotate(running, tls, tmp_path, caplog)
        # Who is connected stays so.
        assert "version" in ask_over(kept, "GetServerInfo", {})


def rotate(running: RunningServer, tls: Tls, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Change the pair of the server, then the authority of its clients; both are in force in the end."""
    new = make("server", OTHER_AUTHORITY)
    write_atomically(tls.certificate, new.pem)
    # Half of a rotation: the old pair stays in force, and the log says so.
    until(lambda: "the old ones stay in force" in caplog.text)
    assert Caller(running, JUDGE, tmp_path).gets_in()
    write_atomically(tls.private_key, new.key_pem)
    until(lambda: Caller(running, JUDGE, tmp_path, OTHER_AUTHORITY).gets_in())
    assert not Caller(running, JUDGE, tmp_path).gets_in()
    write_atomically(tls.client_ca, OTHER_AUTHORITY.pem)
    other = make("judge", OTHER_AUTHORITY, uris=(SPIFFE,))
    until(lambda: Caller(running, other, tmp_path, OTHER_AUTHORITY).gets_in())
    assert not Caller(running, JUDGE, tmp_path, OTHER_AUTHORITY).gets_in()


def test_an_origin_is_of_its_scheme(running: RunningServer, tmp_path: Path) -> None:
    host, port = address(running)
    with Caller(running, JUDGE, tmp_path).connected() as connection:
        for origin, status in ((f"https://{host}:{port}", 200), (f"http://{host}:{port}", 403)):
            connection.request("POST", f"{FEEDBACK}GetServerInfo", b"{}", {"content-type": JSON, "origin": origin})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status


@pytest.mark.parametrize(("trusted", "peer"), [
    (("127.0.0.0/8", "10.0.0.0/8"), "ipv4:203.0.113.9:0"), (("127.0.0.1",), "ipv4:10.1.1.1:0"),
    (("192.0.2.1",), "ipv4:127.0.0.1:"), ((), "ipv4:127.0.0.1:"),
])  # fmt: skip
def test_the_peer_of_an_audit_line_is_the_one_that_trusted_proxies_name(
    trusted: tuple[str, ...], peer: str, tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    with web_server(replace(Config(), audit_log=str(audit)), trusted_proxies=trusted) as running:
        assert create(running, x_forwarded_for="198.51.100.7, 203.0.113.9, 10.1.1.1").status == 200
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [line["peer"][: len(peer)] for line in lines] == [peer]


def test_hosts_and_origins_on_every_path() -> None:
    settings: Any = {"hosts": ("feedback.acme.dev",), "origins": ("https://chat.acme.dev",)}
    submit = "/plaudit.v1.SubmitService/GetSubmission"
    with web_server(**settings) as running, web_server(**settings, public_services=()) as closed:
        for path in (f"{FEEDBACK}GetServerInfo", submit, "/embed/plaudit-rating.js", "/f/x", "/"):
            assert call(running, path, {}, host="evil.example").status == 421
            assert call(running, path, {}, host="feedback.acme.dev").status != 421
        foreign = {"origin": "https://evil.example"}
        # A method that takes feedback tokens alone may be asked by a page of anywhere, unless it is not public.
        assert call(running, submit, {}, **foreign).status == 401
        assert call(closed, submit, {}, **foreign).status == 403
        for verb in ("GET", "POST", "OPTIONS", "HEAD"):
            for path in (f"{FEEDBACK}GetServerInfo", "/"):
                assert ask(running, verb, path, b"", content_type=JSON, **foreign).status == 403
