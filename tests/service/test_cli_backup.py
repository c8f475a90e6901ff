"""The commands `backup`, `restore` and `verify`, on a store that is served meanwhile, and on damaged ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result

import plaudit
import plaudit_server.testing
from plaudit_server.cli.main import cli

PROJECT = "acme/chat"


def run(*arguments: str) -> Result:
    """The command line of the server."""
    return CliRunner().invoke(cli, list(arguments), env={"PLAUDIT_STORE": ""})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with records, versions and a tombstone, which nobody serves."""
    path = tmp_path / "store.db"
    with plaudit_server.testing.server(path) as running, plaudit.Client(PROJECT, target=running.target) as client:
        made = client.create_batch(
            [{"ref": f"urn:{n}", "feedback_type": "tone", "payload": {"n": n}} for n in range(20)]
        )
        ids = [each.id for each in client.get_feedback()]
        assert len(made) == len(ids)
        client.update(ids[0], payload={"n": 100})
        client.purge([ids[1]])
    return path


def test_a_backup_is_restored_with_a_new_id_and_verifies(path: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "store.bak", tmp_path / "other.db"
    assert run("verify", "--store", f"sqlite:{path}").exit_code == 0
    done = run("backup", str(copy), "--store", f"sqlite:{path}")
    assert done.exit_code == 0, done.output
    assert "1 projects and 22 changes" in done.output
    done = run("restore", str(copy), "--store", f"sqlite:{other}")
    assert done.exit_code == 0, done.output
    assert "21 rows of 1 projects: all is well" in done.output
    contents, ids = [], []
    for each in (path, other):
        with plaudit_server.testing.server(each) as running, plaudit.Client(PROJECT, target=running.target) as client:
            contents.append([(record.to_dict(), record.revision) for record in client.get_feedback()])
            with client.watch(after=0) as changes:
                next(changes)
                ids.append(changes.store_id)
    assert contents[0] == contents[1]
    assert ids[0] != ids[1]


def test_a_backup_beside_a_server_is_of_one_moment(path: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    with plaudit_server.testing.server(path) as running, plaudit.Client(PROJECT, target=running.target) as client:

        def write() -> None:
            while not stop.is_set():
                client.create_batch([{"ref": "urn:x", "feedback_type": "tone", "payload": {"t": "x" * 500}}] * 50)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(3):
                copy = tmp_path / f"{number}.bak"
                done = run("backup", str(copy), "--store", f"sqlite:{path}")
                assert done.exit_code == 0, done.output
                assert run("verify", "--store", f"sqlite:{copy}").exit_code == 0
                live = run("verify", "--store", f"sqlite:{path}")
                assert live.exit_code == 0, live.output
        finally:
            stop.set()
            writer.join()


@pytest.fixture
def damaged(path: Path) -> Iterator[apsw.Connection]:
    """The store's file, to do harm to."""
    connection = apsw.Connection(str(path))
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        ("UPDATE feedback SET ref = 'urn:other' WHERE revision = 5", "clients get something else"),
        ("UPDATE feedback SET created_at = 7 WHERE revision = 5", "another created_at"),
        ("UPDATE feedback SET head = x'ff' WHERE revision = 5", "cannot be read"),
        ("DELETE FROM feedback WHERE revision = 21", "neither there nor purged"),
        ("UPDATE feedback_history SET payload = '{\"a\": 1}' WHERE kind = 3", "was purged and has content"),
        ("UPDATE feedback_history SET revision = 5 WHERE kind <> 3", "which another row has"),
        (
            "UPDATE feedback SET id = (SELECT id FROM feedback_history WHERE kind = 3) WHERE revision = 5",
            "was purged, and is there",
        ),
    ],
)
def test_what_is_wrong_is_found_and_named(path: Path, damaged: apsw.Connection, harm: str, problem: str) -> None:
    damaged.execute(harm)
    damaged.close()
    done = run("verify", "--store", f"sqlite:{path}")
    assert done.exit_code == 1, done.output
    assert problem in done.output


def test_a_damaged_file_is_no_backup(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "store.bak"
    assert run("backup", str(copy), "--store", f"sqlite:{path}").exit_code == 0
    content = bytearray(copy.read_bytes())
    content[3 * 4096 : 3 * 4096 + 200] = b"\xff" * 200
    copy.write_bytes(content)
    other = tmp_path / "other.db"
    done = run("restore", str(copy), "--store", f"sqlite:{other}")
    assert done.exit_code == 1, done.output
    assert not other.exists()
    assert not list(tmp_path.glob("*.part*"))


def test_nothing_is_overwritten_and_what_is_not_there_is_named(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "store.bak"
    copy.write_text("something of mine")
    done = run("backup", str(copy), "--store", f"sqlite:{path}")
    assert done.exit_code == 1
    assert "is there already" in done.output
    assert copy.read_text() == "something of mine"
    assert "is not a store" in run("restore", str(copy), "--store", f"sqlite:{tmp_path / 'new.db'}").output
    assert "is there already" in run("restore", str(path), "--store", f"sqlite:{path}").output
    for command in (("backup", str(tmp_path / "b")), ("verify",)):
        missing = run(*command, "--store", f"sqlite:{tmp_path / 'missing.db'}")
        assert missing.exit_code == 1
        assert "there is no store" in missing.output or "cannot be read" in missing.output
    postgres = run("backup", str(tmp_path / "b"), "--store", "postgresql://localhost/nothing")
    assert postgres.exit_code == 1
    assert "docs/databases.md" in postgres.output
