"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

import plaudit_server.testing
from plaudit.v1 import FeedbackServiceStub
from plaudit_server.testing import RunningServer


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    """A real server on a free port, one for each test module."""
    with plaudit_server.testing.server() as running:
        yield running


@pytest.fixture(scope="module")
def channel(running: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.target) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> FeedbackServiceStub:
    return FeedbackServiceStub(channel)
