"""A client over a transport that answers from memory: a blocking one, and an asyncio one with the same methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import plaudit
from tests.client.blocking import AsyncFake, Loop, blocking_client
from tests.client.fakes import PROJECT, FakeTransport, message


@pytest.fixture
def transport() -> FakeTransport:
    """Five records of one ref, in pages of two."""
    return FakeTransport([message(number) for number in range(1, 6)], page_rows=2)


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """An event loop for the asyncio clients."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(params=["blocking", "asyncio"])
def client(request: pytest.FixtureRequest, transport: FakeTransport, loop: Loop) -> Any:
    """Either client: each test runs with both."""
    if request.param == "asyncio":
        return blocking_client(PROJECT, loop, transport=AsyncFake(transport))
    return plaudit.Client(PROJECT, transport=transport)
