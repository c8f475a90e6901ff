"""The function that makes ids."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid

import pytest

from plaudit._contract import uuid7 as module
from plaudit._contract.uuid7 import uuid7


def test_an_id_is_a_uuid_of_version_7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    text = uuid7()
    made = uuid.UUID(text)
    assert str(made) == text
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    # An earlier burst may have carried the counter's clock ahead, by no more than it made ids.
    assert before <= made.int >> 80 <= before + 1000


def test_ids_grow_strictly() -> None:
    ids = [uuid7() for _ in range(20_000)]
    assert ids == sorted(set(ids))


def test_ids_grow_while_the_clock_steps_back_and_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    first = uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000)
    ids = [first] + [uuid7() for _ in range(1000)]
    assert ids == sorted(set(ids))


def test_a_counter_at_its_end_moves_the_time_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = module._Clock()
    clock.milliseconds, clock.counter = 2**47, 2**42 - 2
    monkeypatch.setattr(module, "_clock", clock)
    ids = [uuid.UUID(uuid7()) for _ in range(3)]
    assert [id.int >> 80 for id in ids] == [2**47, 2**47 + 1, 2**47 + 1]
    assert ids == sorted(ids)
    assert {id.version for id in ids} == {7}


def test_threads_never_share_an_id() -> None:
    made: list[list[str]] = [[] for _ in range(8)]
    threads = [threading.Thread(target=lambda own=own: own.extend(uuid7() for _ in range(2000))) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in made)
    assert len({id for own in made for id in own}) == 16_000


def test_a_forked_child_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_clock", module._clock)
    held = module._clock
    with held.lock:
        module._start_anew()
        assert uuid7()  # would wait without end on the parent's lock
    assert module._clock is not held


def test_parent_and_child_share_no_id() -> None:
    code = """
import os
from plaudit._contract.uuid7 import uuid7
uuid7()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(*[uuid7() for _ in range(200)])
"""
    ids = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert len(ids) == len(set(ids)) == 400
