"""Behind pgbouncer in transaction mode: connections are exchanged between transactions, without any effect."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from plaudit_server.feedback.commands import Purge, Purged, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count, Select
from plaudit_server.feedback.records import message
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.ledger import ProjectRevision
from tests.postgres.cluster import Database, as_user, free_port, system_user
from tests.postgres.test_trouble import only
from tests.store import suite
from tests.store.factory import BY_TIME, PROJECT, id_of, record

PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None and not os.environ.get("CI"), reason="no pgbouncer is installed")


@pytest.fixture(scope="module")
def pooled_url(shared_database: Database) -> Iterator[str]:
    """The shared database through a pgbouncer that has two connections for all clients."""
    assert PGBOUNCER is not None, "no pgbouncer is installed; install your distribution's pgbouncer"
    parts, port = conninfo_to_dict(shared_database.url), free_port()
    home = Path(tempfile.mkdtemp(prefix="plaudit-pgbouncer-"))
    user = system_user()
    (home / "users").write_text(f'"{parts["user"]}" "{parts.get("password") or ""}"\n')
    (home / "ini").write_text(
        f"[databases]\n* = host={parts['host']} port={parts.get('port', 5432)}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {home}/users\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 100\n"
    )
    home.chmod(0o755)
    command = [*([] if user is None else as_user(user)), PGBOUNCER, str(home / "ini")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = re.sub(r"@[^/]+", f"@127.0.0.1:{port}", shared_database.url, count=1)
    try:
        wait_until_it_answers(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(home)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            with psycopg.connect(url):
                return
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer did not start"
            assert time.monotonic() < until
            time.sleep(0.05)


# The other cases of the suite need nothing more of a connection than these.
CASES = [case for case in suite.CASES if "page" in suite.name_of(case) or "batch" in suite.name_of(case)]


@pytest.mark.parametrize("case", CASES, ids=suite.name_of)
def test_behaves_as_a_store(case: suite.Case, pooled_url: str, empty_database: Database) -> None:
    suite.run(case, lambda clock: PostgresEngine(pooled_url, clock=clock))


def test_more_stores_than_connections_write_and_read_at_once(pooled_url: str, empty_database: Database) -> None:
    async def work(store: PostgresEngine, number: int) -> None:
        for step in range(10):
            n = number * 100 + step
            await only(store, Create(PROJECT, [record(n, {"text": "x" * 100_000})]))
            assert message(await only(store, Replace(PROJECT, record(n, {"a": 1})))).version == 2
            await store.read(Select(PROJECT, None, BY_TIME, with_total=True, max_bytes=300_000))
        assert await only(store, Purge(PROJECT, "p", ids=[id_of(number * 100)])) == Purged(1)

    async def scenario() -> None:
        stores = [PostgresEngine(pooled_url) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(work(store, number) for number, store in enumerate(stores * 2)))
        assert await stores[0].read(Count(PROJECT, None)) == 8 * 9
        assert await stores[0].read(ProjectRevision(PROJECT)) == 8 * 21
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(scenario())
