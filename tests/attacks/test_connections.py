"""Connections that send nothing, or never complete what they send, are closed, and disturb nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from tests.attacks import attackers, bombs, neighbour, victim
from tests.attacks.frames import HEADERS, Connection, block, frame, opening
from tests.service.certificates import make
from tests.service.process import server_process

PATIENCE = 30.0
"""Seconds after which a connection that the server should have closed within one counts as kept open."""

HALVES = {
    "nothing": b"",
    "half a preface": opening()[:10],
    "half a TLS record": b"\x16\x03\x01\x02\x00\x01",
    "headers without an end": opening() + frame(HEADERS, 0, 1, block(f"/{bombs.SERVICE}/GetServerInfo")),
    "half a frame": opening() + frame(HEADERS, 4, 1, block(f"/{bombs.SERVICE}/GetServerInfo"))[:20],
}


async def is_closed(target: str, said: bytes, count: int = 20) -> bool:
    """Whether the server closes connections on which nothing more is sent."""
    host, _, port = target.rpartition(":")

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        try:
            async with asyncio.timeout(PATIENCE):
                while await reader.read(2**16):
                    pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    try:
        await asyncio.gather(*(one() for _ in range(count)))
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_half_said_is_closed(tmp_path: Path, tls: bool) -> None:
    flags = ["--connections-handshake-timeout-seconds", "0.5", "--connections-max-idle-seconds", "1"]
    if tls:
        authority = make()
        certificate = make("localhost", authority)
        (tmp_path / "tls.crt").write_bytes(certificate.pem)
        (tmp_path / "tls.key").write_bytes(certificate.key_pem)
        flags += ["--tls-certificate", str(tmp_path / "tls.crt"), "--tls-private-key", str(tmp_path / "tls.key")]
    with server_process(tmp_path / "plaudit.db", "127.0.0.1:0", *flags) as server:
        for said, half in HALVES.items():
            assert asyncio.run(is_closed(server.target, half)), said
        assert server.process.poll() is None
        if not tls:
            victim.assert_well(server)


def test_idle_connections_stand_in_nobodys_way(tmp_path: Path) -> None:
    async def beside(target: str) -> int:
        idle = [await Connection.to(target) for _ in range(attackers.IDLE)]
        with grpc.insecure_channel(target) as channel:
            calls = await asyncio.to_thread(neighbour.Neighbour(channel).calls, 0.2)
        assert not any(connection.closed.done() for connection in idle)
        for connection in idle:
            connection.close()
        return len(calls)

    with server_process(tmp_path / "plaudit.db") as server:
        before = victim.mebibytes(server.process.pid)
        assert asyncio.run(beside(server.target)) > 0
        # 100 KiB for each is more than twice what it takes.
        assert victim.mebibytes(server.process.pid) - before < attackers.IDLE * 100 / 1024
        victim.assert_well(server)
