"""Bodies without any transport: what they ask, step by step; and the values that queries and writes are made of."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Generator
from typing import Any, assert_type

import pytest

import plaudit
from plaudit import v1
from plaudit._core.question import Question
from plaudit._core.writing import WriteResult
from plaudit._settings import Settings
from plaudit._steps.operations import Operations
from plaudit._steps.step import Call, Step
from plaudit._wire.methods import CREATE, LIST_REFS, QUERY, SERVER_INFO
from tests.client.fakes import PROJECT, REF, FakeTransport

BODIES: Operations[None] = Operations(Settings(project=PROJECT), None)


def typed() -> Generator[Step[Any], Any, None]:
    """Read by mypy: the answer of a call has the type that its method says, and a request of another one is refused."""
    assert_type((yield from Call(QUERY, v1.QueryFeedbackRequest())), v1.QueryFeedbackResponse)
    assert_type((yield from Call(CREATE, v1.CreateFeedbackRequest())).feedback, v1.Feedback)
    Call(QUERY, v1.CountFeedbackRequest())  # type: ignore[misc]
    (yield from Call(SERVER_INFO, v1.GetServerInfoRequest())).count  # type: ignore[attr-defined]  # noqa: B018


def asked(step: Any) -> tuple[str, Any]:
    assert isinstance(step, Call)
    return step.method.name, step.request


def test_a_body_asks_for_one_call_after_the_other_and_returns_its_result() -> None:
    body = BODIES._refs(None, None)

    assert asked(next(body)) == (LIST_REFS.name, v1.ListRefsRequest(project=PROJECT))
    page = v1.ListRefsResponse(refs=[v1.RefSummary(ref=v1.Ref(uri="urn:a"), feedback_count=2)], next_page_token="2")
    assert asked(body.send(page)) == (LIST_REFS.name, v1.ListRefsRequest(project=PROJECT, page_token="2"))
    with pytest.raises(StopIteration) as done:
        body.send(v1.ListRefsResponse(refs=[v1.RefSummary(ref=v1.Ref(uri="urn:b"), feedback_count=1)]))
    assert done.value.value.counts == {"urn:a": 2, "urn:b": 1}


def test_an_error_of_a_call_comes_back_into_the_body() -> None:
    body = BODIES._create_batch([{"ref": REF, "feedback_type": "t"}], True, None, None)
    next(body)

    with pytest.raises(StopIteration) as done:
        body.throw(plaudit.UnavailableError("down"))
    [error] = done.value.value
    assert isinstance(error, plaudit.UnavailableError)


def test_a_question_is_a_value() -> None:
    question = Question.of(PROJECT, plaudit.field("payload.a") > 1, 2, 3, "-created_at")
    same = Question.of(
        PROJECT, {"$expr": {"$gt": [{"$getField": "payload.a"}, {"$literal": 1}]}}, 2, 3, ["-created_at"]
    )

    assert question == same
    assert hash(question) == hash(same)
    assert question != Question.of(PROJECT, plaudit.field("payload.a") > 1, 2, 4, "-created_at")
    assert pickle.loads(pickle.dumps(question)) == copy.deepcopy(question) == question
    assert question.request(PROJECT) == same.request(PROJECT)
    with pytest.raises(AttributeError):
        question.limit = 5  # type: ignore[misc]


@pytest.mark.parametrize("bad", [5, ["a", 5]])
def test_an_order_names_fields(bad: Any) -> None:
    with pytest.raises(TypeError):
        Question.of(PROJECT, None, order_by=bad)


def test_every_way_to_write_returns_the_same_shape() -> None:
    client = plaudit.Client(PROJECT, transport=FakeTransport())
    good, bad = {"ref": REF, "feedback_type": "t"}, {"ref": REF, "nonsense": 1, "id": "X"}
    with client.buffered() as writer:
        writer.add(good)
        writer.add(good)
    results: list[WriteResult] = [
        client.create_batch([good, bad, good], partial=True),
        client.ingest([good, bad, good], partial=True),
    ]

    assert all(isinstance(result, WriteResult) for result in results)
    assert [(result.stored, result.pending) for result in results] == [(2, 0)] * 2
    assert [[(r.position, r.id) for r in result.refused] for result in results] == [[(1, "X")]] * 2
    report: WriteResult = writer.close()
    assert (report.stored, list(report.refused), report.pending) == (2, [], 0)


def test_what_has_no_answer_is_pending_and_what_breaks_a_rule_is_refused(client: Any, transport: FakeTransport) -> None:
    transport.failures += [plaudit.DeadlineExceededError("late"), plaudit.PermissionDeniedError("no")]

    created = client.create_batch(
        [{"ref": REF, "feedback_type": "t", "project": f"a/{n // 2}"} for n in range(6)], partial=True
    )

    assert (created.stored, created.pending, [r.position for r in created.refused]) == (2, 2, [2, 3])
    assert [type(outcome).__name__ for outcome in created] == (
        ["DeadlineExceededError"] * 2 + ["PermissionDeniedError"] * 2 + ["Feedback"] * 2
    )
    assert pickle.loads(pickle.dumps(created)).pending == 2


def test_a_bulk_write_counts_what_is_on_its_way(client: Any) -> None:
    pending = []
    done = client.ingest(
        ({"ref": REF, "feedback_type": "t"} for _ in range(6500)), progress=lambda r: pending.append(r.pending)
    )

    assert pending[0] == 3000  # four requests, less the one that was answered
    assert pending[-1] == done.pending == 0
