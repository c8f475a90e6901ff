"""Which filters the counters answer: types and whole days, and nothing that needs a record."""

from __future__ import annotations

import pytest

from plaudit_server.feedback.counted import counters_of
from plaudit_server.query.fields import COLUMNS, Column
from plaudit_server.query.tree import And, Compare, Field, In, Literal, Not, Op, Operation, Or
from plaudit_server.store.counters import DAY, Counted, changes, day_text

TYPE, TIME, OWNER = (Field(COLUMNS[name]) for name in ("feedback_type", "created_at", "user_id"))


def at(op: Op, value: int) -> Compare:
    return Compare(op, TIME, Literal(value))


def of(*names: str) -> Counted:
    return Counted(frozenset(names))


A = Compare("eq", TYPE, Literal("a"))


@pytest.mark.parametrize(
    ("filter", "which"),
    [
        (None, Counted()),
        (A, of("a")),
        (Compare("eq", Literal("a"), TYPE), of("a")),
        (In(TYPE, (Literal("a"), Literal("b"), Literal("a"))), of("a", "b")),
        (And((A, In(TYPE, (Literal("a"), Literal("b"))))), of("a")),
        (And((A, Compare("eq", TYPE, Literal("b")))), of()),
        (at("gte", 5 * DAY), Counted(first=5)),
        (at("gt", 5 * DAY - 1), Counted(first=5)),
        (at("lt", 5 * DAY), Counted(until=5)),
        (at("lte", 5 * DAY - 1), Counted(until=5)),
        (at("gte", -2 * DAY), Counted(first=-2)),
        (Compare("lte", Literal(5 * DAY), TIME), Counted(first=5)),
        (Compare("gt", Literal(5 * DAY), TIME), Counted(until=5)),
        (And((at("gte", 3 * DAY), at("gte", 5 * DAY), at("lt", 9 * DAY), at("lt", 7 * DAY))), Counted(None, 5, 7)),
        (And((A, at("gte", 0), at("lt", DAY))), Counted(frozenset("a"), 0, 1)),
    ],
)
def test_counters_answer(filter: Operation | None, which: Counted) -> None:
    assert counters_of(filter) == which


@pytest.mark.parametrize(
    "filter",
    [
        at("gte", 5 * DAY + 1),
        at("gt", 5 * DAY),
        at("lt", 5 * DAY - 1),
        at("lte", 5 * DAY),
        at("eq", 5 * DAY),
        at("ne", 5 * DAY),
        Compare("ne", TYPE, Literal("a")),
        Compare("gt", TYPE, Literal("a")),
        Compare("eq", TYPE, Literal(5)),
        Compare("eq", TYPE, TYPE),
        Compare("eq", OWNER, Literal("a")),
        Compare("eq", Field(Column("feedback_type", "text", nullable=True)), OWNER),
        Compare("gte", TIME, Literal(True)),
        Compare("gte", TIME, Literal(float(DAY))),
        Compare("gte", Field(COLUMNS["updated_at"]), Literal(DAY)),
        In(TYPE, (Literal("a"), Literal(None))),
        In(OWNER, (Literal("a"),)),
        Or((A, A)),
        Not(A),
        And((A, Compare("eq", OWNER, Literal("a")))),
        And((A, at("gte", 5))),
    ],
)
def test_records_must_be_counted(filter: Operation) -> None:
    assert counters_of(filter) is None


def test_only_what_changes_is_stored_and_days_are_shown_as_people_write_them() -> None:
    assert changes("p", {("a", 1): 2, ("b", 1): 0, ("a", -1): -1}) == [("p", "a", 1, 2), ("p", "a", -1, -1)]
    assert (day_text(0), day_text(-1), day_text(10**9)) == ("1970-01-01", "1969-12-31", "day 1000000000")
