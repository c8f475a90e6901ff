"""Watches over the HTTP port whose link is cut, or that are open for a long time; `make test-watch` runs long ones."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks import victim
from tests.faults import long_watch
from tests.service.process import web_process

SECONDS = float(os.environ.get("PLAUDIT_TEST_WATCH_SECONDS", "0"))
GROWTH_MEBIBYTES = 64


def test_a_cut_link_ends_its_watches(capsys: pytest.CaptureFixture[str]) -> None:
    # With the settings as they are, and nothing to send but heartbeats, it takes 30 and 10 seconds: the long form. The
    # short one has a shorter time for acknowledgements, and a change to send.
    user_timeout, writes, wait = ("30", "no", "45") if SECONDS else ("1", "yes", "45")
    # Namespaces of the network: those of a user who is root in them alone need no right.
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-m", "tests.faults.cut_link"]
    run = subprocess.run([*command, user_timeout, writes, wait], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    with capsys.disabled():
        if SECONDS:
            print(f"\na link cut without a word: no watch and no connection after {run.stdout.strip()} s")


@pytest.mark.timeout(SECONDS + 240)
def test_a_long_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with web_process(tmp_path / "plaudit.db", "--admin-listen", "127.0.0.1:0") as (server, http):
        before = victim.mebibytes(server.process.pid)
        results = asyncio.run(long_watch.run(server.target, http, server.address("admin.listen"), SECONDS))
        growth = victim.mebibytes(server.process.pid) - before
        victim.assert_well(server)
    assert results.seen == results.written * long_watch.WATCHES
    assert growth < GROWTH_MEBIBYTES
    with capsys.disabled():
        if SECONDS:
            closed = sorted(results.closed)
            soon = sum(seconds <= 1 for seconds in closed)
            print(
                f"\n{long_watch.WATCHES} watches for {SECONDS:g} s: {results.written} changes, each seen once by each;"
                f" {results.heartbeats} heartbeats; {growth:+.0f} MiB; {len(closed)} closed tabs, seen after"
                f" {closed[len(closed) // 2]:.2f} s (median), {soon} within 1 s, the last after {closed[-1]:.2f} s"
            )
