"""Health follows the store, whatever its probes raise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckResponse

from plaudit_server.errors import StoreUnavailable
from plaudit_server.ops import health
from plaudit_server.ops.health import LIVENESS, SERVING, StoreHealth
from plaudit_server.store.engines.memory import MemoryEngine

SERVICE = "plaudit.v1.FeedbackService"
UP, DOWN = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class ProbedStore(MemoryEngine):
    """A store whose probe raises what it is given, each time until it is given something else."""

    def __init__(self) -> None:
        super().__init__()
        self.raises: Exception | None = None
        self.probes = 0
        self._probed = asyncio.Event()

    async def check(self) -> None:
        self.probes += 1
        self._probed.set()
        if self.raises is not None:
            raise self.raises

    async def probed(self, times: int) -> None:
        """Wait until the given number of probes have begun."""
        for _ in range(times):
            self._probed.clear()
            await self._probed.wait()


class RemoteStore(ProbedStore):
    """One that is looked at even while nobody writes."""

    poll_seconds = 0.1


async def status(of: StoreHealth, service: str = SERVICE) -> int:
    # Any: the servicer looks at nothing of the call.
    answer: HealthCheckResponse = await of.servicer.Check(health_pb2.HealthCheckRequest(service=service), None)
    return int(answer.status)


async def becomes(of: StoreHealth, expected: int) -> None:
    while await status(of) != expected:  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PROBE_SECONDS", 0)
    monkeypatch.setattr(health, "_PATROL_SECONDS", 0)


def run(store: ProbedStore, scenario: Callable[[StoreHealth], Awaitable[None]]) -> None:
    async def whole() -> None:
        following = StoreHealth(store, [SERVICE])
        await following.serving()
        following.start()
        try:
            await asyncio.wait_for(scenario(following), 20)
        finally:
            await following.drain()

    asyncio.run(whole())


ERRORS = [StoreUnavailable("memory"), RuntimeError("a defect"), TimeoutError(), KeyError("row"), OSError(5, "disk")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_health_follows_a_remote_store_whatever_its_probes_raise(error: Exception) -> None:
    store = RemoteStore()

    async def scenario(following: StoreHealth) -> None:
        for _ in range(3):  # the task that looks has survived the first time and the second
            store.raises = error
            await becomes(following, DOWN)
            assert following.state != SERVING
            await store.probed(10)
            assert [await status(following, name) for name in (SERVICE, "", LIVENESS)] == [DOWN, DOWN, UP]
            store.raises = None
            await becomes(following, UP)
            assert following.state == SERVING
        assert following.failed_checks >= 3

    run(store, scenario)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_after_a_failed_write_health_waits_for_a_probe_that_succeeds(error: Exception) -> None:
    store = ProbedStore()

    async def scenario(following: StoreHealth) -> None:
        store.raises = error
        following.store_failed()
        await becomes(following, DOWN)
        await store.probed(5)
        assert await status(following) == DOWN
        store.raises = None
        await becomes(following, UP)
        assert following.failed_checks >= 5

    run(store, scenario)


def test_a_failed_write_of_one_project_is_no_failure_where_others_are_elsewhere() -> None:
    store = ProbedStore()
    store.side_by_side = True

    async def scenario(following: StoreHealth) -> None:
        following.store_failed()
        await store.probed(1)
        for _ in range(5):
            await asyncio.sleep(0)
            assert await status(following) == UP
        store.raises = StoreUnavailable("memory")
        following.store_failed()
        await becomes(following, DOWN)
        store.raises = None
        await becomes(following, UP)

    run(store, scenario)


def test_what_a_probe_raises_unexpectedly_is_logged_once_and_again_when_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = ProbedStore()

    async def scenario(following: StoreHealth) -> None:
        for error in (RuntimeError("one"), StoreUnavailable("memory"), RuntimeError("two")):
            store.raises = error
            following.store_failed()
            await becomes(following, DOWN)
            await store.probed(5)
        store.raises = None
        await becomes(following, UP)

    with caplog.at_level(logging.ERROR, "plaudit_server"):
        run(store, scenario)
    assert [str(entry.exc_info[1]) for entry in caplog.records if entry.exc_info] == ["one", "two"]


def test_a_draining_server_does_not_come_back() -> None:
    store = RemoteStore()

    async def scenario(following: StoreHealth) -> None:
        store.raises = RuntimeError("a defect")
        await becomes(following, DOWN)
        await following.drain()
        store.raises = None
        for _ in range(20):
            await asyncio.sleep(0)
        assert await status(following) == DOWN
        assert following.state == health.DRAINING

    run(store, scenario)
