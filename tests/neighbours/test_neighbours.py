"""Every attack beside a well-behaved caller of another project: the campaign of `make test-neighbours`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.neighbours.budget import FULL
from tests.neighbours.campaign import Rounds, Sinks, measure
from tests.neighbours.catalogue import CASES, POSTGRES, Case
from tests.neighbours.conftest import ROUNDS
from tests.neighbours.stores import Originals
from tests.neighbours.table import HEAD, Table
from tests.postgres.cluster import binaries

BUILD = Path(__file__).parents[2] / "build"
SECONDS = 1.5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_others_keep_their_pace(
    case: Case, originals: Originals, sinks: Sinks, capsys: pytest.CaptureFixture[str]
) -> None:
    if case.engine == POSTGRES and binaries() is None:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL is installed: install your distribution's postgresql")
        pytest.skip("no PostgreSQL is installed")
    with originals.copy(case.engine, case.attack.statement_timeout) as store:
        [figures] = measure([case], store, sinks, Rounds(ROUNDS, ROUNDS, SECONDS), FULL)
    table = Table(BUILD / "neighbours")
    text = table.add(figures)
    (BUILD / "neighbours.md").write_text(table.markdown())
    with capsys.disabled():
        print(f"\n{HEAD}\n{text}" if case is CASES[0] else f"\n{text}", end="", flush=True)
    assert not figures.broken, "\n".join(figures.broken)
