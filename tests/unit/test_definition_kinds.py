"""The typed kinds of value, each judged at its edges."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit._contract.jsontext import Breach
from plaudit_server.definitions.kinds import Boolean, Categorical, Categories, Numeric, Ranking, Rule, Spans, Text

REF = "weave:///acme/chat/call/"


def places(rule: Rule, value: Any, stored: bool = False) -> list[str]:
    out: list[Breach] = []
    rule.look(value, "v", out, stored)
    return [breach.path for breach in out]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (Numeric(0, 1), [0, 1, 0.0, 1.0, 0.5, -0.0], [-0.1, 1.0000001, 2, -1, "0.5", True, None, [0], {}]),
        (Numeric(), [0, -(2**63), 2**63 - 1, 1e308, -1e308], ["", False]),
        (Numeric(integer=True), [5, 5.0, -3, 1e20], [5.5, 1e-3]),
        (Numeric(0, 1, 0.1), [0, 0.1, 0.2, 0.3, 0.6, 0.7, 1, 1.0], [0.05, 0.30000000000000004, 0.35]),
        (Numeric(0.05, 1, 0.1), [0.05, 0.15, 0.95], [0.1, 1]),
        (Numeric(step=0.1), [-0.3, 0, 7, 1e300, 123456789.3], [0.25]),
        (Numeric(step=1e-300), [1e300, 5e-300, 3], [1.5e-300, 5e-324]),
        (Numeric(low=float(2**53)), [2**53, 2**53 + 1], [2**53 - 1]),
        # The bound is the shortest decimal of its double: 1234567890123456800, though the double is …768.
        (Numeric(low=1.2345678901234568e18), [1234567890123456800, 1.2345678901234568e18], [1234567890123456799]),
        (Numeric(high=1.2345678901234568e18), [1234567890123456800], [1234567890123456801]),
        (Boolean(), [True, False], [0, 1, "true", None]),
        (Text(1, 3), ["a", "äöü", "👍🎉x", "  "], ["", "abcd", 1, None]),
        (Text(0, 10_000), ["", "x" * 10_000], ["x" * 10_001]),
    ],
)
def test_single_values(rule: Rule, good: list[Any], bad: list[Any]) -> None:
    assert {repr(value): places(rule, value) for value in good} == {repr(value): [] for value in good}
    assert all("v" in places(rule, value) for value in bad), [value for value in bad if not places(rule, value)]
    # The short way to the same answer.
    assert [rule.takes(value) for value in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_compare_as_their_shortest_decimals(value: float, bound: float) -> None:
    is_good = not places(Numeric(low=bound), value)

    assert is_good == (Decimal(repr(value)) >= Decimal(repr(bound)))


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
def test_ints_compare_exactly(value: int, bound: float) -> None:
    assert (not places(Numeric(low=bound), value)) == (Decimal(value) >= Decimal(repr(bound)))
    assert (not places(Numeric(high=bound), value)) == (Decimal(value) <= Decimal(repr(bound)))


@given(st.integers(-1_000, 1_000), st.integers(0, 6), st.integers(-50, 50), st.integers(1, 999))
def test_whole_steps_are_taken_and_others_are_not(steps: int, digits: int, start: int, step: int) -> None:
    unit = Decimal(10) ** -digits
    rule = Numeric(float(start * unit), math.inf, float(step * unit))

    value = float(start * unit + steps * step * unit)
    assert rule.is_step(value)
    assert step == 1 or not rule.is_step(float((start + steps * step) * unit + unit))


TONES = Categories({"polite": None, "rude": None}, frozenset({"odd"}))


@pytest.mark.parametrize(
    ("value", "wrong"),
    [("polite", []), ("Polite", ["v"]), ("odd", ["v"]), (1, ["v"]), (["polite"], ["v"]), (None, ["v"]), ({}, ["v"])],
)
def test_one_category(value: Any, wrong: list[str]) -> None:
    assert places(Categorical(TONES), value) == wrong


def test_a_retired_category_breaks_no_stored_record() -> None:
    assert places(Categorical(TONES), "odd", stored=True) == []
    assert places(Categorical(TONES, 1, 3), ["odd", "polite"], stored=True) == []


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (["polite"], []),
        (["rude", "polite"], []),
        ("polite", ["v"]),
        ([], ["v"]),
        (["polite", "rude", "odd"], ["v"]),
        (["polite", "polite"], ["v[1]"]),
        (["polite", "odd"], ["v[1]"]),
        ([["polite"], {}], ["v[0]", "v[1]"]),
    ],
)
def test_several_categories(value: Any, wrong: list[str]) -> None:
    assert places(Categorical(TONES, 1, 2), value) == wrong


def test_descriptions_name_categories_and_are_short() -> None:
    out: list[Breach] = []
    Categorical(Categories({"x" * 200 + str(number): None for number in range(1_000)})).look(1, "v", out)

    assert out[0].description.endswith("996 more")
    assert len(out[0].description) < 120


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ([[REF + "a"], [REF + "b"]], []),
        ([[REF + "a", REF + "b"], ["https://example.org/x"]], []),
        ([[REF + "a"]], ["v"]),
        ([[REF + "a"], [REF + "b", REF + "c"], [REF + "d"]], ["v"]),
        ([[REF + "a"], [REF + "a"]], ["v[1][0]"]),
        ([["no ref"], [REF + "a"]], ["v[0][0]"]),
        ([[7], [REF + "a"]], ["v[0][0]"]),
        ([[], [REF + "b"], [REF + "a"]], ["v[0]"]),
        ([REF + "a", [REF + "b"], [REF + "c"]], ["v[0]"]),
        ([["https://e.org/" + "x" * 2_048], [REF + "a"]], ["v[0][0]"]),
        (REF + "a", ["v"]),
        ({}, ["v"]),
    ],
)
def test_ranking_with_ties(value: Any, wrong: list[str]) -> None:
    assert places(Ranking(2, 3, ties=True), value) == wrong


def test_ranking_without_ties() -> None:
    assert places(Ranking(2, 3, ties=False), [[REF + "a", REF + "b"]]) == ["v[0]"]


def span(start: Any, end: Any, label: Any = "PER", **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, **more}


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ([], []),
        ([span(0, 4), span(4, 6)], []),
        ([span(0.0, 4.0, text="Anna", score=1)], []),
        ([span(0, 4), span(3, 6)], ["v[1].start"]),
        ([span(5, 6), span(3, 4)], ["v[1].start"]),
        ([span(0, 9), span(1, 2), span(3, 4)], ["v[1].start", "v[2].start"]),
        ([span(0, 4, text="Ann")], ["v[0].text"]),
        ([span(0, 3, text=7)], ["v[0].text"]),
        ([span(4, 4)], ["v[0].end"]),
        ([span(-1, 4)], ["v[0].start"]),
        ([span(True, 4)], ["v[0].start"]),
        ([span(0.5, "4")], ["v[0].start", "v[0].end"]),
        ([span(0, 4, "LOC"), span(4, 5, None)], ["v[0].label", "v[1].label"]),
        ([{}], ["v[0].start", "v[0].end", "v[0].label"]),
        ([[0, 4, "PER"]], ["v[0]"]),
        ([span(number, number + 1) for number in range(4)], ["v"]),
        ({"start": 0}, ["v"]),
    ],
)
def test_spans(value: Any, wrong: list[str]) -> None:
    assert places(Spans(Categories({"PER": None}), 3, overlap=False), value) == wrong


def test_spans_that_overlap() -> None:
    rule = Spans(Categories({"PER": None}), 3, overlap=True)

    assert places(rule, [span(0, 9), span(0, 9), span(3, 4)]) == []
    assert places(rule, [span(3, 9), span(0, 9)]) == ["v[1].start"]


def test_breaches_of_one_value_are_bounded() -> None:
    assert len(places(Spans(Categories({"PER": None}), 5_000, overlap=False), [{}] * 5_000)) <= 103
    assert len(places(Ranking(2, 1_000, ties=False), [["no ref"]] * 1_000)) == 100
