"""The campaign's short form, with 2,000 and 20,000 rows: its stores are whole, and what must not grow does not."""

from __future__ import annotations

from tests.growth import keeping, reading, removing, sizes
from tests.growth.stores import SQLITE, Stores

COUNTS = 2_000, 20_000
ROUNDS = 6
SECONDS = 0.004
REMOVING_SECONDS = 0.2


def test_reads_do_not_grow_with_the_store(stores: Stores) -> None:
    answers = reading.measure(stores, SQLITE, COUNTS, ROUNDS, SECONDS)
    assert [answer.line() for answer in answers if answer.times(best=True) > answer.question.limit] == []


def test_creates_go_on_while_half_is_removed(stores: Stores) -> None:
    assert removing.measure(stores, SQLITE, COUNTS[1], 1, REMOVING_SECONDS).removed > 0


def test_a_backup_is_restored_and_verifies(stores: Stores) -> None:
    assert len(keeping.back_and_forth(stores, COUNTS[0])) == 2
    assert 0 < sizes.size_of(stores, SQLITE, COUNTS[0]).share < 1
