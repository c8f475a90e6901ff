"""Operations written once for both clients: a generator that yields each call it makes, and two ways to finish it.

In the body `answer = yield transport.unary(…)` is one call. For a transport that blocks, what is yielded is the answer
already, and an error was raised inside the body; for one of asyncio it is an awaitable, whose answer or error comes
back into the body. So a body does no I/O of its own, and knows neither threads nor event loops.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

Steps = Generator[Any, Any, T]


def finish(steps: Steps[T]) -> T:
    """Run a body over a transport that blocks."""
    answer: Any = None
    try:
        while True:
            answer = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


async def finish_async(steps: Steps[T]) -> T:
    """Run a body over a transport of asyncio; a cancellation goes through the body, too."""
    try:
        call = next(steps)
        while True:
            try:
                answer = await call
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
