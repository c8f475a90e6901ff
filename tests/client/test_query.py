"""Queries ask for as little as they can: how many calls each step makes, and what they ask for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
import grpc_testing
import pytest

import plaudit
from plaudit import v1
from plaudit.v1 import feedback_service_pb2
from tests.client.blocking import query_class, ref_query_class
from tests.client.fakes import PROJECT, REF, FakeTransport, feedback, message

SERVICE = feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"]


def numbers(rows: Any) -> list[int]:
    return [int(row.id[-4:], 16) for row in rows]


def everything(client: plaudit.Client, **options: Any) -> Any:
    return query_class(client)("acme", "chat", None, client=client, **options)


def test_building_sends_nothing(client: plaudit.Client, transport: FakeTransport) -> None:
    everything(client, offset=1, limit=2, order_by="-created_at")
    query_class(client)("acme", "chat", plaudit.field("id") == "x", client=client)
    ref_query_class(client)(REF, client=client)
    client.ref(REF)
    client.get_feedback("x", reaction="👍")

    assert transport.calls == 0


def test_repr_and_iter_send_nothing(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client, offset=3, limit=4, show_refs=True, order_by="-created_at")

    iter(query)

    shown = "FeedbackQuery('acme', 'chat', None, offset=3, limit=4, show_refs=True, order_by=('-created_at',))"
    assert repr(query) == shown
    assert repr(client.ref(REF)) == f"RefFeedbackQuery({REF!r})"
    assert repr(client.get_feedback("x")).startswith(
        "FeedbackQuery('acme', 'chat', Query(field('id') == 'x'), show_refs"
    )
    assert transport.calls == 0


def test_first_row_costs_one_page(client: plaudit.Client, transport: FakeTransport) -> None:
    assert numbers([next(iter(everything(client)))]) == [1]
    assert transport.calls == 1


def test_iterating_costs_a_page_at_a_time(client: plaudit.Client, transport: FakeTransport) -> None:
    assert [transport.calls for _ in everything(client)] == [1, 1, 2, 2, 3]


def test_iterating_again_sends_nothing(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)

    assert numbers(query) == numbers(query) == [1, 2, 3, 4, 5]
    assert transport.calls == 3


def test_interrupted_iteration_goes_on_where_it_stopped(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)
    for row in query:
        if row.id.endswith("3"):
            break
    assert transport.calls == 2

    assert numbers(query) == [1, 2, 3, 4, 5]
    assert transport.calls == 3


def test_iteration_that_failed_goes_on_with_the_same_page(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)
    rows = iter(query)
    next(rows), next(rows)
    transport.failures.append(plaudit.UnavailableError("down"))

    with pytest.raises(plaudit.UnavailableError):
        next(rows)

    assert numbers(query) == [1, 2, 3, 4, 5]
    assert [request.page_token for request in transport.requests] == ["", "2", "2", "4"]


def test_pages_differ_in_nothing_but_their_token(client: plaudit.Client, transport: FakeTransport) -> None:
    list(everything(client, offset=1, limit=3, order_by=("payload.score", "-created_at")))

    first, second = transport.requests
    assert first == v1.QueryFeedbackRequest(
        project=PROJECT,
        offset=1,
        limit=3,
        order_by=[v1.OrderBy(field="payload.score"), v1.OrderBy(field="created_at", descending=True)],
    )
    second.ClearField("page_token")
    assert first == second


@pytest.mark.parametrize(
    "read",
    [
        lambda query: query.execute(),
        len,
        lambda query: query[-1],
        lambda query: query[1:],
        lambda query: query[::-1],
        lambda query: query.refs(),
        list,
    ],
)
def test_reading_whole_fetches_once_and_keeps(
    client: plaudit.Client, transport: FakeTransport, read: Callable[[plaudit.FeedbackQuery], object]
) -> None:
    query = everything(client)

    read(query)
    assert transport.calls == 3

    read(query)
    assert numbers(query.execute()) == [1, 2, 3, 4, 5]
    assert transport.calls == 3


def test_execute_returns_the_same_object_again(client: plaudit.Client) -> None:
    query = everything(client)

    assert query.execute() is query.execute()


def test_index_and_slice_are_those_of_a_list(client: plaudit.Client) -> None:
    query = everything(client)

    assert numbers([query[0], query[-1]]) == [1, 5]
    assert isinstance(query[1:], list)
    assert numbers(query[1:4:2]) == [2, 4]
    with pytest.raises(IndexError):
        query[5]


def test_truth_costs_one_call_for_one_row(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client, limit=4)

    assert query
    assert transport.calls == 1
    assert transport.requests[0].limit == 1


def test_truth_is_not_kept_as_a_result(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)

    assert query
    assert len(query) == 5


@pytest.mark.parametrize("rows", [0, 1])
def test_truth_of_a_kept_result_sends_nothing(rows: int) -> None:
    transport = FakeTransport(message(number + 1) for number in range(rows))
    query = everything(plaudit.Client(PROJECT, transport=transport))
    query.execute()

    assert bool(query) is bool(rows)
    assert transport.calls == 1


def test_truth_with_a_limit_of_none_at_all_is_false(client: plaudit.Client, transport: FakeTransport) -> None:
    assert not everything(client, limit=0)
    assert transport.calls == 0


def test_truth_respects_the_offset(client: plaudit.Client) -> None:
    assert not everything(client, offset=5)
    assert everything(client, offset=4)


def test_count_asks_the_server_and_fetches_nothing(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client, limit=2)

    assert query.count() == 5
    transport.rows.append(message(6))
    assert query.count() == 6
    assert [type(request) for request in transport.requests] == [v1.CountFeedbackRequest] * 2


def test_refresh_fetches_at_first_like_execute(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)

    assert query.refresh() is query.execute()
    assert transport.calls == 3


def test_refresh_costs_one_call_without_rows_while_nothing_changed(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    query = everything(client)
    first = query.execute()

    again = query.refresh()

    assert again == first
    assert again is not first
    assert query.execute() is again
    assert transport.calls == 4
    assert transport.requests[-1] == v1.QueryFeedbackRequest(project=PROJECT, limit=0)


def test_refresh_fetches_what_changed_and_keeps_it(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)
    first = query.execute()
    transport.rows.append(message(6))
    transport.revision += 1

    again = query.refresh()

    assert numbers(again) == [1, 2, 3, 4, 5, 6]
    assert numbers(first) == [1, 2, 3, 4, 5]
    assert query.execute() is again


def test_change_between_two_pages_makes_refresh_fetch(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)
    rows = iter(query)
    next(rows)
    transport.rows[0] = message(1, creator="new")
    transport.revision += 1
    query.execute()

    assert query.refresh()[0].creator == "new"


def test_refresh_of_an_empty_result_asks_once(client: plaudit.Client) -> None:
    transport = FakeTransport()
    query = everything(plaudit.Client(PROJECT, transport=transport))
    query.execute()
    transport.rows.append(message(1))

    assert numbers(query.refresh()) == [1]
    assert transport.calls == 2


def test_refresh_that_fails_leaves_what_is_kept(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)
    first = query.execute()
    transport.failures.append(plaudit.UnavailableError("down"))

    with pytest.raises(plaudit.UnavailableError):
        query.refresh()

    assert query.execute() is first


def test_iterator_begun_before_a_refresh_ends_with_its_own_rows(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    query = everything(client)
    rows = iter(query)
    next(rows)
    query.execute()
    transport.rows.pop(0)
    transport.revision += 1

    assert numbers(query.refresh()) == [2, 3, 4, 5]
    assert numbers(rows) == [2, 3, 4, 5]


def test_threads_share_one_reading(client: plaudit.Client, transport: FakeTransport) -> None:
    query = everything(client)
    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(numbers(query))) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [[1, 2, 3, 4, 5]] * 8
    assert transport.calls == 3


@pytest.mark.parametrize(
    ("entity", "project"), [("", "chat"), ("acme", ""), ("a/b", "chat"), ("acme", "c/d"), ("/", "x")]
)
def test_bad_entity_or_project_is_refused_when_built(entity: str, project: str) -> None:
    with pytest.raises(ValueError, match="must not"):
        plaudit.FeedbackQuery(entity, project, None)


def test_bad_query_is_refused_when_built(client: plaudit.Client) -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        query_class(client)("acme", "chat", {"$expr": {"$and": []}}, client=client)
    assert [v.field for v in raised.value.violations] == ["query.$expr.$and"]
    with pytest.raises(TypeError):
        query_class(client)("acme", "chat", "id", client=client)


def test_query_may_be_dict_query_or_expression(client: plaudit.Client) -> None:
    expression = plaudit.field("payload.score") > 0.5
    query = plaudit.Query(expression)

    made = [query_class(client)("acme", "chat", q, client=client).query for q in (expression, query, query.to_dict())]

    assert made == [query] * 3


def test_later_changes_of_the_dict_do_not_matter(client: plaudit.Client, transport: FakeTransport) -> None:
    given = {"$expr": {"$eq": [{"$getField": "id"}, {"$literal": message(2).id}]}}
    query = query_class(client)("acme", "chat", given, client=client)
    given.clear()

    assert numbers(query) == [2]


@pytest.mark.parametrize("value", [1.5, "1", True])
def test_offset_and_limit_are_integers(client: plaudit.Client, value: Any) -> None:
    with pytest.raises(TypeError):
        everything(client, offset=value)
    with pytest.raises(TypeError):
        everything(client, limit=value)


def test_offset_beyond_64_bits_is_refused(client: plaudit.Client) -> None:
    with pytest.raises(plaudit.InvalidArgumentError):
        everything(client, offset=2**63)


def test_feedbacks_collect(client: plaudit.Client) -> None:
    rows = plaudit.Feedbacks(True, [feedback(1), feedback(2, ref="urn:x"), feedback(3)])

    assert len(rows) == 3
    assert rows[-1] == feedback(3)
    assert rows[:2] == [feedback(1), feedback(2, ref="urn:x")]
    assert rows == plaudit.Feedbacks(False, rows)
    assert list(plaudit.Feedbacks(False)) == []
    assert list(rows.refs()) == [REF, "urn:x"]
    assert rows.refs().counts == {REF: 2, "urn:x": 1}


def test_refs_are_unique_texts_with_parts() -> None:
    refs = plaudit.Refs([REF, "urn:x", REF, "weave:///acme/chat/object/o:d"])

    assert list(refs) == [REF, "urn:x", "weave:///acme/chat/object/o:d"]
    assert [ref.kind for ref in refs.parsed()] == ["call", "external", "object"]
    assert [str(ref) for ref in refs.call_refs()] == [REF]
    assert refs[0] == REF
    assert "urn:x" in refs


class Watched:
    """grpcio-testing's channel, answered from another thread: every call that a step makes is seen."""

    def __init__(self, rows: int) -> None:
        self.channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
        self.client = plaudit.Client(PROJECT, channel=self.channel)
        self.taken: list[v1.QueryFeedbackRequest] = []
        self._rows = [message(number) for number in range(1, rows + 1)]
        # Its `take_…` waits without end when no call comes; a daemon thread may do that.
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            _, request, call = self.channel.take_unary_unary(SERVICE.methods_by_name["QueryFeedback"])
            self.taken.append(request)
            start = int(request.page_token or 0)
            rows = self._rows[start : start + (request.limit or 2)]
            token = str(start + 2) if start + 2 < len(self._rows) else ""
            response = v1.QueryFeedbackResponse(feedback=rows, next_page_token=token)
            call.terminate(response, (), grpc.StatusCode.OK, "")


def test_calls_of_each_step_over_a_grpc_channel() -> None:
    watched = Watched(rows=5)

    query = everything(watched.client)
    assert len(watched.taken) == 0
    repr(query)
    assert len(watched.taken) == 0
    assert bool(query)
    assert len(watched.taken) == 1
    next(iter(query))
    assert len(watched.taken) == 2
    assert numbers(query) == [1, 2, 3, 4, 5]
    assert len(watched.taken) == 4
    assert query.execute() is query.execute()
    assert len(query) == len(query.execute()) == 5
    assert len(watched.taken) == 4
    query.refresh()
    assert len(watched.taken) == 7
