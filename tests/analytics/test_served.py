"""The worked cases of analytics through a real server on SQLite, and what only a server has: pages and statuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import plaudit_server.testing
from plaudit_server.testing import RunningServer
from tests.analytics import cases
from tests.analytics.serving import Served
from tests.service.status import refusal
from tests.shared import as_parameters

AREAS = ("aggregate", "describe", "summarize_refs", "measure_agreement", "set_reaction")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with plaudit_server.testing.server() as running:
        yield running


@pytest.fixture(scope="module")
def channel(running: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.target) as channel:
        yield channel


def check_case(case: dict[str, Any], running: RunningServer, channel: grpc.Channel) -> None:
    served = Served(case, running, channel)
    served.store()
    if "error" in case["expect"]:
        assert refusal(served.ask).code is grpc.StatusCode.INVALID_ARGUMENT
    else:
        assert cases.differences(case["expect"], served.ask()) == []


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases(*AREAS)))
def test_case(case: dict[str, Any], running: RunningServer, channel: grpc.Channel) -> None:
    check_case(case, running, channel)
