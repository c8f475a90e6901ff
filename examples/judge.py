"""A judge that pays for each answer, over many calls: stop it at any time and run it again, nothing is paid for twice.

Beside `make run`: `python examples/judge.py 50000`, Ctrl-C, and the same again. Three things make it safe:

- what is judged already is asked first, and not judged again;
- Ctrl-C, and an error of the model, stop before the next answer is bought, and what was bought is stored;
- `key` derives each record's id, so that a record which is sent twice is stored once.
"""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import FrameType

import plaudit

JUDGE = "judge-7"
AT_A_TIME = 16

Model = Callable[[str], float]
"""What scores the answer that a ref names, from 0 to 1. Each call costs money."""


def a_model(ref: str) -> float:
    """Stands for the call of a language model."""
    return len(ref) % 10 / 10


def calls(number: int) -> list[str]:
    """The refs of the calls to judge; yours come from your traces."""
    return [f"weave:///acme/chat/call/{n}" for n in range(number)]


class Stop:
    """Whether somebody has pressed Ctrl-C, or the process is to end, while the `with` block runs."""

    def __init__(self) -> None:
        self.is_asked = False

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def judgements(refs: Iterable[str], model: Model, stop: Stop) -> Iterator[plaudit.FeedbackRecord]:
    """A record for each ref; some answers are bought at the same time.

    None is bought once a stop is asked for, or the model has failed; those that are on their way are still stored.
    """
    left = iter(refs)
    failure: Exception | None = None
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        bought = deque((ref, pool.submit(model, ref)) for ref in islice(left, AT_A_TIME))
        while bought:
            ref, answer = bought.popleft()
            try:
                score = answer.result()
            except Exception as error:
                failure = error
            else:
                yield {"ref": ref, "feedback_type": "correctness", "creator": JUDGE, "payload": {"score": score}}
            if not stop.is_asked and failure is None:
                bought.extend((ref, pool.submit(model, ref)) for ref in islice(left, 1))
    if failure is not None:
        raise failure


def judge(client: plaudit.Client, refs: Iterable[str], model: Model) -> bool:
    """Judge what is not judged yet; whether all of it is now. Raises what the model raises, with what is stored."""
    mine = (plaudit.field("feedback_type") == "correctness") & (plaudit.field("creator") == JUDGE)
    judged = set(client.refs(mine))
    todo = [ref for ref in refs if ref not in judged]
    with Stop() as stop:
        done = client.ingest(
            judgements(todo, model, stop), key=("ref", "feedback_type", "creator"), progress=sys.stderr.isatty()
        )
    print(f"{len(judged)} were judged before, {done.stored} now, {len(todo) - done.stored} are left")
    return done.stored == len(todo)


def main() -> None:
    """Judge as many calls as the argument says."""
    with plaudit.Client("acme/chat") as client:
        sys.exit(0 if judge(client, calls(int(sys.argv[1])), a_model) else 130)


if __name__ == "__main__":
    main()
