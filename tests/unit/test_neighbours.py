"""The campaign of neighbours without a server: its arithmetic, its verdicts, its table, and what it attacks."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from plaudit_server import config
from plaudit_server.query.parse import parse_query
from plaudit_server.resources import RESOURCES
from tests.attacks.frames import Connection, Outcome, block
from tests.attacks.sink import Ends
from tests.neighbours.attackers import outcome_text
from tests.neighbours.budget import (
    FULL,
    SHORT,
    Budget,
    Compared,
    Expected,
    Observed,
    broken,
    closest,
    compare,
    pooled,
)
from tests.neighbours.campaign import Figures, server_flags
from tests.neighbours.catalogue import ATTACKS, CASES, CUT, EXPENSIVE, Calls, Streams
from tests.neighbours.catalogue import SHORT as SHORT_CASES
from tests.neighbours.table import HEAD, Table

QUICK = [0.001] * 99 + [0.010]
EXPECTED = Expected(frozenset({"OK", EXPENSIVE}))


def well(**fields: Any) -> Observed:
    return Observed(health=Counter({"SERVING": 3}), answers=Counter({"OK": 2}), **fields)


def verdict(attacked: list[float], beside: list[float] = QUICK, budget: Budget = FULL) -> list[str]:
    return broken(compare({"get": beside}, {"get": attacked}, budget), well(), EXPECTED, budget)


@pytest.mark.parametrize(
    ("beside_ms", "p50_ms", "p99_ms"),
    [(0.5, 1.5, 50.5), (2.0, 3.0, 52.0), (4.0, 6.0, 54.0), (25.0, 37.5, 75.0), (100.0, 150.0, 300.0)],
)
def test_the_larger_of_a_ratio_and_an_addition_is_allowed(beside_ms: float, p50_ms: float, p99_ms: float) -> None:
    assert FULL.p50_ms(beside_ms) == p50_ms
    assert FULL.p99_ms(beside_ms) == p99_ms


def test_calls_as_quick_as_beside_the_sink_keep_to_the_budget() -> None:
    assert verdict(QUICK) == []
    assert verdict([0.002] * 99 + [0.060]) == []


def test_slower_calls_break_it_by_the_median_and_by_the_slowest_in_a_hundred() -> None:
    assert verdict([0.0021] * 99 + [0.010]) == ["get p50 1.0 → 2.1 ms"]
    assert verdict([0.001] * 98 + [0.061] * 2) == ["get p99 10.0 → 61.0 ms"]
    # One in two hundred is not yet the p99.
    assert verdict(QUICK + [0.001] * 99 + [5.0]) == []


def test_the_short_form_breaks_at_seconds_and_not_at_the_noise_of_other_tests() -> None:
    assert verdict([0.020] * 50 + [0.300] * 50, budget=SHORT) == ["get p50 1.0 → 300.0 ms"]
    assert verdict([0.020] * 90 + [0.300] * 10, budget=SHORT) == []
    assert verdict([0.020] * 90 + [2.0] * 10, budget=SHORT) == ["get p99 10.0 → 2000.0 ms"]


def test_no_call_at_all_is_no_quick_call() -> None:
    assert verdict([]) == ["get p50 1.0 → inf ms", "get p99 10.0 → inf ms"]
    assert verdict(QUICK, beside=[]) == ["get p50 inf → 1.0 ms", "get p99 inf → 10.0 ms"]


def test_rounds_are_pooled_or_the_closest_is_taken() -> None:
    rounds = [{"get": [0.001, 0.002]}, {"get": [0.003], "page": [0.004]}]
    assert pooled(rounds) == {"get": [0.001, 0.002, 0.003], "page": [0.004]}
    calm = [Compared("get", (1, 1), (1, 1), 0.5, 0.9), Compared("page", (1, 1), (1, 1), 0.8, 0.1)]
    noisy = [Compared("get", (1, 1), (1, 1), 0.1, 0.1), Compared("page", (1, 1), (1, 1), 0.1, 4.0)]
    assert closest([noisy, calm]) == calm


@pytest.mark.parametrize(
    ("observed", "found"),
    [
        (well(failed=Counter({"create UNAVAILABLE": 2})), ["2 × create UNAVAILABLE"]),
        (replace(well(), health=Counter({"SERVING": 9, "NOT_SERVING": 1})), ["health NOT_SERVING, SERVING"]),
        (replace(well(), health=Counter()), ["health never answered"]),
        (well(growth_mib=128.0, after_seconds=2.0, stop_seconds=2.0), []),
        (well(growth_mib=129.0), ["+129 MiB"]),
        (well(after_seconds=2.1), ["busy 2.1 s after the attackers left"]),
        (well(stop_seconds=inf), ["SIGTERM took inf s more than the grace"]),
        (replace(well(), answers=Counter({"UNAVAILABLE X, come back": 1})), ["attackers got UNAVAILABLE X, come back"]),
        (replace(well(), answers=Counter({f"{EXPENSIVE}, come back": 1})), [f"attackers got {EXPENSIVE}, come back"]),
        (well(late=3), ["3 calls of attackers open beyond their limit"]),
    ],
)
def test_everything_else_has_its_bound(observed: Observed, found: list[str]) -> None:
    assert broken(compare({"get": QUICK}, {"get": QUICK}, FULL), observed, EXPECTED, FULL) == found


def test_some_late_answers_are_allowed_where_others_use_the_machine() -> None:
    answers = Counter({"OK": 9})
    assert broken([], replace(well(late=2), answers=answers), EXPECTED, SHORT) == []
    assert broken([], replace(well(late=3), answers=answers), EXPECTED, SHORT) != []
    # No answer at all is not a few late ones.
    assert broken([], replace(well(late=4), answers=Counter()), EXPECTED, SHORT) != []


def test_what_attackers_are_owed_is_looked_for() -> None:
    wanted = Expected(EXPECTED.allowed, frozenset({EXPENSIVE}))
    assert broken([], well(), wanted, FULL) == [f"attackers never got {EXPENSIVE}"]
    assert broken([], replace(well(), answers=Counter({EXPENSIVE: 1})), wanted, FULL) == []
    erasing = Expected(EXPECTED.allowed, leaves=False)
    assert broken([], well(after_seconds=9.0), erasing, FULL) == []


def outcome(code: int | None, reason: str = "", pushback: float = 0.0) -> Outcome:
    made = Outcome(lambda _: None)
    made.code, made.reason, made.pushback = code, reason, pushback
    return made


def test_an_outcome_is_told_by_code_reason_and_whether_to_come_back() -> None:
    assert outcome_text(outcome(0)) == "OK"
    assert outcome_text(outcome(8, "QUERY_TOO_EXPENSIVE")) == EXPENSIVE
    assert outcome_text(outcome(8, "OVERLOADED", 0.5)) == "RESOURCE_EXHAUSTED OVERLOADED, come back"
    assert outcome_text(outcome(None)) == CUT


async def _ended(trailers: bytes) -> Outcome:
    ended: list[Outcome] = []
    connection = Connection()
    connection.call(block("/x"), b"", ended.append)
    connection.data_received(len(trailers).to_bytes(3, "big") + bytes((1, 5, 0, 0, 0, 1)) + trailers)
    return ended[0]


@pytest.mark.parametrize("length", [1, 60, 200, 5000])
def test_a_reason_is_read_from_the_bytes_of_trailers(length: int) -> None:
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason="R" * length))
    value = b"\0" + status_pb2.Status(code=8, details=[packed]).SerializeToString()
    trailers = _literal(b"grpc-status-details-bin", value) + _literal(b"grpc-status", b"8")
    assert asyncio.run(_ended(trailers)).reason == "R" * length


def _literal(name: bytes, value: bytes) -> bytes:
    length, rest = bytes((min(len(value), 127),)), len(value) - 127
    while rest > 127:
        length, rest = length + bytes((rest & 127 | 128,)), rest >> 7
    return b"\x00" + bytes((len(name),)) + name + length + (bytes((rest,)) if rest >= 0 else b"") + value


def test_the_sink_finds_the_ends_of_requests_however_their_bytes_are_cut() -> None:
    def frame(kind: int, flags: int, stream: int, size: int) -> bytes:
        return size.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + b"\x01" * size

    said = (
        b"P" * 24 + frame(4, 0, 0, 6) + frame(1, 4, 1, 50) + frame(0, 0, 1, 900) + frame(0, 1, 1, 0) + frame(1, 5, 3, 9)
    )
    for size in (1, 7, 10_000):
        ends = Ends()
        found = [stream for at in range(0, len(said), size) for stream in ends.within(said[at : at + size])]
        assert found == [1, 3]


def test_every_rpc_that_takes_a_filter_is_among_the_attacks() -> None:
    services = [service for resource in RESOURCES for service in resource.services]
    methods = [method for service in services for _, method in service.methods()]
    filtered = {method.name for method in methods if "query" in method.input_type.fields_by_name}
    sent = [sends for attack in ATTACKS.values() for sends in attack.sends]
    assert {sends.path.rpartition("/")[2] for sends in sent if _query(sends) is not None} == filtered


def _query(sends: Calls | Streams) -> Any:
    """The filter of what is sent, or None."""
    request: Any = sends.request(7) if sends.request is not None else None
    has = request is not None and "query" in request.DESCRIPTOR.fields_by_name and request.HasField("query")
    return request.query if has else None


def test_every_row_of_the_table_has_an_attack() -> None:
    rows = {row for attack in ATTACKS.values() for row in attack.row.split(", ")}
    assert rows == {str(number) for number in range(1, 12)} | {"none"}


def test_what_is_sent_is_legal() -> None:
    for attack in ATTACKS.values():
        for sends in attack.sends:
            query = _query(sends)
            assert query is None or parse_query(query) is not None


def test_cases_have_names_of_their_own_and_the_counts_that_are_asked_for() -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9-]+", id) for id in ids)
    assert {*SHORT_CASES} < {*CASES}
    for name, attack in ATTACKS.items():
        of_it = [case for case in CASES if case.attack.name == name]
        assert {case.engine for case in of_it} == {*attack.engines}
        assert {case.attackers for case in of_it if case.authenticated} == {1, 4, 16}
        assert {case.deadline is None for case in of_it} == ({True, False} if attack.deadlines else {True})
        assert sum(not case.authenticated for case in of_it) == 1


def test_servers_are_started_with_flags_that_there_are() -> None:
    known = {setting.flag for setting in config.SETTINGS}
    for case in CASES:
        assert {flag for flag in server_flags(case) if flag.startswith("--")} <= known


def test_the_table_has_a_line_for_each_case_in_their_order(tmp_path: Path) -> None:
    beside = {"get": QUICK, "page": QUICK, "watch": QUICK}
    compared = compare(beside, {"get": QUICK, "page": [0.5] * 100}, FULL)
    figures = Figures(SHORT_CASES[1], compared, well(growth_mib=3.4, after_seconds=0.5, stop_seconds=-1.0), [], 100)
    table = Table(tmp_path / "figures")
    assert table.add(replace(figures, broken=["a", "b", "c", "d", "e", "f"])).endswith("| a; b; c; d; 2 more |")
    line = table.add(figures)
    assert line == (
        "| 11 | nested-arrays | sqlite | 4 | - | no | page 1.0 → 500.0 | page 10.0 → 500.0 | 100 | 0 | SERVING"
        " | +3 | 0.5 | -1.0 | 2 × OK | kept |"
    )
    first = table.add(Figures(SHORT_CASES[0], compared, well(), [], 100))
    assert table.markdown() == f"{HEAD}\n{first}\n{line}\n"
    assert HEAD.splitlines()[0].count("|") == line.count("|")
