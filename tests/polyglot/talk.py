"""Talks to a server through the installed wheel: run by itself, in environments that have nothing else."""

from __future__ import annotations

import sys

import google.protobuf
import grpc

import plaudit
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub


def main(target: str, project: str) -> None:
    """Store and find feedback by the classes and by the stubs; print what this ran on."""
    ref = f"weave:///{project}/call/1"
    with plaudit.Client(project, target=target) as client:
        found = client.ref(ref)
        found.add_reaction("👍")
        found.add("correctness", {"score": 9_007_199_254_740_993})
        assert [item.payload.get("score") for item in found] == [None, 9_007_199_254_740_993]
        assert len(client.get_feedback(plaudit.field("payload.score") > 0.5)) == 1
        assert _fields_refused(found) == ["feedback.payload.note"]
    with grpc.insecure_channel(target) as channel:
        record = Feedback(id=uuid7(), ref=ref, feedback_type="stars", payload_json='{"stars": 5}')
        request = CreateFeedbackRequest(project=project, feedback=record)
        assert FeedbackServiceStub(channel).CreateFeedback(request).feedback.revision == 3
    print("%d.%d" % sys.version_info[:2], grpc.__version__, google.protobuf.__version__)  # noqa: UP031


def _fields_refused(found: plaudit.RefFeedbackQuery) -> list[str]:
    """What is wrong with an empty note."""
    try:
        found.add_note("")
    except plaudit.InvalidArgumentError as error:
        return [violation.field for violation in error.violations]
    raise AssertionError("an empty note was stored")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
