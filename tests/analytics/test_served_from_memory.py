"""The worked cases of analytics through a real server whose store is the models in plain Python: no SQL at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import plaudit_server.testing
from plaudit_server.analytics.model import AnalyticsModel
from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.store.engines.memory import MemoryEngine
from plaudit_server.testing import RunningServer
from tests.analytics import cases
from tests.analytics.test_served import AREAS, check_case
from tests.shared import as_parameters


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    feedback = FeedbackModel(lambda: time.time_ns() // 1000)
    with plaudit_server.testing.server(MemoryEngine(feedback, AnalyticsModel(feedback))) as running:
        yield running


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases(*AREAS)))
def test_case(case: dict[str, Any], running: RunningServer, channel: grpc.Channel) -> None:
    check_case(case, running, channel)
