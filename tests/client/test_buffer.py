"""What waits in memory, and what waits on disk: in order, bounded, and never gone unless it is settled."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plaudit._contract import limits
from plaudit._core.buffer import Buffer, Item
from plaudit._sync.spool import Spool
from tests.client.fakes import message


def item(number: int, size: int = 10, added_at: float = 0.0) -> Item:
    return Item(number, "acme/chat", message(number), size, added_at)


def numbers(items: list[Item]) -> list[int]:
    return [item.number for item in items]


def filled(count: int, **limits_of: int) -> Buffer:
    buffer = Buffer(**{"max_records": 10_000, "max_bytes": 1_000_000, **limits_of})
    for number in range(count):
        buffer.add(item(number))
    return buffer


def test_room_is_bounded_by_records_and_bytes() -> None:
    assert filled(4, max_records=5).has_room(10)
    assert not filled(5, max_records=5).has_room(1)
    assert filled(4, max_bytes=50).has_room(10)
    assert not filled(4, max_bytes=50).has_room(11)


def test_item_larger_than_the_buffer_has_room_when_it_is_alone() -> None:
    assert filled(0, max_bytes=50).has_room(1000)
    assert not filled(1, max_bytes=50).has_room(1000)


def test_taken_items_take_room_until_they_are_settled() -> None:
    buffer = filled(5, max_records=5)
    taken = buffer.take(30)

    assert numbers(taken) == [0, 1, 2]
    assert not buffer.has_room(1)
    buffer.settled(taken[:2])
    assert buffer.has_room(1)
    assert (len(buffer), buffer.waiting) == (3, 2)


def test_what_is_put_back_keeps_its_place() -> None:
    buffer = filled(5)
    buffer.settled(buffer.take(40)[:2])
    buffer.put_back()

    assert numbers(buffer.everything()) == [2, 3, 4]
    assert numbers(buffer.take(1000)) == [2, 3, 4]


def test_take_is_bounded_by_rows_and_bytes_but_takes_one_at_least() -> None:
    assert len(filled(1500).take(1_000_000)) == limits.BATCH_ITEMS
    assert len(filled(5).take(3)) == 1


def test_request_is_due_when_it_is_full_or_has_waited() -> None:
    buffer = Buffer(max_records=3, max_bytes=1000)
    assert buffer.ripe_at(0.5) is None
    buffer.add(item(1, added_at=7.0))
    buffer.add(item(2, added_at=9.0))
    assert buffer.ripe_at(0.5) == 7.5
    buffer.add(item(3, added_at=9.0))
    assert buffer.ripe_at(0.5) == 0.0
    buffer.settled(buffer.take_all())
    assert buffer.ripe_at(0.5) is None
    buffer.add(item(4, size=2000, added_at=9.0))
    assert buffer.ripe_at(0.5) == 0.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    spool = Spool(path)
    yield spool
    spool.close()


def test_spool_keeps_order_over_processes(spool: Spool, path: Path) -> None:
    spool.append([item(3), item(4)])
    spool.append([item(4), item(5)])
    assert len(spool) == 3
    spool.close()
    again = Spool(path)

    assert (len(again), again.last_number) == (3, 5)
    head = again.head(10, 1_000_000)
    assert [(i.number, i.project, i.message) for i in head] == [(n, "acme/chat", message(n)) for n in (3, 4, 5)]
    again.remove(head[:1])
    assert numbers(again.head(10, 1_000_000)) == [4, 5]
    assert len(again) == 2
    again.close()


def test_head_of_a_spool_is_cut_by_rows_and_bytes(spool: Spool) -> None:
    spool.append([item(n) for n in range(1, 10)])
    [first] = spool.head(1, 1_000_000)

    assert numbers(spool.head(3, 1_000_000)) == [1, 2, 3]
    assert numbers(spool.head(9, 2 * first.size)) == [1, 2]
    assert numbers(spool.head(9, 1)) == [1]


def test_refused_records_are_kept_for_a_person_to_look_at(spool: Spool, path: Path) -> None:
    spool.append([item(1), item(2)])
    spool.remove(spool.head(2, 1_000_000), [(item(2), "it is wrong")])
    spool.close()

    with sqlite3.connect(path) as connection:
        [(project, id, feedback, error)] = connection.execute("select project, id, feedback, error from refused")
    connection.close()
    assert (project, id, error) == ("acme/chat", message(2).id, "it is wrong")
    assert '"feedback_type": "custom"' in feedback


def test_emptied_spool_gives_its_room_back_and_keeps_nothing(spool: Spool, path: Path) -> None:
    secret = message(1, payload_json='{"secret": "' + "s3cret" * 10_000 + '"}')
    spool.append([Item(n, "acme/chat", secret, 0) for n in range(1, 30)])
    assert path.stat().st_size > 1_000_000
    spool.remove(spool.head(50, 10_000_000))

    assert path.stat().st_size < 100_000
    assert b"s3cret" not in path.read_bytes()


def test_spool_is_for_its_owner_alone(spool: Spool, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_spool_is_used_by_one_at_a_time(spool: Spool, path: Path) -> None:
    with pytest.raises(RuntimeError, match="in use by another buffer"):
        Spool(path)
    code = f"from plaudit._sync.spool import Spool; Spool({str(path)!r})"
    other = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "in use by another buffer" in other.stderr

    spool.append([item(1)])
    spool.close()
    Spool(path).close()


def test_file_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    database, text = tmp_path / "other.db", tmp_path / "notes.txt"
    connection = sqlite3.connect(database)
    connection.execute("create table queue (a)")
    connection.close()
    text.write_text("Dear diary, " * 1000)
    before = database.read_bytes(), text.read_bytes()

    with pytest.raises(ValueError, match="a database of another program"):
        Spool(database)
    with pytest.raises(ValueError, match=r"notes\.txt is no spool"):
        Spool(text)
    assert (database.read_bytes(), text.read_bytes()) == before


def test_spool_of_another_version_is_refused(spool: Spool, path: Path) -> None:
    spool.close()
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 2")
    connection.close()

    with pytest.raises(ValueError, match="another version of plaudit"):
        Spool(path)


@pytest.mark.parametrize("name", ["missing/spool", "."])
def test_place_where_no_file_can_be_is_an_os_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"spool|No such file|cannot use"):
        Spool(tmp_path / name)


FORK = """
import os, sys, threading, time
from plaudit._sync import spool as _spool
from tests.client.test_buffer import item, numbers

spool = _spool.Spool(sys.argv[1])
writing = threading.Event()

def write():
    for number in range(1, 30):
        spool.append([item(number)])
    with _spool._disk:
        writing.set()
        time.sleep(0.1)

writer = threading.Thread(target=write)
writer.start()
writing.wait()
child = os.fork()  # not before the operation has ended
if child == 0:
    sys.exit(0 if _spool._disk.acquire(timeout=1) else 3)  # and tears down its copy of the connection
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
writer.join()
spool.append([item(30)])
assert numbers(spool.head(100, 1 << 20)) == list(range(1, 31))
assert spool._connection.execute("pragma integrity_check").fetchall() == [("ok",)]
spool.close()
"""


def test_fork_does_not_cut_an_operation_in_two(path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(path)]
    subprocess.run(command, check=True, timeout=30, env={**os.environ, "PYTHONPATH": os.getcwd()})
