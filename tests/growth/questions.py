"""What is asked of a store, as requests that can be repeated, and how long each may take compared with what."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any, Final

import grpc

import plaudit
from plaudit import v1
from plaudit.v1 import (
    CountFeedbackRequest,
    CountFeedbackResponse,
    FeedbackServiceStub,
    GetFeedbackRequest,
    ListRefsRequest,
    ListRefsResponse,
    OrderBy,
    QueryFeedbackRequest,
    QueryFeedbackResponse,
)
from tests.growth import rows

PAGE: Final = 1_000
_NEWEST: Final = 100
_NEWEST_OF_REF: Final = 20
_FEW_REFS: Final = 100
_PLACES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
_SERVICE: Final = "/plaudit.v1.FeedbackService/"
_OPTIONS: Final = [("grpc.max_receive_message_length", -1)]
_LEAST_CALLS: Final = 3
POINT: Final = "point read"


@dataclass(frozen=True, slots=True)
class Question:
    """Its name, and how many times as long it may take as in the smaller store, or as a point read of the same one."""

    name: str
    limit: float
    of_point: bool = False


QUESTIONS: Final = (
    Question(POINT, 1.5),
    Question("newest 100", 1.5),
    Question("page of 1,000 in the middle", 1.5),
    Question("page of a ref", 1.5),
    Question("newest 20 of a large ref", 1.5),
    Question("count of the project", 2, of_point=True),
    Question("count of a type", 2, of_point=True),
    Question("count of a day", 2, of_point=True),
    Question("ListRefs, 100 refs", 3),
    Question("ListRefs, 1,000 refs", 3),
    Question("ListRefs, 20 large refs", 3),
)

GROWING: Final = frozenset({"ListRefs, 20 large refs"})
"""Those that are known to take longer: refs have no counters (ADR 0041), and these have a fifth of all rows."""


class Asked:
    """A server's store of the given number of rows; answers are checked once, and then timed as bytes."""

    def __init__(self, target: str, count: int, least: int) -> None:
        """`least` is the number of rows of the smaller store: pages are no larger than that has them."""
        self._channel = grpc.insecure_channel(target, _OPTIONS)
        self._stub: Any = FeedbackServiceStub(self._channel)
        self._count = count
        self._most_refs = rows.refs_in(least) // 2
        self._requests = self._made()

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def milliseconds(self, question: str, seconds: float) -> float:
        """The median time of a call, of those that are made in about the given time."""
        method, requests = self._requests[question]
        call: Any = self._channel.unary_unary(_SERVICE + method)
        taken: list[float] = []
        ends = time.perf_counter() + seconds
        while (now := time.perf_counter()) < ends or len(taken) < _LEAST_CALLS:
            call(requests[len(taken) % len(requests)])
            taken.append(time.perf_counter() - now)
        return median(taken) * 1000

    def _made(self) -> Mapping[str, tuple[str, Sequence[bytes]]]:
        """The requests of each question, each answered once as it must be."""
        count = self._count
        newest = [OrderBy(field="created_at", descending=True)]
        refs = [rows.ordinary_ref(part, count) for part in _PLACES]
        large = _query(plaudit.field("ref") == f"{rows.LARGE_REFS}07")
        asked: dict[str, tuple[str, list[Any]]] = {
            "newest 100": ("QueryFeedback", [QueryFeedbackRequest(order_by=newest, page_size=_NEWEST)]),
            "page of 1,000 in the middle": ("QueryFeedback", [self._page_in_the_middle()]),
            "page of a ref": (
                "QueryFeedback",
                [QueryFeedbackRequest(query=_query(plaudit.field("ref") == ref)) for ref in refs],
            ),
            "newest 20 of a large ref": (
                "QueryFeedback",
                [QueryFeedbackRequest(query=large, order_by=newest, page_size=_NEWEST_OF_REF)],
            ),
            "count of the project": ("CountFeedback", [CountFeedbackRequest()]),
            "count of a type": (
                "CountFeedback",
                [CountFeedbackRequest(query=_query(plaudit.field("feedback_type") == rows.LARGE_TYPE))],
            ),
            "count of a day": (
                "CountFeedback",
                [CountFeedbackRequest(query=_day(int(rows.DAYS * part))) for part in _PLACES],
            ),
            "ListRefs, 100 refs": ("ListRefs", [self._refs_in_the_middle(_FEW_REFS)]),
            "ListRefs, 1,000 refs": ("ListRefs", [self._refs_in_the_middle(PAGE)]),
            "ListRefs, 20 large refs": ("ListRefs", [ListRefsRequest(ref_prefix=rows.LARGE_REFS)]),
        }
        answers: dict[str, list[Any]] = {}
        ids = []
        for name, (method, requests) in asked.items():
            for request in requests:
                request.project = rows.PROJECT
                answer = getattr(self._stub, method)(request)
                answers.setdefault(name, []).append(answer)
                if method == "QueryFeedback":
                    ids += [each.id for each in answer.feedback[:10]]
        asked[POINT] = ("GetFeedback", [GetFeedbackRequest(project=rows.PROJECT, id=id) for id in ids])
        self._check(answers)
        return {
            name: (method, [each.SerializeToString() for each in requests])
            for name, (method, requests) in asked.items()
        }

    def _page_in_the_middle(self) -> QueryFeedbackRequest:
        """By its token, which is found once in the slow way."""
        middle = self._count // 2
        request = QueryFeedbackRequest(project=rows.PROJECT, page_size=PAGE, offset=max(0, middle - PAGE))
        request.page_token = self._stub.QueryFeedback(request).next_page_token
        assert request.page_token
        return request

    def _refs_in_the_middle(self, size: int) -> ListRefsRequest:
        """By the token of the page before."""
        request = ListRefsRequest(project=rows.PROJECT, page_size=min(PAGE, rows.refs_in(self._count) // 2))
        for _ in range(max(1, rows.refs_in(self._count) // 2 // PAGE)):
            request.page_token = self._stub.ListRefs(request).next_page_token
        request.page_size = min(size, self._most_refs)
        return request

    def _check(self, answers: Mapping[str, Sequence[Any]]) -> None:
        """Nobody times an answer that is wrong."""
        count = self._count

        def found(name: str, of: Callable[[Any], int]) -> set[int]:
            return {of(answer) for answer in answers[name]}

        sizes: Callable[[QueryFeedbackResponse], int] = lambda answer: len(answer.feedback)  # noqa: E731
        counts: Callable[[CountFeedbackResponse], int] = lambda answer: answer.count  # noqa: E731
        records: Callable[[ListRefsResponse], int] = lambda answer: sum(  # noqa: E731
            ref.feedback_count for ref in answer.refs
        )
        assert found("newest 100", sizes) == {_NEWEST}
        assert found("newest 20 of a large ref", sizes) == {_NEWEST_OF_REF}
        assert found("page of 1,000 in the middle", sizes) == {min(PAGE, count // 2)}
        assert found("page of a ref", sizes) == {40}
        assert found("count of the project", counts) == {count}
        assert found("count of a type", counts) == {count // 2}
        assert found("count of a day", counts) == {count // rows.DAYS}
        assert found("ListRefs, 100 refs", records) == {40 * min(_FEW_REFS, self._most_refs)}
        assert found("ListRefs, 1,000 refs", records) == {40 * min(PAGE, self._most_refs)}
        assert found("ListRefs, 20 large refs", records) == {count // 5}


def _query(condition: plaudit.Expr) -> v1.Query:
    return plaudit.Query(condition).to_proto()


def _day(number: int) -> v1.Query:
    day, created_at = rows.BEGIN + timedelta(days=number), plaudit.field("created_at")
    return _query((created_at >= day) & (created_at < day + timedelta(days=1)))
