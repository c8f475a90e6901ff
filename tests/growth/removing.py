"""Creates at a steady pace while retention removes half of a store, and in between while a legal hold stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any, Final

import grpc

import plaudit
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub
from plaudit_server.retention import holds
from plaudit_server.retention.holds import Hold
from plaudit_server.retention.records import DELAY
from plaudit_server.store.base import Statement, Steps
from plaudit_server.store.ledger import microseconds
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.url import opened
from tests.bench.serving import served
from tests.growth import rows
from tests.growth.stores import Stores

PER_SECOND: Final = 50
_DEADLINE_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 60.0
_MOMENT_SECONDS: Final = 0.2


@dataclass(slots=True)
class Removing:
    """What creates took, in milliseconds: with nothing beside them, and while records were removed."""

    engine: str
    before: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    removed: int = 0
    seconds: float = 0.0

    @property
    def times(self) -> float:
        """By how much the 99th percentile is larger."""
        return p99(self.during) / p99(self.before)

    def line(self) -> str:
        """A row of the table."""
        cells = [f"{what(taken):.1f}" for what in (median, p99) for taken in (self.before, self.during)]
        rate = f"{self.removed / self.seconds:,.0f}"
        return f"| {self.engine} | {' | '.join(cells)} | {self.times:.2f} | {self.removed:,} | {rate} |"


HEAD: Final = (
    "| engine | p50, ms | beside retention | p99, ms | beside retention | times | removed meanwhile | a second |\n"
    "|---|---|---|---|---|---|---|---|"
)


def p99(taken: list[float]) -> float:
    """The 99th percentile."""
    return quantiles(taken, n=100)[-1]


def measure(stores: Stores, engine: str, count: int, rounds: int, seconds: float) -> Removing:
    """A rule makes half of a copy due; in each round creates are timed under a hold, and then without it.

    Raises AssertionError when nothing is removed, or something that is not due.
    """
    found = Removing(engine)
    creates = round(seconds * PER_SECOND)
    with (
        stores.copy(engine, count) as url,
        served("tests.growth.serving", url) as address,
        plaudit.Client(rows.PROJECT, target=address.target) as client,
    ):
        end = rows.BEGIN + timedelta(days=rows.DAYS)
        young = (plaudit.field("created_at") >= rows.MIDDLE + timedelta(days=1)) & (plaudit.field("created_at") < end)
        kept = client.count(young)
        assert kept
        _in_store(url, _put_hold)
        client.put_retention_rule("*", (datetime.now(UTC) - rows.MIDDLE).days)
        _in_store(url, _pass_the_delay)
        for _ in range(rounds):
            _until(client, lambda before, after: before == after)
            found.before += asyncio.run(_create(address.target, creates))
            _in_store(url, _lift_hold)
            _until(client, lambda before, after: before > after)
            there, began = client.count(), time.monotonic()
            found.during += asyncio.run(_create(address.target, creates))
            found.seconds += time.monotonic() - began
            found.removed += there + creates - client.count()
            _in_store(url, _put_hold)
        assert found.removed > 0
        assert client.count(young) == kept
    return found


async def _create(target: str, count: int) -> list[float]:
    """Creates, each begun when it is due, whatever becomes of those before it; how long after that each is answered."""
    async with grpc.aio.insecure_channel(target) as channel:
        create: Any = FeedbackServiceStub(channel).CreateFeedback
        began = asyncio.get_running_loop().time()

        async def one(number: int) -> float:
            due = began + number / PER_SECOND
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            ref = rows.ordinary_ref(number / count, 1_000_000)
            record = Feedback(id=uuid7(), ref=ref, feedback_type=rows.LARGE_TYPE, payload_json='{"score":1}')
            await create(CreateFeedbackRequest(project=rows.PROJECT, feedback=record), timeout=_DEADLINE_SECONDS)
            return (asyncio.get_running_loop().time() - due) * 1000

        return await asyncio.gather(*(one(number) for number in range(count)))


def _until(client: plaudit.Client, is_so: Callable[[int, int], bool]) -> None:
    """Wait until the numbers of records at a moment and at a later one are so."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    before = client.count()
    while time.monotonic() < ends:
        time.sleep(_MOMENT_SECONDS)
        after = client.count()
        if is_so(before, after):
            return
        before = after
    raise AssertionError(f"the number of records stays {before}, or does not stay")


def _in_store(url: str, steps: Callable[[Prepared], Steps[Any]]) -> None:
    """Do what commands on the server's machine do."""

    async def run() -> None:
        async with opened(url) as engine:
            await engine.transact(steps)

    asyncio.run(run())


def _put_hold(sql: Prepared) -> Steps[None]:
    return holds.put(sql, Hold(rows.PROJECT, microseconds(), "growth", "creates are timed without retention"))


def _lift_hold(sql: Prepared) -> Steps[None]:
    return holds.lift(sql, rows.PROJECT, microseconds(), "growth")


def _pass_the_delay(sql: Prepared) -> Steps[None]:
    """Let the rules have been put a day earlier."""
    yield Statement(sql.traits.sql("UPDATE retention_rule SET put_at = put_at - ?"), (DELAY,))
