"""Groups for the categories that a definition gives, whether a record has them or not; on a server on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import plaudit
import plaudit_server.testing
from plaudit import field
from plaudit.v1 import (
    AggregateFeedbackRequest,
    AnalyticsServiceStub,
    Category,
    DefinitionServiceStub,
    PutDefinitionRequest,
)
from plaudit.v1 import CategoricalRule as Rule
from plaudit.v1 import Definition as DefinitionMessage
from plaudit_server.analytics.rules import check_aggregate
from plaudit_server.errors import Violation
from tests.analytics import cases

PROJECT = "acme/tones"
TONES = ("polite", "blunt", "rude")
OF_TONE = {"$expr": {"$eq": [{"$getField": "feedback_type"}, {"$literal": "tone"}]}}
BY_VALUE = {"value": {"$getField": "payload.value"}, "fill_categories": True}


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    with plaudit_server.testing.server() as running, grpc.insecure_channel(running.target) as channel:
        categories = [*(Category(value=value) for value in TONES), Category(value="old", retired=True)]
        stub = DefinitionServiceStub(channel)
        for type, path, most in (("tone", "value", 1), ("tags", "tags", 3)):
            rule = Rule(categories=categories, max_choices=most)
            made = DefinitionMessage(feedback_type=type, value_path=path, categorical=rule)
            stub.PutDefinition(PutDefinitionRequest(project=PROJECT, definition=made))
        client = plaudit.Client(PROJECT, channel=channel)
        for number, tone in enumerate(("rude", "polite", "rude")):
            client.create({"ref": f"urn:{number % 2}", "feedback_type": "tone", "payload": {"value": tone}})
        client.create({"ref": "urn:0", "feedback_type": "tags", "payload": {"tags": ["rude", "blunt"]}})
        yield channel


@pytest.fixture
def client(channel: grpc.Channel) -> plaudit.Client:
    return plaudit.Client(PROJECT, channel=channel)


def tones(client: plaudit.Client, type: str = "tone") -> plaudit.FeedbackQuery:
    return client.get_feedback(field("feedback_type") == type)


def counts(groups: Any) -> list[tuple[Any, int]]:
    return [(next(group[name] for name in group if name.startswith("payload.")), group.row_count) for group in groups]


def test_each_category_is_a_group_in_the_order_of_the_definition(client: plaudit.Client) -> None:
    groups = tones(client).group_by(field("payload.value").categories())
    assert counts(groups.agg(n=("payload.value", "count"))) == [("polite", 1), ("blunt", 0), ("rude", 2)]
    by_count = groups.agg(n=("payload.value", "count")).sort("-row_count")
    assert counts(by_count) == [("rude", 2), ("polite", 1), ("blunt", 0)]
    assert counts(groups.agg(n=("ref", "count")).having(field("row_count") < 1)) == [("blunt", 0)]


def test_each_combination_of_other_keys_has_all_categories(client: plaudit.Client) -> None:
    groups = tones(client).group_by("ref", field("payload.value").categories()).count()
    expected = [("urn:0", "polite", 0), ("urn:0", "blunt", 0), ("urn:0", "rude", 2)]
    expected += [("urn:1", "polite", 1), ("urn:1", "blunt", 0), ("urn:1", "rude", 0)]
    assert [(group["ref"], group["payload.value"], group.row_count) for group in groups] == expected


def test_entries_of_a_list_have_categories_too(client: plaudit.Client) -> None:
    groups = tones(client, "tags").group_by(field("payload.tags").each(categories=True)).count()
    assert counts(groups) == [("polite", 0), ("blunt", 1), ("rude", 1)]


def test_other_values_come_after_and_without_records_there_are_categories(client: plaudit.Client) -> None:
    other = client.get_feedback((field("feedback_type") == "tone") & (field("ref") == "urn:nowhere"))
    assert counts(other.group_by(field("payload.value").categories()).count()) == [(tone, 0) for tone in TONES]
    elsewhere = tones(client).group_by(field("payload.reason").categories()).count()
    assert counts(elsewhere) == [(None, 3)]
    assert counts(tones(client, "nothing").group_by(field("payload.value").categories()).count()) == []


def test_pages_of_categories(channel: grpc.Channel) -> None:
    request = cases.aggregate_request({"project_id": PROJECT, "query": OF_TONE, "group_by": [BY_VALUE]})
    request.group_by[0].fill_categories = True
    request.page_size = 2
    stub = AnalyticsServiceStub(channel)
    first = stub.AggregateFeedback(request)
    request.page_token = first.next_page_token
    second = stub.AggregateFeedback(request)
    values = [group.keys[0].string_value for page in (first, second) for group in page.groups]
    assert (values, second.next_page_token) == (list(TONES), "")


@pytest.mark.parametrize(
    ("grouping", "query", "told"),
    [
        (BY_VALUE, None, "one feedback_type"),
        (BY_VALUE, {"$expr": {"$not": [OF_TONE["$expr"]]}}, "one feedback_type"),
        ({"value": {"$getField": "creator"}}, OF_TONE, "a path in the payload"),
        ({"each": "scorer_tags"}, OF_TONE, "a path in the payload"),
        ({"time": {"unit": "day"}}, OF_TONE, "a path in the payload"),
    ],
)
def test_what_has_no_categories_is_refused(grouping: Any, query: Any, told: str) -> None:
    when = {"project_id": PROJECT, "group_by": [grouping]} | ({"query": query} if query else {})
    request: AggregateFeedbackRequest = cases.aggregate_request(when)
    request.group_by[0].fill_categories = True
    out: list[Violation] = []
    assert check_aggregate(request, out) is None
    assert [violation.field for violation in out] == ["group_by[0].fill_categories"]
    assert told in out[0].description
