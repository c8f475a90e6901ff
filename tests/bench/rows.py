"""The records that are measured: a judge's score with its reason, about a call; and stores full of them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, Feedback
from plaudit_server.errors import Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.records import Record, content_of, seal

PROJECT = "bench/rows"
PROJECTS = tuple(f"bench/project-{number}" for number in range(4))
TYPE = "correctness"
_SENTENCE = (
    "the answer names the right cause but leaves out when it happened and cites no line of the source that a reader"
    " could look up; its tone is calm and its length fits the question"
)


def feedback(number: int, *, id: str = "", ref: str = "", feedback_type: str = TYPE) -> Feedback:
    """A record to store, about 350 bytes; the same number gives the same content."""
    chance, words = random.Random(number), _SENTENCE.split()
    reason = " ".join(chance.choices(words, k=16))
    score = round(chance.random(), 4)
    return Feedback(
        id=id,
        ref=ref or f"weave:///{PROJECT}/call/{number % 1000:08d}",
        feedback_type=feedback_type,
        creator=f"judge-{number % 20}",
        payload_json=f'{{"score":{score},"reason":"{reason}","model":"judge-large-2","turn":{number % 7}}}',
    )


def create_request(project: str = PROJECT) -> bytes:
    """A create whose id the server makes, so that it may be sent again and again."""
    return CreateFeedbackRequest(project=project, feedback=feedback(1)).SerializeToString()


def record(message: Feedback) -> Record:
    """A message as validation hands it to the store."""
    out: list[Violation] = []
    made = rules.new_record(message, PROJECT, "anonymous", out)
    assert made is not None, out
    return made


def stored_rows(count: int, first_revision: int) -> Iterator[tuple[object, ...]]:
    """Rows as the store writes them, in the order of its columns."""
    for revision in range(first_revision, first_revision + count):
        item = record(feedback(revision, id=uuid7()))
        time = 1_700_000_000_000_000 + revision
        row = seal(item.body, item.payload.encode(), time, time, 1, revision, "anonymous")
        yield (
            PROJECT,
            item.id,
            revision,
            1,
            1,
            time,
            time,
            *content_of(item),
            row.head,
            item.payload,
            None,
            "anonymous",
        )
