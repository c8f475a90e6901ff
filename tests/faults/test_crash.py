"""OK means stored once: a server killed under load keeps each acknowledged write, once, with its content."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

from tests.faults.crash import campaign
from tests.service.process import ServerProcess

KILLS = int(os.environ.get("PLAUDIT_TEST_KILLS", "6"))
SEED = int(os.environ.get("PLAUDIT_TEST_SEED", "1"))


@pytest.mark.timeout(60 + 10 * KILLS)
def test_a_killed_server_keeps_what_it_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "plaudit.db"
    report = campaign(lambda: ServerProcess(store), KILLS, SEED)
    with capsys.disabled():
        print(f"\n{report}")
    assert (report.lost, report.doubled, report.phantoms) == ([], [], [])
    assert report.acknowledged > KILLS
    assert report.kills_in_flight >= 0.95 * report.kills
    assert apsw.Connection(str(store)).pragma("integrity_check") == "ok"
