"""The buffered writer of an AsyncClient: what the blocking one does, without keeping the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import plaudit
from plaudit_server.testing import RunningServer
from tests.client.network import Network


def record(number: int = 0) -> dict[str, Any]:
    return {"ref": "urn:x", "feedback_type": "t", "payload": {"n": number}}


def test_records_are_stored_in_order_while_other_tasks_go_on(running: RunningServer) -> None:
    async def talk() -> None:
        async with plaudit.AsyncClient("abuf/order", target=running.target) as client:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            async with client.buffered(max_records=100, linger=0.001) as writer:
                ids = [await writer.add(record(number)) for number in range(1500)]
                report = await writer.flush()
                assert (report.stored, report.pending) == (1500, 0)
                await writer.add(record(1500))
                assert repr(writer).startswith("AsyncBufferedWriter(open, ")
            ticking.cancel()
            assert ticks > 15  # each time that the buffer was full
            rows = [row async for row in client.get_feedback()]
            assert [row.id for row in rows[:-1]] == ids
            assert [row.payload["n"] for row in rows] == list(range(1501))

    asyncio.run(talk())


def test_a_full_buffer_refuses_after_its_timeout() -> None:
    async def talk() -> None:
        async with plaudit.AsyncClient("a/b", target="127.0.0.1:1", timeout=0.1) as client:
            writer = client.buffered(max_records=1)
            await writer.add(record())
            with pytest.raises(TimeoutError, match="full"):
                await writer.add(record(), timeout=0.05)
            report = await writer.close()
            assert report.pending == 1

    asyncio.run(talk())


def test_refused_records_are_an_error_of_the_block(running: RunningServer) -> None:
    async def talk() -> None:
        async with plaudit.AsyncClient("abuf/refused", target=running.target) as client:

            async def refused() -> None:
                async with client.buffered() as writer:
                    await writer.add(record())
                    await writer.add({"ref": "no ref", "feedback_type": "t"})

            with pytest.raises(plaudit.NotStoredError, match="1 were refused"):
                await refused()
            assert await client.count() == 1

    asyncio.run(talk())


def test_it_survives_a_line_that_is_cut_and_has_a_spool(running: RunningServer, tmp_path: Path) -> None:
    async def talk(network: Network) -> None:
        spool = tmp_path / "spool"
        async with plaudit.AsyncClient("abuf/spool", target=network.target, timeout=0.5) as client:
            async with client.buffered(spool=spool, linger=0.001) as writer:
                await writer.add(record(1))
                await writer.flush()
                await asyncio.to_thread(network.go_down)
                await writer.add(record(2))
                report = await writer.close()
            assert (report.pending, report.spooled) == (0, 1)
            network.come_back()
            async with client.buffered(spool=spool) as writer:
                await writer.flush(timeout=20)
            assert [row.payload["n"] async for row in client.get_feedback()] == [1, 2]

    with Network(running.target).running() as network:
        asyncio.run(talk(network))


LEFT_OPEN = """
import asyncio, sys
import plaudit

async def main():
    client = plaudit.AsyncClient("abuf/left", target=sys.argv[1])
    writer = client.buffered(linger=60)
    await writer.add({"ref": "urn:x", "feedback_type": "t"})

asyncio.run(main())
"""


def test_a_writer_that_is_left_open_warns_at_the_end(running: RunningServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN, running.target], check=False, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "1 records of a plaudit buffer are not stored" in done.stderr
