"""The stores and the sink of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.neighbour import sink_process
from tests.neighbours.campaign import Sinks
from tests.neighbours.catalogue import COUNTS
from tests.neighbours.stores import Originals

ROUNDS = int(os.environ.get("PLAUDIT_TEST_NEIGHBOUR_ROUNDS", "0"))
"""Of the campaign; 0 is the short form, in `make test`."""

STORES = os.environ.get("PLAUDIT_TEST_NEIGHBOUR_STORES", "")
"""Where the campaign's stores are kept, so that it can be run in parts; empty: nowhere."""

collect_ignore = ["test_short.py"] if ROUNDS else ["test_ends.py", "test_neighbours.py"]

ROWS = 200_000 if ROUNDS else 6_000


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Originals]:
    """Stores whose attackers' project is large."""
    kept = Path(STORES) if ROUNDS and STORES else None
    originals = Originals(tmp_path_factory.mktemp("neighbours"), ROWS, keys=max(COUNTS) if ROUNDS else 0, kept=kept)
    yield originals
    originals.close()


@pytest.fixture(scope="session")
def sinks() -> Iterator[Sinks]:
    """Listeners that refuse everything at once."""
    with sink_process("--refuse") as grpc, sink_process("--http") as http:
        yield Sinks(grpc, http)
