"""How a client reaches its server: keys, metadata, deadlines of an operation, TLS, sockets, proxies, retries."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import plaudit
from plaudit import _default, v1
from plaudit._settings import Settings
from plaudit_server.config import Auth, Config, Tls
from plaudit_server.config.grants import NamedGrant, Role
from plaudit_server.testing import RunningServer
from tests.client.fakes import PROJECT, FakeTransport, message
from tests.client.network import Network
from tests.service.certificates import make
from tests.service.secured import secured

RECORD = {"ref": "urn:x", "feedback_type": "t"}
KINDS = ("Client", "AsyncClient", "init")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("PLAUDIT_")]:
        monkeypatch.delenv(name)
    yield
    _default.reset()


class Noting:
    """A server of one method, which keeps the metadata of each call."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.fail: list[grpc.StatusCode] = []

    def info(self, request: Any, context: grpc.ServicerContext) -> v1.GetServerInfoResponse:
        self.seen.append(dict(context.invocation_metadata()))
        if self.fail:
            context.abort(self.fail.pop(0), "as the test wants")
        return v1.GetServerInfoResponse(version="real")

    def serve(self, *addresses: str) -> tuple[grpc.Server, int]:
        handler = grpc.unary_unary_rpc_method_handler(
            self.info, v1.GetServerInfoRequest.FromString, v1.GetServerInfoResponse.SerializeToString
        )
        handlers = {"GetServerInfo": handler}
        server = grpc.server(ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("plaudit.v1.FeedbackService", handlers),))
        ports = [server.add_insecure_port(address) for address in addresses]
        server.start()
        return server, ports[0]


@pytest.fixture
def noting() -> Iterator[Noting]:
    servicer = Noting()
    server, port = servicer.serve("127.0.0.1:0")
    servicer.target = f"127.0.0.1:{port}"  # type: ignore[attr-defined]
    yield servicer
    server.stop(None).wait()


def ask(kind: str, times: int = 1, call: dict[str, Any] | None = None, **options: Any) -> None:
    """Call a server with any kind of client."""

    async def awaited() -> None:
        async with plaudit.AsyncClient("a/b", **options) as client:
            for _ in range(times):
                await client.server_info(**call or {})

    if kind == "AsyncClient":
        asyncio.run(awaited())
        return
    with (plaudit.Client if kind == "Client" else plaudit.init)("a/b", **options) as client:
        for _ in range(times):
            client.server_info(**call or {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_gives_the_key_of_each_call(kind: str, noting: Any) -> None:
    keys = iter(["first", "second"])
    ask(kind, 2, target=noting.target, api_key=lambda: next(keys))

    assert [seen["authorization"] for seen in noting.seen] == ["Bearer first", "Bearer second"]


def test_a_coroutine_function_gives_the_key_of_an_async_client(noting: Any) -> None:
    async def key() -> str:
        await asyncio.sleep(0)
        return "awaited"

    ask("AsyncClient", target=noting.target, api_key=key)
    assert noting.seen[0]["authorization"] == "Bearer awaited"
    with pytest.raises(TypeError, match="only AsyncClient"):
        ask("Client", target=noting.target, api_key=key)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_cannot_be_sent_is_an_error_without_its_text(kind: str, noting: Any) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as raised:
        ask(kind, target=noting.target, api_key=lambda: "secret\n")
    assert "secret" not in str(raised.value)
    assert noting.seen == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_key_in_a_file_is_read_again_when_it_changes(
    kind: str, way: str, noting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("first\n")
    options: dict[str, Any] = {"target": noting.target}
    if way == "argument":
        options["api_key_file"] = path
    else:
        monkeypatch.setenv("PLAUDIT_API_KEY_FILE", str(path))
    client = plaudit.Client(**options)
    client.server_info()
    beside = tmp_path / "new"
    beside.write_text("second\n")
    os.replace(beside, path)
    client.server_info()
    client.close()
    ask(kind, **options)

    assert [seen["authorization"] for seen in noting.seen] == ["Bearer first", "Bearer second", "Bearer second"]


def test_a_key_file_that_is_not_there_or_empty_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PLAUDIT_API_KEY_FILE"):
        plaudit.Client(api_key_file=tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="no usable key"):
        plaudit.AsyncClient(api_key_file=tmp_path / "empty")


def test_a_key_comes_before_a_file() -> None:
    environment = {"PLAUDIT_API_KEY": "k", "PLAUDIT_API_KEY_FILE": "f"}

    assert Settings.resolve(environment=environment).api_key == "k"
    assert Settings.resolve(environment=environment).api_key_file is None
    assert Settings.resolve(api_key_file="g", environment=environment).api_key is None
    with pytest.raises(ValueError, match="only one"):
        Settings.resolve(api_key="k", api_key_file="f")


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_of_the_client_and_of_a_call(kind: str, noting: Any) -> None:
    metadata = {"x-request-id": "of-client", "x-team": "chat", "x-trace-bin": b"\x00\xff"}
    ask(kind, target=noting.target, api_key="k", metadata=metadata)
    ask(kind, call={"metadata": {"x-request-id": "of-call"}}, target=noting.target, api_key="k", metadata=metadata)

    first, second = noting.seen
    assert first.items() >= {**metadata, "authorization": "Bearer k"}.items()
    assert (second["x-request-id"], second["x-team"], second["authorization"]) == ("of-call", "chat", "Bearer k")


@pytest.mark.parametrize(
    "metadata", [{"X-A": "b"}, {"a b": "c"}, {"grpc-timeout": "1S"}, {"a": "hunter2\n"}, {"a-bin": "hunter2"}]
)
def test_metadata_that_cannot_be_sent_is_refused_without_its_value(metadata: Any) -> None:
    for refused in (plaudit.Client, plaudit.AsyncClient, plaudit.init):
        with pytest.raises(ValueError, match="metadata") as raised:
            refused(metadata=metadata)
        assert "hunter2" not in str(raised.value)
    with pytest.raises(ValueError, match="only one"):
        plaudit.Client(api_key="k", metadata={"authorization": "Basic x"})


def test_a_request_id_of_a_call_is_that_of_its_error(running: RunningServer) -> None:
    with plaudit.Client("a/b", target=running.target) as client, pytest.raises(plaudit.NotFoundError) as raised:
        client.get("00000000-0000-7000-8000-000000000000", metadata={"x-request-id": "mine"})
    assert raised.value.request_id == "mine"


OPERATIONS: dict[str, Callable[..., Any]] = {
    "create": lambda client, **call: client.create(RECORD, **call),
    "create_batch": lambda client, **call: client.create_batch([RECORD], **call),
    "get": lambda client, **call: client.get(message(1).id, **call),
    "replace": lambda client, **call: client.replace({"id": message(1).id, **RECORD}, **call),
    "purge": lambda client, **call: client.purge([message(1).id], **call),
    "count": lambda client, **call: client.count(**call),
    "refs": lambda client, **call: client.refs(**call),
    "server_info": lambda client, **call: client.server_info(**call),
    "query.execute": lambda client, **call: client.get_feedback().execute(**call),
    "query.count": lambda client, **call: client.get_feedback().count(**call),
    "query.refs": lambda client, **call: client.get_feedback().refs(**call),
    "get_feedback": lambda client, **call: list(client.get_feedback(**call)),
    "ref": lambda client, **call: list(client.ref("urn:x", **call)),
    "ref.add": lambda client, **call: client.ref("urn:x").add("t", {}, **call),
    "ref.add_note": lambda client, **call: client.ref("urn:x").add_note("n", **call),
    "ref.add_reaction": lambda client, **call: client.ref("urn:x").add_reaction("👍", **call),
    "ref.purge": lambda client, **call: client.ref("urn:x").purge(message(1).id, **call),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_a_deadline_of_its_own(operation: str, client: Any, transport: FakeTransport) -> None:
    OPERATIONS[operation](client, timeout=2.5)
    assert {options.get("timeout") for options in transport.options} == {2.5}
    transport.options.clear()

    OPERATIONS[operation](client)
    assert {options.get("timeout") for options in transport.options} == {None}
    with pytest.raises(ValueError, match="timeout"):
        OPERATIONS[operation](client, timeout=0)


def test_a_timeout_is_no_key_of_the_payload(client: Any, transport: FakeTransport) -> None:
    client.ref("urn:x").add("t", {"timeout": 3}, timeout=2.5, score=1)

    assert transport.rows[-1].payload_json == '{"timeout":3,"score":1}'


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_deadline_of_an_operation_ends_it(kind: str, silent: str) -> None:
    with pytest.raises(plaudit.PlauditError) as raised:
        ask(kind, call={"timeout": 0.3}, target=silent, timeout=60)
    assert isinstance(raised.value, TimeoutError | ConnectionError)
    assert silent in str(raised.value)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections, and says nothing."""
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


AUTHORITY = make("authority of the clients' tests")
SERVER = make("server", AUTHORITY)
JUDGE = make("judge", AUTHORITY)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    certificate, key = JUDGE.write(tmp_path, "judge")
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    return {"ca_file": str(tmp_path / "ca.pem"), "certificate_file": str(certificate), "key_file": str(key)}


@pytest.mark.parametrize("kind", KINDS)
def test_tls_with_files(kind: str, files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = SERVER.write(tmp_path, "server")
    grants = (NamedGrant("CN=judge,O=Acme", Role.WRITER, ("a/*",)),)
    config = Config(tls=Tls(str(certificate), str(key), files["ca_file"]), auth=Auth(grants=grants))
    with secured(config) as running:
        port = running.target.rpartition(":")[2]
        ask(kind, target=f"https://localhost:{port}", **files)
        ask(kind, target=f"localhost:{port}", **files)  # certificates mean TLS
        for name, path in files.items():
            monkeypatch.setenv(f"PLAUDIT_{name.upper()}", path)
        ask(kind, target=f"https://localhost:{port}")
        with pytest.raises(ValueError, match="https://"):
            ask(kind, target=f"http://localhost:{port}")
    assert running.codes == ["OK"] * 3


def test_files_that_are_none_are_refused_when_the_client_is_made(files: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ca_file cannot be read"):
        plaudit.Client(ca_file=tmp_path / "none")
    with pytest.raises(ValueError, match="not a PEM file"):
        plaudit.AsyncClient(ca_file=files["key_file"])
    with pytest.raises(ValueError, match="go together"):
        plaudit.Client(certificate_file=files["certificate_file"])
    with pytest.raises(ValueError, match="only one"):
        plaudit.Client(ca_file=files["ca_file"], credentials=grpc.ssl_channel_credentials())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
def test_unix_sockets(kind: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = form.format(tmp_path / "s")
    servicer = Noting()
    server, _ = servicer.serve(target)
    try:
        ask(kind, target=target)
    finally:
        server.stop(None).wait()
    assert len(servicer.seen) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_never_reached_through_a_proxy(
    kind: str, host: str, noting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    ask(kind, target=noting.target.replace("127.0.0.1", host), timeout=5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_is_named_in_the_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:hunter2@127.0.0.1:9")
    for name in ("grpc_proxy", "https_proxy", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(plaudit.UnavailableError, match=r"the proxy 127\.0\.0\.1:9 \(of http_proxy") as raised:
        ask(kind, target="plaudit.invalid:1", timeout=0.3)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_policy(kind: str, noting: Any) -> None:
    noting.fail = [grpc.StatusCode.UNAVAILABLE] * 3
    with pytest.raises(plaudit.UnavailableError):
        ask(kind, target=noting.target, retry=plaudit.RetryPolicy(max_attempts=2))
    assert len(noting.seen) == 2
    ask(kind, target=noting.target, retry=plaudit.RetryPolicy(initial_delay=0.001))
    assert len(noting.seen) == 4


@pytest.mark.parametrize(
    "policy", [{"max_attempts": 0}, {"jitter": 2}, {"initial_delay": -1}, {"max_delay": float("nan")}]
)
def test_a_malformed_retry_policy(policy: Any) -> None:
    with pytest.raises(ValueError, match=r"max_attempts|seconds"):
        plaudit.RetryPolicy(**policy)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_that_nobody_here_asked_for_is_sent_again(kind: str, noting: Any) -> None:
    noting.fail = [grpc.StatusCode.CANCELLED]
    ask(kind, target=noting.target)
    assert len(noting.seen) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_not_there(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "plaudit"), pytest.raises(plaudit.UnavailableError) as raised:
        ask(kind, target="127.0.0.1:1", timeout=0.5)
    text = str(raised.value)
    assert "no server can be reached at 127.0.0.1:1" in text
    assert "plaudit-server serve" in text
    assert "PLAUDIT_TARGET" in text
    [warned] = [record for record in caplog.records if record.name.startswith("plaudit")]
    assert "127.0.0.1:1" in warned.message
    assert warned.message.endswith("trying again")


def test_a_watch_warns_while_it_reconnects(running: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    with (
        Network(running.target).running() as network,
        plaudit.Client(PROJECT, target=network.target) as client,
        client.watch() as watch,
        caplog.at_level(logging.WARNING, "plaudit"),
    ):
        network.cut()
        with plaudit.Client(PROJECT, target=running.target) as direct:
            direct.create(RECORD)
        next(watch)
    # Of the oldest grpcio there may be a line of its own, of an event loop of another test, in its own logger.
    ours = [record for record in caplog.records if record.name == "plaudit"]
    assert [network.target in record.message for record in ours] == [True]
