"""Whether a run is the campaign, and its stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.growth.stores import Stores

KEPT = os.environ.get("PLAUDIT_TEST_GROWTH_STORES", "")
"""Where the campaign's stores are kept; empty: the short form, in `make test`."""

collect_ignore = ["test_short.py"] if KEPT else ["test_growth.py"]


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """Those of the campaign, or some that are removed."""
    stores = Stores(Path(KEPT) if KEPT else tmp_path_factory.mktemp("growth"))
    yield stores
    stores.close()
