"""The worked cases of the query language: SQL and the oracle, without a server."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from plaudit import InvalidArgumentError, Query
from plaudit.v1 import OrderBy
from plaudit_server.errors import InvalidQuery
from plaudit_server.query.evaluate import matches, sort_key
from plaudit_server.query.fields import ALIASES, COLUMNS, MAPS
from plaudit_server.query.parse import parse_order, parse_query
from plaudit_server.query.tree import Operation
from tests.shared import as_parameters, worked_cases
from tests.unit.querytable import Table


def load() -> list[Any]:
    """The cases that the language decides; a limit, an offset or a total is the service's."""
    return as_parameters(
        [
            case
            for case in worked_cases()
            if case["area"] == "query"
            and ("ids" in case["expect"] or "error" in case["expect"])
            and (case["when"].get("limit") or 0) >= 0
        ]
    )


def full_row(given: dict[str, Any]) -> dict[str, Any]:
    """A row by column, with the defaults of what the case does not name."""
    row: dict[str, Any] = {name: None if column.nullable else "" for name, column in COLUMNS.items()}
    row |= {"scorer_tags": [], "user_id": "alice", "span_status_code": "UNSET", "version": 1, "revision": 1}
    row |= {name: {} for name in MAPS}
    row |= {ALIASES.get(name, name): value for name, value in given.items()}
    created_at = datetime.fromisoformat(row["created_at"])
    row["created_at"] = row["updated_at"] = round(created_at.timestamp()) * 1_000_000
    row["payload"] = json.dumps(row["payload"])
    return row


def parsed_query(when: dict[str, Any]) -> Operation | None:
    if when.get("query") is None:
        return None
    return parse_query(Query.from_dict(when["query"]).to_proto())


@pytest.mark.parametrize("case", load())
def test_worked_case(case: dict[str, Any]) -> None:
    when, expect = case["when"], case["expect"]
    if "error" in expect:
        with pytest.raises((InvalidArgumentError, InvalidQuery)):
            parsed_query(when)
        return
    rows = [full_row(row) for row in case["given"]]
    filter = parsed_query(when)
    keys = when.get("sort_by") or []
    order = parse_order(OrderBy(field=key["field"], descending=key["direction"] == "desc") for key in keys)
    found = Table(rows).ids(filter, order)
    by_oracle = [row for row in rows if filter is None or matches(filter, row) is True]
    assert found == [row["id"] for row in sorted(by_oracle, key=lambda row: sort_key(order, row))]
    offset, limit = when.get("offset") or 0, when.get("limit")
    assert found[offset : None if limit is None else offset + limit] == expect["ids"]
