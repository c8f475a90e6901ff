"""Real handshakes: which certificates are accepted, and what happens when files change under a running server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from plaudit_server.auth.tls import CertificateFiles, certificate_principal, server_credentials
from plaudit_server.config import Auth, Config, Tls
from plaudit_server.config.grants import NamedGrant, Role
from plaudit_server.errors import StartError, Unauthenticated
from tests.service.certificates import Certificate, channel_credentials, make, tls_of
from tests.service.secured import Secured, call, secured
from tests.service.status import refusal

AUTHORITY = make("mesh authority")
OTHER_AUTHORITY = make("another authority")
SERVER = make("server", AUTHORITY)
SPIFFE = "spiffe://mesh.acme/ns/eval/sa/judge"
JUDGE = make("judge", AUTHORITY, uris=(SPIFFE,))

GRANTS = (
    NamedGrant("spiffe://mesh.acme/*", Role.WRITER, ("acme/*",)),
    NamedGrant("CN=plain,O=Acme", Role.READER, ("acme/*",)),
)


def write_atomically(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    os.replace(beside, path)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return tls_of(SERVER, AUTHORITY, tmp_path)


@pytest.fixture
def running(tls: Tls) -> Iterator[Secured]:
    with secured(Config(tls=tls, auth=Auth(grants=GRANTS))) as running:
        yield running


@contextmanager
def connected(running: Secured, client: Certificate | None, trusts: Certificate = AUTHORITY) -> Iterator[grpc.Channel]:
    # A separate subchannel pool: otherwise channels with equal credentials share a connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(running.target, channel_credentials(trusts, client), options) as channel:
        yield channel


def handshake_refused(running: Secured, client: Certificate | None, trusts: Certificate = AUTHORITY) -> None:
    with connected(running, client, trusts) as channel:
        assert refusal(lambda: call(channel, "CountFeedback", project="acme/chat")).code is grpc.StatusCode.UNAVAILABLE
    assert running.seen == []


def test_the_right_certificate_gets_in_as_its_spiffe_id(running: Secured) -> None:
    with connected(running, JUDGE) as channel:
        call(channel, "CreateFeedback", project="acme/chat")
        call(channel, "PurgeFeedback", project="acme/chat")
    assert running.seen == [("CreateFeedback", SPIFFE, None), ("PurgeFeedback", SPIFFE, SPIFFE)]


def test_without_a_spiffe_id_the_subject_is_the_name(running: Secured) -> None:
    with connected(running, make("plain", AUTHORITY)) as channel:
        call(channel, "CountFeedback", project="acme/chat")
        denied = refusal(lambda: call(channel, "CreateFeedback", project="acme/chat"))
    assert running.seen == [("CountFeedback", "CN=plain,O=Acme", None)]
    assert (denied.code, denied.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert denied.metadata == {"project": "acme/chat", "right": "create"}


def test_a_certificate_of_another_authority_is_refused_in_the_handshake(running: Secured) -> None:
    handshake_refused(running, make("judge", OTHER_AUTHORITY, uris=(SPIFFE,)))


def test_no_certificate_is_refused_in_the_handshake(running: Secured) -> None:
    handshake_refused(running, None)


def test_an_expired_certificate_is_refused_in_the_handshake(running: Secured) -> None:
    handshake_refused(running, make("judge", AUTHORITY, uris=(SPIFFE,), expired=True))


def test_a_client_that_trusts_another_authority_sends_nothing(running: Secured) -> None:
    handshake_refused(running, JUDGE, trusts=OTHER_AUTHORITY)


def test_plain_text_gets_no_answer(running: Secured) -> None:
    with grpc.insecure_channel(running.target) as channel:
        assert refusal(lambda: call(channel, "GetServerInfo")).code is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_without_a_grant_has_no_rights(running: Secured) -> None:
    with connected(running, make("stranger", AUTHORITY)) as channel:
        call(channel, "GetServerInfo")
        denied = refusal(lambda: call(channel, "CountFeedback", project="acme/chat"))
    assert denied.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("uris", [(SPIFFE, "spiffe://mesh.acme/second"), (SPIFFE, "https://acme.test")])
def test_a_spiffe_id_beside_another_uri_names_nobody(running: Secured, uris: tuple[str, ...]) -> None:
    with connected(running, make("plain", AUTHORITY, uris=uris)) as channel:
        refused = refusal(lambda: call(channel, "GetServerInfo"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


def test_a_certificate_without_any_name_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        certificate_principal({"x509_pem_cert": [b"..."], "x509_subject": [b""]})


def test_without_a_certificate_there_is_no_principal() -> None:
    assert certificate_principal({"transport_security_type": [b"ssl"]}) is None


def test_the_servers_certificate_is_rotated_while_it_runs(running: Secured, tls: Tls) -> None:
    new = make("server", OTHER_AUTHORITY)
    with connected(running, JUDGE) as before:
        call(before, "GetServerInfo")
        write_atomically(Path(tls.certificate), new.pem)
        # Half of a rotation: the old pair stays in force.
        with connected(running, JUDGE) as between:
            call(between, "GetServerInfo")
        write_atomically(Path(tls.private_key), new.key_pem)
        with connected(running, JUDGE, trusts=OTHER_AUTHORITY) as after:
            call(after, "GetServerInfo")
        call(before, "GetServerInfo")
    running.seen.clear()
    handshake_refused(running, JUDGE, trusts=AUTHORITY)


def test_the_authority_of_clients_is_rotated_while_it_runs(running: Secured, tls: Tls) -> None:
    assert tls.client_ca
    write_atomically(Path(tls.client_ca), OTHER_AUTHORITY.pem)
    with connected(running, make("judge", OTHER_AUTHORITY, uris=(SPIFFE,))) as channel:
        call(channel, "GetServerInfo")
    running.seen.clear()
    handshake_refused(running, JUDGE)


def test_a_client_with_a_new_certificate_keeps_its_name(running: Secured) -> None:
    for client in (JUDGE, make("judge", AUTHORITY, uris=(SPIFFE,))):
        with connected(running, client) as channel:
            call(channel, "GetServerInfo")
    assert {user for _, user, _ in running.seen} == {SPIFFE}


def test_tls_alone_encrypts_and_asks_for_no_certificate(tls: Tls) -> None:
    with (
        secured(Config(tls=Tls(tls.certificate, tls.private_key))) as running,
        connected(running, None) as channel,
    ):
        call(channel, "GetServerInfo")
    assert running.seen == [("GetServerInfo", "anonymous", None)]


@pytest.mark.parametrize("broken", ["certificate", "private_key", "client_ca"])
@pytest.mark.parametrize("content", [b"", b"no PEM", None], ids=["empty", "no PEM", "missing"])
def test_files_that_can_not_be_used_stop_the_start_with_a_line(tls: Tls, broken: str, content: bytes | None) -> None:
    path = Path(getattr(tls, broken))
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(StartError) as refused:
        server_credentials(tls)
    assert "\n" not in str(refused.value)
    assert content is not None or str(path) in str(refused.value)


def test_a_key_of_another_certificate_stops_the_start(tls: Tls) -> None:
    Path(tls.private_key).write_bytes(JUDGE.key_pem)
    with pytest.raises(StartError, match="not that of the certificate"):
        server_credentials(tls)


def test_unchanged_files_are_not_read_again_and_broken_ones_are_reported_once(
    tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    files = CertificateFiles(tls)
    files.read()
    assert files.changed() is None
    Path(tls.certificate).write_bytes(b"half")
    assert [files.changed() for _ in range(3)] == [None] * 3
    assert len([r for r in caplog.records if "old ones stay" in r.message]) == 1
    Path(tls.certificate).unlink()
    assert files.changed() is None
    write_atomically(Path(tls.certificate), SERVER.pem)
    assert files.changed() is not None
    assert files.changed() is None
