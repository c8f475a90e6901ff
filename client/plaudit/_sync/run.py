"""How the blocking client runs a body of steps."""

from __future__ import annotations

from typing import TypeVar

from plaudit._core.options import NONE, CallOptions
from plaudit._steps.step import Steps
from plaudit._wire.transport import Transport

ResultT = TypeVar("ResultT")


def finish(steps: Steps[ResultT], transport: Transport, options: CallOptions = NONE) -> ResultT:
    """Run a body to its end, over a transport that blocks, and return its result."""
    try:
        step = next(steps)
        while True:
            try:
                answer = step.take(transport, options)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        result: ResultT = done.value
        return result
