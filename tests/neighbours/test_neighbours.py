"""Every attack beside a well-behaved caller of another project; without a number of rounds three of them, briefly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.neighbours.budget import FULL, SHORT
from tests.neighbours.campaign import Rounds, measure
from tests.neighbours.catalogue import CASES, POSTGRES, Case
from tests.neighbours.catalogue import SHORT as SHORT_CASES
from tests.neighbours.conftest import ROUNDS
from tests.neighbours.stores import Originals
from tests.neighbours.table import HEAD, Table
from tests.postgres.cluster import binaries

BUILD = Path(__file__).parents[2] / "build"
SECONDS = 1.5 if ROUNDS else 0.5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES if ROUNDS else SHORT_CASES, ids=lambda case: case.id)
def test_others_keep_their_pace(
    case: Case, originals: Originals, sink: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if case.engine == POSTGRES and binaries() is None:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL is installed: install your distribution's postgresql")
        pytest.skip("no PostgreSQL is installed")
    with originals.copy(case.engine, case.attack.statement_timeout) as store:
        if ROUNDS:
            figures = measure(case, store, sink, Rounds(ROUNDS, ROUNDS, SECONDS), FULL)
            table = Table(BUILD / "neighbours")
            text = table.add(figures)
            (BUILD / "neighbours.md").write_text(table.markdown())
            with capsys.disabled():
                print(f"\n{HEAD}\n{text}" if case is CASES[0] else f"\n{text}", end="", flush=True)
        else:
            figures = measure(case, store, sink, Rounds(1, 4, SECONDS), SHORT, best=True)
    assert not figures.broken, "\n".join(figures.broken)
