"""Fixtures that all tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import grpc
import pytest

import plaudit_server.testing
from plaudit.v1 import FeedbackServiceStub
from plaudit_server.testing import RunningServer

# A shell without a terminal starts what runs in its background with Ctrl-C ignored; the tests, and all processes that
# they start, are about programs in the foreground.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
