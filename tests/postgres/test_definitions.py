"""Every worked case of definitions, through two servers on one PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance import test_definitions
from tests.conformance.definition_cases import Servers, servers
from tests.postgres.cluster import Database
from tests.shared import as_parameters


@pytest.fixture(scope="module")
def two_on_postgres(shared_database: Database) -> Iterator[Servers]:
    with servers(shared_database.url) as two:
        yield two


@pytest.mark.parametrize("case", as_parameters(test_definitions.CASES))
def test_case(case: dict[str, Any], two_on_postgres: Servers) -> None:
    test_definitions.test_case(case, two_on_postgres)
