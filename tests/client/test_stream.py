"""Reading a result over one stream, and reading only as much of a result as is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import plaudit
from plaudit import v1
from plaudit_server.testing import RunningServer
from tests.client.fakes import PROJECT, FakeTransport, message
from tests.client.network import Network

LARGE = 2500


def rows(*numbers: int) -> v1.StreamFeedbackResponse:
    return v1.StreamFeedbackResponse(feedback=[message(number) for number in numbers])


def test_all_records_of_a_stream_in_order(client: Any, transport: FakeTransport) -> None:
    transport.scripts.append([rows(1, 2), rows(), rows(3)])
    query = client.get_feedback(plaudit.field("feedback_type") == "t", offset=1, limit=9, order_by="-created_at")

    assert [row.revision for row in query.stream()] == [1, 2, 3]
    [asked] = transport.requests
    assert asked == v1.StreamFeedbackRequest(
        project=PROJECT,
        query=query.query.to_proto(),
        offset=1,
        limit=9,
        order_by=[v1.OrderBy(field="created_at", descending=True)],
    )


def test_a_stream_keeps_nothing_and_leaves_the_kept_result_alone(client: Any, transport: FakeTransport) -> None:
    query = client.get_feedback()
    kept = query.execute()
    calls = transport.calls
    for _ in range(2):
        transport.scripts.append([rows(7)])
        assert [row.revision for row in query.stream()] == [7]

    assert transport.calls == calls + 2
    assert query.execute() is kept


def test_the_client_has_a_stream_as_well(client: Any, transport: FakeTransport) -> None:
    transport.scripts.append([rows(1)])
    assert [row.revision for row in client.stream(reaction="👍", limit=3, project="c/d")] == [1]
    [asked] = transport.requests
    assert (asked.project, asked.limit) == ("c/d", 3)
    assert asked.query == client.get_feedback(reaction="👍").query.to_proto()


def test_a_stream_is_opened_again_until_it_has_begun(client: Any, transport: FakeTransport) -> None:
    down = plaudit.UnavailableError("down")
    transport.scripts += [[down], [down], [rows(1)]]
    assert [row.revision for row in client.stream()] == [1]
    assert len(transport.time.naps) == 2


def test_a_stream_that_breaks_in_the_middle_says_how_far_it_came(client: Any, transport: FakeTransport) -> None:
    transport.scripts += [[rows(1, 2), plaudit.UnavailableError("down")], [rows(1, 2, 3)]]
    stream = iter(client.stream())
    assert [next(stream).revision, next(stream).revision] == [1, 2]
    with pytest.raises(plaudit.UnavailableError) as raised:
        next(stream)
    assert "2 records were read" in raised.value.__notes__[0]
    assert transport.calls == 1


def test_a_refused_stream_is_not_tried_again(client: Any, transport: FakeTransport) -> None:
    transport.scripts.append([plaudit.InvalidArgumentError("no")])
    with pytest.raises(plaudit.InvalidArgumentError):
        next(iter(client.stream()))
    assert transport.time.naps == []


def test_a_stream_that_is_left_is_ended(transport: FakeTransport) -> None:
    client = plaudit.Client(PROJECT, transport=transport)
    transport.scripts.append([rows(1), rows(2)])
    with client.stream() as stream:
        next(stream)
    assert transport.streams[0].is_cancelled
    assert list(stream) == []
    assert repr(stream) == "FeedbackStream(1 records read, ended)"


def test_no_message_is_read_before_it_is_needed(client: Any, transport: FakeTransport) -> None:
    made = 0

    def messages() -> Iterator[v1.StreamFeedbackResponse]:
        nonlocal made
        for number in range(1, 9, 2):
            made += 1
            yield rows(number, number + 1)

    transport.scripts.append(messages())
    seen = [(row.revision, made) for row in client.stream()]
    assert seen == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4), (8, 4)]


def test_a_large_result_of_a_server(running: RunningServer) -> None:
    with plaudit.Client("stream/large", target=running.target) as client:
        client.ingest({"ref": "urn:x", "feedback_type": "t", "payload": {"n": n}} for n in range(LARGE))
        assert [row.payload["n"] for row in client.stream()] == list(range(LARGE))
        assert [row.id for row in client.stream()] == [row.id for row in client.get_feedback()]

    async def awaited() -> int:
        async with plaudit.AsyncClient("stream/large", target=running.target) as client:
            assert [row.payload["n"] async for row in client.stream(limit=3, offset=5)] == [5, 6, 7]
            return sum([1 async for _ in client.get_feedback().stream()])

    assert asyncio.run(awaited()) == LARGE


def test_a_stream_through_a_line_that_is_cut(running: RunningServer) -> None:
    with plaudit.Client("stream/cut", target=running.target) as direct:
        direct.create({"ref": "urn:x", "feedback_type": "t"})
    with Network(running.target).running() as network, plaudit.Client("stream/cut", target=network.target) as client:
        client.count()
        network.cut()
        assert len(list(client.stream())) == 1


@pytest.mark.parametrize(
    ("index", "calls"),
    [
        (0, 1),
        (1, 1),
        (2, 2),
        (slice(2), 1),
        (slice(1, 3), 2),
        (slice(0, 4, 2), 2),
        (slice(3, 3), 0),
        (slice(3, 1), 0),
        (slice(0, 99), 3),
        (-1, 3),
        (slice(None), 3),
        (slice(2, None), 3),
        (slice(-2, None), 3),
        (slice(None, None, -1), 3),
    ],
)
def test_an_index_reads_no_further_than_it_needs(transport: FakeTransport, index: Any, calls: int) -> None:
    query = plaudit.Client(PROJECT, transport=transport).get_feedback()
    whole = list(plaudit.Client(PROJECT, transport=FakeTransport(transport.rows)).get_feedback())

    assert query[index] == whole[index]
    assert transport.calls == calls
    assert query[index] == whole[index]
    assert transport.calls == calls
    assert list(query) == whole  # goes on with the pages that were read
    assert transport.calls == 3


def test_an_index_beyond_the_end(transport: FakeTransport) -> None:
    query = plaudit.Client(PROJECT, transport=transport).get_feedback()
    with pytest.raises(IndexError):
        query[5]
    with pytest.raises(TypeError):
        query["x"]  # type: ignore[call-overload]


class Shown:
    """What an interactive shell prints."""

    def __init__(self) -> None:
        self.printed = ""

    def text(self, text: str) -> None:
        self.printed += text


@pytest.mark.parametrize("way", ["html", "pretty", "rich"])
def test_showing_a_large_result_reads_one_page_and_a_count(way: str) -> None:
    from rich.console import Console

    transport = FakeTransport([message(number) for number in range(1, 3001)])
    query = plaudit.Client(PROJECT, transport=transport).get_feedback(offset=10, limit=2000)
    shown = Shown()
    console = Console(width=100, record=True)
    if way == "html":
        shown.printed = query._repr_html_()
    elif way == "pretty":
        query._repr_pretty_(shown, False)
    else:
        with console.capture() as capture:
            console.print(query)
        shown.printed = capture.get()

    assert "1800 more" in shown.printed
    assert [type(request) for request in transport.requests] == [v1.QueryFeedbackRequest, v1.CountFeedbackRequest]


def test_showing_a_small_result_needs_no_count(transport: FakeTransport) -> None:
    query = plaudit.Client(PROJECT, transport=transport).get_feedback()
    assert "more" not in query._repr_html_()
    assert {type(request) for request in transport.requests} == {v1.QueryFeedbackRequest}
