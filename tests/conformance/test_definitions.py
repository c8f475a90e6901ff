"""Every worked case of definitions, through two real servers of one store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.definition_cases import Case, Servers, servers
from tests.shared import DEFINITIONS, as_parameters, read_lines

WITH_QUEUES = ("def-086",)
"""A case that needs queues, which come with their own issue."""

CASES = [case for case in read_lines(DEFINITIONS) if case["id"] not in WITH_QUEUES]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(f"sqlite:{tmp_path_factory.mktemp('definitions') / 'plaudit.db'}") as two:
        yield two


@pytest.mark.parametrize("case", as_parameters(CASES))
def test_case(case: dict[str, Any], two: Servers) -> None:
    Case(case, two).run()
