"""What is refused in new content and stays readable where it is stored; pages and lists that stay under 4 MiB."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

import plaudit
import plaudit_server.testing
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub, ListRefsRequest

REF = "weave:///acme/chat/call/1"


@pytest.fixture(scope="module")
def running() -> Any:
    with plaudit_server.testing.server() as running:
        yield running


@pytest.mark.parametrize(
    ("project", "fields", "path"),
    [
        ("acme/chat", {"creator": "a\nb"}, "feedback.creator"),
        ("acme/chat", {"queue_id": "a\x1b"}, "feedback.queue_id"),
        ("acme/chat", {"span_agent_name": "a\x85"}, "feedback.span_agent_name"),
        ("acme /chat", {}, "project"),
        ("acme/ chat", {}, "project"),
        ("acme/ch\tat", {}, "project"),
    ],
)
def test_names_that_look_like_others_are_refused_in_new_content_and_taken_by_an_import(
    running: Any, project: str, fields: dict[str, str], path: str
) -> None:
    client = running.client(project)
    with grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        message = Feedback(ref=REF, feedback_type="t", **fields)  # type: ignore[arg-type]
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=message))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert path in str(caught.value.details())
    stored = running.client("acme/fresh").create({"ref": REF, "feedback_type": "t"})
    record = stored.to_dict() | fields | {"project": project}
    assert client.import_records([record]).stored == 1
    assert client.get(stored.id).id == stored.id
    assert client.purge(ids=[stored.id]) == 1


def test_an_imported_version_is_bounded(running: Any) -> None:
    stored = running.client("acme/fresh").create({"ref": REF, "feedback_type": "t"})
    other, moved = running.client("acme/other"), stored.to_dict() | {"project": "acme/other"}
    with pytest.raises(plaudit.PlauditError, match="version"):
        other.import_records([moved | {"version": 2**31 + 1}])
    assert other.import_records([moved | {"version": 2**31}]).stored == 1
    replaced = other.replace({"id": stored.id, "ref": REF, "feedback_type": "t", "payload": {"a": 1}})
    assert replaced.version == 2**31 + 1


def test_a_list_of_long_refs_stays_under_the_limit_of_a_message(running: Any) -> None:
    client = running.client("acme/refs")
    path = "/".join(["attr/" + "x" * 60] * 29)
    refs = [f"weave:///acme/refs/object/{number:04}:latest/{path}" for number in range(1000)]
    client.create_batch([{"ref": ref, "feedback_type": "t"} for ref in refs])
    with grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        found: list[str] = []
        token, pages = "", 0
        while not pages or token:
            page = stub.ListRefs(ListRefsRequest(project="acme/refs", page_token=token))
            assert page.ByteSize() < 4 * 1024 * 1024
            found += [ref.ref.uri for ref in page.refs]
            token, pages = page.next_page_token, pages + 1
    assert found == refs
    assert pages > 1
