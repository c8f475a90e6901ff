"""The campaign of `make test-growth`: a store beside one of a tenth of its rows, which its first run makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.growth import keeping, questions, reading, removing, sizes
from tests.growth.stores import POSTGRES, SQLITE, Stores

ROWS = int(os.environ.get("PLAUDIT_TEST_GROWTH_ROWS", "10000000"))
COUNTS = ROWS // 10, ROWS
ROUNDS = int(os.environ.get("PLAUDIT_TEST_GROWTH_ROUNDS", "5"))
SECONDS = 0.4
REMOVING_ROUNDS = 3
REMOVING_SECONDS = 20.0
MOST_P99_TIMES = 3.0
TABLES = Path(__file__).parents[2] / "build" / "growth-tables"
ENGINES = SQLITE, POSTGRES


def show(capsys: pytest.CaptureFixture[str], name: str, lines: list[str]) -> None:
    """Print a table, and keep it."""
    TABLES.mkdir(parents=True, exist_ok=True)
    (TABLES / f"{name}.md").write_text("\n".join(lines) + "\n")
    with capsys.disabled():
        print("\n" + "\n".join(lines), flush=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_reads_do_not_grow_with_the_store(engine: str, stores: Stores, capsys: pytest.CaptureFixture[str]) -> None:
    answers = reading.measure(stores, engine, COUNTS, ROUNDS, SECONDS)
    head = reading.HEAD.format(small=COUNTS[0], large=COUNTS[1])
    show(capsys, f"reads-{engine}", [head, *(answer.line() for answer in answers)])
    assert {answer.question.name for answer in answers if answer.times() > answer.question.limit} == questions.GROWING


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_takes_as_many_bytes_as_in_a_smaller_store(
    engine: str, stores: Stores, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = [sizes.size_of(stores, engine, count) for count in COUNTS]
    show(capsys, f"sizes-{engine}", [sizes.HEAD, small.line(), large.line()])
    assert large.bytes_of_row <= 1.1 * small.bytes_of_row


@pytest.mark.parametrize("engine", ENGINES)
def test_creates_keep_their_pace_while_half_is_removed(
    engine: str, stores: Stores, capsys: pytest.CaptureFixture[str]
) -> None:
    found = removing.measure(stores, engine, COUNTS[1], REMOVING_ROUNDS, REMOVING_SECONDS)
    show(capsys, f"removing-{engine}", [removing.HEAD, found.line()])
    assert found.times <= MOST_P99_TIMES


def test_a_backup_is_restored_and_verifies(stores: Stores, capsys: pytest.CaptureFixture[str]) -> None:
    show(capsys, "backup", [keeping.HEAD, *keeping.back_and_forth(stores, COUNTS[1])])
