"""Random byte strings to every method: no crash, no INTERNAL or UNKNOWN, and all that was stored can be read back."""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.attacks import garbage, victim
from tests.service.process import server_process

STRINGS = int(os.environ.get("PLAUDIT_TEST_STRINGS", "300"))
SEED = int(os.environ.get("PLAUDIT_TEST_SEED", "1"))

# OK, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, ABORTED, OUT_OF_RANGE; no bytes may lead to another code.
CODES = {0, 3, 5, 6, 10, 11}


@pytest.mark.timeout(120 + STRINGS // 10)
def test_random_bytes_to_every_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = sorted(garbage.SERVICE.methods_by_name)
    store = tmp_path / "plaudit.db"
    stored = 0
    with server_process(store) as server:
        asyncio.run(garbage.throw(server.target, "CreateFeedback", garbage.good(200)))
        # Purges come last, or there would be little left to read back.
        for method in sorted(methods, key=lambda name: name.startswith("Purge")):
            if method == "PurgeFeedback":
                stored = sum(victim.read_back(server.target, project) for project in victim.projects(store))
            codes = asyncio.run(garbage.throw(server.target, method, garbage.strings(method, STRINGS, SEED)))
            with capsys.disabled() if STRINGS > 1000 else nullcontext():
                print(f"\n{method}: {dict(sorted(codes.items(), key=str))}", end="")
            assert codes.total() == STRINGS
            assert set(codes) <= CODES, (method, codes)
            # Some must have been valid and many not, or the test would show little.
            assert codes[0] > STRINGS // 20, method
            assert codes[3] > STRINGS // 10, method
        left = sum(victim.read_back(server.target, project) for project in victim.projects(store))
        victim.assert_well(server)
    assert stored > 200
    assert left < stored
