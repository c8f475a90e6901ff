"""Fixtures that all tests share."""

from __future__ import annotations

import ast
import signal
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import grpc
import pytest

import plaudit_server.testing
from plaudit.v1 import FeedbackServiceStub
from plaudit_server.testing import RunningServer

# A shell without a terminal starts what runs in its background with Ctrl-C ignored; the tests, and all processes that
# they start, are about programs in the foreground.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _one_at_a_time(parse: Callable[..., Any]) -> Callable[..., Any]:
    lock = threading.RLock()

    @wraps(parse)
    def parsed(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return parse(*args, **kwargs)

    return parsed


# pytest parses each module of plaudit that is imported, also by the threads of servers. CPython 3.11 counts the depth
# of what it parses for all threads together, and fails at times with a SystemError when two parse at the same time.
ast.parse = _one_at_a_time(ast.parse)


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
