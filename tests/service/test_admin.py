"""The admin ports: their answers while a server starts, works, loses its store and drains; and slow readers."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from plaudit.v1 import CreateFeedbackRequest, FeedbackServiceStub, GetServerInfoRequest
from plaudit_server.config import Admin, Config
from plaudit_server.errors import StartError
from plaudit_server.ops.admin.http import CONNECTIONS
from plaudit_server.testing import server
from tests.service.operators import Scraped, page, with_admin
from tests.service.process import ServerProcess
from tests.service.test_metrics import PROJECT, Unsteady, feedback

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def create(channel: grpc.Channel) -> None:
    FeedbackServiceStub(channel).CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback("a")))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pages_over_http() -> None:
    with server(config=with_admin()) as running:
        address = running.server.admin.addresses["admin.listen"]
        assert page(address, "/livez") == (200, "alive\n")
        assert page(address, "/readyz?verbose") == (200, "serving\n")
        assert page(address, "/metrics").status == 200
        assert page(address, "/").status == page(address, "/metrics/x").status == 404


def test_nothing_is_open_unless_it_is_asked_for() -> None:
    with server() as running:
        assert running.server.admin.addresses == {}
    assert Config().admin == Admin("", "")


def test_channelz_and_the_metrics_are_not_on_the_public_port() -> None:
    with server(config=with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channelz_pb2_grpc.ChannelzStub(channel).GetServers(channelz_pb2.GetServersRequest())
        assert raised.value.code() is UNIMPLEMENTED
        with grpc.insecure_channel(running.server.admin.addresses["admin.grpc_listen"]) as admin:
            with pytest.raises(grpc.RpcError) as raised:
                FeedbackServiceStub(admin).GetServerInfo(GetServerInfoRequest())
            assert raised.value.code() is UNIMPLEMENTED


def test_channelz_tells_of_the_servers_sockets() -> None:
    with (
        server(config=with_admin()) as running,
        grpc.insecure_channel(running.target) as channel,
        grpc.insecure_channel(running.server.admin.addresses["admin.grpc_listen"]) as admin,
    ):
        FeedbackServiceStub(channel).GetServerInfo(GetServerInfoRequest())
        channelz = channelz_pb2_grpc.ChannelzStub(admin)
        sockets = []
        for found in channelz.GetServers(channelz_pb2.GetServersRequest()).server:
            request = channelz_pb2.GetServerSocketsRequest(server_id=found.ref.server_id)
            for ref in channelz.GetServerSockets(request).socket_ref:
                socket_request = channelz_pb2.GetSocketRequest(socket_id=ref.socket_id)
                sockets.append(channelz.GetSocket(socket_request).socket)
        ports = {int(running.target.rpartition(":")[2])}
        ours = [found for found in sockets if found.local.tcpip_address.port in ports]
        assert len(ours) == 1
        assert ours[0].data.streams_started == 1


def test_readiness_follows_the_store_and_liveness_does_not() -> None:
    store = Unsteady()
    with (
        server(store, with_admin()) as running,
        grpc.insecure_channel(running.target) as channel,
        grpc.insecure_channel(running.server.admin.addresses["admin.grpc_listen"]) as admin,
    ):
        address = running.server.admin.addresses["admin.listen"]
        health = health_pb2_grpc.HealthStub(admin)

        def said(service: str) -> int:
            return int(health.Check(health_pb2.HealthCheckRequest(service=service)).status)

        store.fails = True
        with pytest.raises(grpc.RpcError):
            create(channel)
        eventually(lambda: page(address, "/readyz") == (503, "store unavailable\n"))
        assert page(address, "/livez").status == 200
        assert (said("plaudit.v1.FeedbackService"), said("liveness")) == (NOT_SERVING, SERVING)
        store.fails = False
        eventually(lambda: page(address, "/readyz") == (200, "serving\n"))
        assert said("plaudit.v1.FeedbackService") == SERVING


def test_the_ports_answer_while_the_server_drains(tmp_path: Path) -> None:
    process = ServerProcess(
        tmp_path / "plaudit.db",
        "127.0.0.1:0",
        "--connections-drain-delay-seconds=3600",
        "--admin-listen=127.0.0.1:0",
        "--admin-grpc-listen=127.0.0.1:0",
    )
    try:
        addresses = {key: process.address(key) for key in ("admin.listen", "admin.grpc_listen")}
        assert page(addresses["admin.listen"], "/readyz").status == 200
        process.process.send_signal(signal.SIGTERM)
        eventually(lambda: page(addresses["admin.listen"], "/readyz") == (503, "draining\n"))
        assert page(addresses["admin.listen"], "/livez").status == 200
        assert Scraped(page(addresses["admin.listen"], "/metrics").text).value("plaudit_serving") == 0
        with grpc.insecure_channel(addresses["admin.grpc_listen"]) as admin:
            health = health_pb2_grpc.HealthStub(admin)
            assert health.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
    finally:
        assert process.stop(signal.SIGTERM) == 128 + signal.SIGTERM


def test_slow_and_many_readers_of_pages_cost_callers_nothing_and_are_sent_away() -> None:
    with server(config=with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        host, _, port = running.server.admin.addresses["admin.listen"].rpartition(":")
        idle = [socket.create_connection((host, int(port)), 10) for _ in range(CONNECTIONS)]
        try:
            for half in idle[::2]:
                half.sendall(b"GET /metrics HTTP/1.1\r\n")

            def is_full() -> bool:
                try:
                    return page(f"{host}:{port}", "/livez").status != 200
                except (OSError, HTTPException):
                    return True

            eventually(is_full)
            create(channel)
        finally:
            for connection in idle:
                connection.close()
        eventually(lambda: not is_full())


def test_two_servers_do_not_share_an_admin_port() -> None:
    with server(config=with_admin()) as running:
        for key, address in running.server.admin.addresses.items():
            taken = Admin(**{key.removeprefix("admin."): address})
            with pytest.raises(StartError, match=address), server(config=Config(admin=taken)):
                pass
