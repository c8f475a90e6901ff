"""Migrations: which are still due, and which stores are refused."""

from __future__ import annotations

import pytest

from plaudit_server.store.base import StoreError
from plaudit_server.store.migrate import Migration, migrations, pending

KNOWN = [Migration(number, f"m{number}", f"sum {number}", "") for number in (1, 2, 3)]


def test_what_is_not_applied_is_pending_in_order() -> None:
    assert pending(KNOWN, []) == KNOWN
    assert pending(KNOWN, [(2, "sum 2"), (1, "sum 1")]) == KNOWN[2:]
    assert pending(KNOWN, [(migration.number, migration.checksum) for migration in KNOWN]) == []


def test_a_store_of_a_newer_version_is_refused() -> None:
    with pytest.raises(StoreError, match="newer version"):
        pending(KNOWN[:2], [(migration.number, migration.checksum) for migration in KNOWN])


@pytest.mark.parametrize("applied", [[(1, "another")], [(1, "sum 1"), (3, "sum 3")]])
def test_a_store_of_another_line_is_refused(applied: list[tuple[int, str]]) -> None:
    with pytest.raises(StoreError, match="schema migration"):
        pending(KNOWN, applied)


def test_a_file_is_cut_at_semicolons_that_end_a_line() -> None:
    text = "-- About a;b.\nCREATE TABLE a (x TEXT);\n\n-- More.\nINSERT INTO a VALUES ('x;y');\n-- The end.\n"
    assert list(Migration(1, "m", "", text).statements()) == [
        "-- About a;b.\nCREATE TABLE a (x TEXT)",
        "-- More.\nINSERT INTO a VALUES ('x;y')",
    ]


def test_some_statements_are_for_new_stores_only_and_some_for_older_ones() -> None:
    text = "DROP a;\n-- Only for new stores, which are empty.\nDROP b;\n-- Why.\n-- Only for older stores.\nMAKE c;\n"
    migration = Migration(1, "m", "", text)
    assert [statement.splitlines()[-1] for statement in migration.statements(new=True)] == ["DROP a", "DROP b"]
    assert [statement.splitlines()[-1] for statement in migration.statements()] == ["DROP a", "MAKE c"]


def test_the_shipped_migrations_are_numbered_from_one() -> None:
    shipped = migrations("sqlite")
    assert [migration.number for migration in shipped] == list(range(1, len(shipped) + 1))
    assert shipped[0].name == "feedback"
