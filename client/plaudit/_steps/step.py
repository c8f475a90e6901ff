"""Operations written once for both clients: a body is a generator, which yields each step that it cannot take itself.

In a body, `answer = yield from Call(METHOD, request)` is one call; its answer has the type that the method says. The
client takes the step, blocking or awaited, and gives the answer or the error back into the body. So a body does no I/O,
and needs neither threads nor event loops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from plaudit._core.options import NONE, CallOptions
from plaudit._core.paging import PagedRequest, Pages
from plaudit._wire.methods import Method, RequestT, ResponseT

AnswerT = TypeVar("AnswerT")
ResultT = TypeVar("ResultT")
P = ParamSpec("P")


class Step(ABC, Generic[AnswerT]):
    """One thing that a body asks its client to do. `yield from step` is the answer."""

    __slots__ = ()

    @abstractmethod
    def take(self, transport: Any, options: CallOptions) -> Any:
        """Do it over a transport, blocking or of asyncio: returns the answer, or an awaitable of it."""

    def __iter__(self) -> Generator[Step[Any], Any, AnswerT]:
        answer: AnswerT = yield self
        return answer


Steps = Generator[Step[Any], Any, ResultT]
"""A body whose result is of this type."""


class Call(Step[ResponseT]):
    """One unary call of the service; in one attempt unless `retried`."""

    __slots__ = ("method", "request", "retried")

    def __init__(self, method: Method[RequestT, ResponseT], request: RequestT, *, retried: bool = True) -> None:
        self.method: Method[Any, ResponseT] = method
        self.request = request
        self.retried = retried

    def take(self, transport: Any, options: CallOptions) -> Any:
        """Make the call."""
        named = {} if options is NONE else options.of_unary()
        if not self.retried:
            named["retried"] = False
        return transport.unary(self.method, self.request, **named)


def all_pages(method: Method[Any, ResponseT], request: PagedRequest) -> Steps[list[ResponseT]]:
    """Every page of a paged read, from the one that `request` asks for."""
    pages = Pages(request)
    read: list[ResponseT] = []
    while pages.request is not None:
        response: Any = yield from Call(method, pages.request)
        read.append(response)
        pages.advance(response)
    return read


class Act(Step[AnswerT]):
    """A call of a function that blocks, or that returns an awaitable: what the client does with a stream."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[P, AnswerT | Awaitable[AnswerT]], *args: P.args, **options: P.kwargs) -> None:
        self._act = partial(act, *args, **options)

    def take(self, transport: Any, options: CallOptions) -> Any:
        """Call the function."""
        return self._act()
