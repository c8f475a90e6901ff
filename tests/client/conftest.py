"""A client over a transport that answers from memory."""

from __future__ import annotations

import pytest

import plaudit
from tests.client.fakes import PROJECT, FakeTransport, message


@pytest.fixture
def transport() -> FakeTransport:
    """Five records of one ref, in pages of two."""
    return FakeTransport([message(number) for number in range(1, 6)], page_rows=2)


@pytest.fixture
def client(transport: FakeTransport) -> plaudit.Client:
    return plaudit.Client(PROJECT, transport=transport)
