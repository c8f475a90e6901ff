"""Pages of every size together give the whole result, in every order, also while rows change between them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    ImportFeedbackRequest,
    ListRefsRequest,
    OrderBy,
    PurgeFeedbackRequest,
    QueryFeedbackRequest,
    StreamFeedbackRequest,
)

PROJECT = "acme/paged"
_names = itertools.count()

# Ties, nulls, missing keys, every kind of JSON, numbers beyond doubles, numeric text.
PAYLOADS: list[dict[str, Any]] = [
    {"v": 2},
    {"v": 10},
    {"v": 2},
    {"v": "x"},
    {"v": "b"},
    {"v": None},
    {"v": None},
    {},
    {},
    {"v": -1.5},
    {"v": "3"},
    {"v": True},
    {"v": {"a": 1}},
    {"v": [1]},
    {"v": 2**53 + 1},
    {"v": 2.0**53},
    {"v": ""},
    {"v": "b" * 300 + "1"},
    {"v": "b" * 300 + "2"},
]
ORDERS = [
    "",
    "-created_at",
    "created_at",
    "creator",
    "-creator",
    "payload.v",
    "-payload.v",
    "creator,-payload.v",
    "-creator,payload.v,-created_at",
    "scorer_ratings.r",
    "-scorer_ratings.r,creator",
    "scorer_rating_reasons.r",
    "feedback_type,-id",
    "-version,span_status_code,-revision",
    "queue_id,-ref",
]


def records() -> Iterator[Feedback]:
    for number, payload in enumerate(PAYLOADS):
        record = Feedback(
            id=uuid7(),
            ref=f"weave:///acme/paged/call/{number % 4}",
            feedback_type="wandb.runnable.s",
            runnable_ref="weave:///acme/paged/object/s:d",
            payload_json=json.dumps({"output": 1, **payload}),
        )
        if number % 3:
            record.creator = "abc"[number % 2 : number % 2 + 1] if number % 5 else ""
        if number % 4:
            record.scorer_ratings["r"] = (number % 3) / 2
        if number % 5 == 1:
            record.scorer_rating_reasons["r"] = "because"
        # Only imports give equal times.
        record.created_at.FromSeconds(1_700_000_000 + number // 3)
        yield record


@pytest.fixture(scope="module")
def stored(channel: Any) -> list[Feedback]:
    rows = list(records())
    [answer] = FeedbackServiceStub(channel).ImportFeedback(
        iter([ImportFeedbackRequest(project=PROJECT, feedback=rows)])
    )
    assert answer.stored_count == len(PAYLOADS)
    return rows


def order_by(order: str) -> list[OrderBy]:
    return [OrderBy(field=key.lstrip("-"), descending=key.startswith("-")) for key in order.split(",") if key]


def pages(stub: FeedbackServiceStub, request: QueryFeedbackRequest) -> Iterator[list[str]]:
    while True:
        page = stub.QueryFeedback(request)
        yield [row.id for row in page.feedback]
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


@pytest.mark.parametrize("order", ORDERS)
def test_every_page_size_gives_the_whole(stub: FeedbackServiceStub, stored: list[Feedback], order: str) -> None:
    keys = order_by(order)
    [whole] = pages(stub, QueryFeedbackRequest(project=PROJECT, order_by=keys))
    assert sorted(whole) == sorted(row.id for row in stored)
    for size in range(1, len(stored) + 2):
        request = QueryFeedbackRequest(project=PROJECT, order_by=keys, page_size=size)
        read = list(pages(stub, request))
        assert [id for page in read for id in page] == whole
        assert all(read), "a page is empty, although another was promised"
    streamed = stub.StreamFeedback(StreamFeedbackRequest(project=PROJECT, order_by=keys))
    assert [row.id for response in streamed for row in response.feedback] == whole


@pytest.mark.parametrize("order", ["", "-payload.v"])
def test_offset_and_limit_cut_the_whole(stub: FeedbackServiceStub, stored: list[Feedback], order: str) -> None:
    keys = order_by(order)
    [whole] = pages(stub, QueryFeedbackRequest(project=PROJECT, order_by=keys))
    for offset, limit, size in itertools.product((0, 1, 7, 18, 19, 20), (0, 1, 5, 19, 20), (1, 4, 0)):
        request = QueryFeedbackRequest(project=PROJECT, order_by=keys, offset=offset, limit=limit, page_size=size)
        request.include_total_count = True
        assert stub.QueryFeedback(request).total_count == len(stored)
        read = [id for page in pages(stub, request) for id in page]
        assert read == whole[offset : offset + limit]
        streamed = stub.StreamFeedback(
            StreamFeedbackRequest(project=PROJECT, order_by=keys, offset=offset, limit=limit)
        )
        assert [row.id for response in streamed for row in response.feedback] == read


@pytest.mark.parametrize("order", ORDERS)
def test_what_was_there_is_seen_once_while_rows_come_and_go(stub: FeedbackServiceStub, order: str) -> None:
    chance = random.Random(order)
    for size in (1, 2, 5):
        project = f"acme/moving-{next(_names)}"
        rows = list(records())
        list(stub.ImportFeedback(iter([ImportFeedbackRequest(project=project, feedback=rows)])))
        kept = {row.id for row in rows}
        seen: list[str] = []
        for page in pages(stub, QueryFeedbackRequest(project=project, order_by=order_by(order), page_size=size)):
            seen += page
            if len(seen) > 100:
                break
            gone = chance.choice(rows).id
            kept.discard(gone)
            stub.PurgeFeedback(PurgeFeedbackRequest(project=project, ids=[gone]))
            new = chance.choice(list(records()))
            stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=project, feedback=[new]))
        assert len(seen) == len(set(seen))
        assert kept <= set(seen)


def test_refs_in_pages_of_every_size(stub: FeedbackServiceStub, stored: list[Feedback]) -> None:
    def read(size: int) -> list[tuple[str, int]]:
        request = ListRefsRequest(project=PROJECT, page_size=size)
        found: list[tuple[str, int]] = []
        while True:
            page = stub.ListRefs(request)
            found += [(summary.ref.uri, summary.feedback_count) for summary in page.refs]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    counted = sorted((f"weave:///acme/paged/call/{n}", sum(i % 4 == n for i in range(len(stored)))) for n in range(4))
    assert all(read(size) == counted for size in range(6))
