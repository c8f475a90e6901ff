"""Small calls that would be costly to process are refused with their code, cost little memory, and leave nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import bombs, victim
from tests.attacks.frames import Connection, Outcome, block
from tests.service.process import ServerProcess, server_process

# What a message of 8 MiB, the largest that grpc accepts, may cost: its frames, its bytes, and its text or objects.
MEBIBYTES = 64

BOMBS = bombs.bombs()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_process(tmp_path_factory.mktemp("bombs") / "plaudit.db") as server:
        yield server


async def outcome(target: str, bomb: bombs.Bomb) -> int | None:
    """The code of one call."""
    connection = await Connection.to(target)
    ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    connection.call(block(f"/{bombs.SERVICE}/{bomb.rpc}", bomb.metadata), bomb.body, ended.set_result)
    try:
        return (await asyncio.wait_for(ended, 20)).code
    finally:
        connection.close()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_answered_by_its_code(server: ServerProcess, name: str) -> None:
    bomb = BOMBS[name]
    before = victim.peak_mebibytes(server.process.pid)
    assert asyncio.run(outcome(server.target, bomb)) in bomb.codes
    assert victim.peak_mebibytes(server.process.pid) - before < MEBIBYTES
    victim.assert_well(server)


def test_refused_messages_do_not_add_up(tmp_path: Path) -> None:
    """Memory is bounded by the calls in flight, not by those refused since the collector of cycles last ran."""

    async def one_after_another(target: str) -> None:
        for _ in range(30):
            assert await outcome(target, BOMBS["a message of 5 MB"]) in BOMBS["a message of 5 MB"].codes

    with server_process(tmp_path / "plaudit.db") as server:
        before = victim.peak_mebibytes(server.process.pid)
        asyncio.run(one_after_another(server.target))
        assert victim.peak_mebibytes(server.process.pid) - before < MEBIBYTES
