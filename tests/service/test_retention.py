"""Retention over the wire on SQLite, the server's own sweep, and what a server refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import plaudit_server.testing
from plaudit import AsyncClient, InvalidArgumentError, PlauditError
from plaudit._contract.uuid7 import uuid7
from plaudit_server.retention import sweeping
from plaudit_server.testing import RunningServer
from tests.service import retained


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with plaudit_server.testing.server() as running:
        yield running


@pytest.mark.parametrize("scenario", retained.SCENARIOS, ids=retained.name_of)
def test_retention(scenario: retained.Scenario, running: RunningServer) -> None:
    scenario(running, running.client(f"acme/{uuid7()}"))


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        (("", 1), {"rule.feedback_type"}),
        (("x" * 129, 1), {"rule.feedback_type"}),
        (("a\0b", 1), {"rule.feedback_type"}),
        (("note", -1), {"rule.days"}),
        (("note", 36_501), {"rule.days"}),
        (("", 2**31 - 1), {"rule.feedback_type", "rule.days"}),
    ],
)
def test_a_wrong_rule_is_refused_by_both(rule: tuple[str, int], fields: set[str], running: RunningServer) -> None:
    client = running.client()
    for call in (client.put_retention_rule, client.check_retention):
        with pytest.raises(InvalidArgumentError) as caught:
            call(*rule)
        assert {violation.field for violation in caught.value.violations} == fields
    with pytest.raises(InvalidArgumentError):
        client.check_retention("note", 0)
    with pytest.raises(ValueError, match="feedback_type and days"):
        client.check_retention("note")


def test_a_sweep_waits_for_erasure_now_and_then(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = running.client("acme/erased")
    retained.aged(client, 40, 250)
    client.put_retention_rule("note", 30)
    retained.pass_the_delay(running, "acme/erased")
    store, waited = running.server.store, []

    async def erased(seconds: float) -> None:
        waited.append(seconds)
        await type(store).erased(store, seconds)

    monkeypatch.setattr(store, "erased", erased)
    monkeypatch.setattr(sweeping, "_BURST_SECONDS", 0.0)

    assert retained.sweep(running, client) == 250
    assert len(waited) >= 3  # of 100 records each
    assert not store.erasure_pending


def test_a_project_has_a_hundred_rules_at_most(running: RunningServer) -> None:
    client = running.client("acme/many-rules")
    for number in range(100):
        client.put_retention_rule(f"t{number}", 1)
    with pytest.raises(PlauditError) as caught:
        client.put_retention_rule("one more", 1)
    assert caught.value.reason == "LIMIT_REACHED"
    client.put_retention_rule("t7", 0)
    client.put_retention_rule("one more", 1)
    assert len(client.retention_rules()) == 100


def test_the_client_of_asyncio_does_the_same(running: RunningServer) -> None:
    async def run() -> None:
        async with AsyncClient("acme/of-asyncio", target=running.target) as client:
            rule = await client.put_retention_rule("*", 7)
            assert list(await client.retention_rules()) == [rule]
            [due] = await client.check_retention("note", 3)
            assert (due.rule.feedback_type, due.rule.days, due.record_count) == ("note", 3, 0)

    asyncio.run(run())


def test_a_server_removes_by_itself_what_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PERIOD_SECONDS", 0.05)
    with plaudit_server.testing.server(tmp_path / "plaudit.db") as running:
        client = running.client("acme/by-itself")
        young = retained.aged(client, 1, 1)
        retained.aged(client, 40, 3)
        client.put_retention_rule("*", 30)
        retained.pass_the_delay(running, "acme/by-itself")
        with client.watch(after=0) as watch:
            change: Any = next(change for change in watch if change.kind == "retained")
        assert change.retained.count == 3
        assert retained.left(client) == set(young)
        ended = time.monotonic() + 10
        while not any(number.read() for number in numbers(running)) and time.monotonic() < ended:
            time.sleep(0.01)
        assert {number.name: number.read() for number in numbers(running)} == {
            "plaudit_retention_removed_total": 3,
            "plaudit_retention_failures_total": 0,
        }


def numbers(running: RunningServer) -> list[Any]:
    return [
        number
        for resource in running.server._running
        for number in resource.numbers
        if number.name.startswith("plaudit_retention_")
    ]
