"""How the client of asyncio runs a body of steps."""

from __future__ import annotations

from typing import TypeVar

from plaudit._core.options import NONE, CallOptions
from plaudit._steps.step import Steps
from plaudit._wire.transport import AsyncTransport

ResultT = TypeVar("ResultT")


async def finish(steps: Steps[ResultT], transport: AsyncTransport, options: CallOptions = NONE) -> ResultT:
    """Run a body to its end, over a transport of asyncio, and return its result; a cancellation goes through it."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await step.take(transport, options)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        result: ResultT = done.value
        return result
