"""The client against a real server: what the fakes only claim."""

from __future__ import annotations

from typing import Any

import pytest

import plaudit
from plaudit._transport import Method
from plaudit.uuid7 import uuid7
from plaudit_server.testing import RunningServer


class Counted:
    """A transport that counts the calls of another."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.names: list[str] = []

    def unary(self, method: Method[Any, Any], request: Any) -> Any:
        self.names.append(method.name)
        return self.inner.unary(method, request)

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def client(running: RunningServer) -> plaudit.Client:
    client = running.client()
    client.transport = Counted(client.transport)
    return client


@pytest.fixture
def ref(client: plaudit.Client) -> plaudit.RefFeedbackQuery:
    """A ref of its own for each test."""
    return client.ref(f"weave:///acme/chat/call/{uuid7()}")


def calls(client: plaudit.Client) -> list[str]:
    assert isinstance(client.transport, Counted)
    names, client.transport.names = client.transport.names, []
    return names


def test_refresh_is_one_small_call_until_something_is_stored(
    client: plaudit.Client, ref: plaudit.RefFeedbackQuery
) -> None:
    ref.add_note("a")
    first = ref.execute()
    calls(client)

    assert ref.refresh() == first
    assert calls(client) == ["QueryFeedback"]

    client.ref(ref.ref).add_note("b")
    calls(client)
    assert [row.payload["note"] for row in ref.refresh()] == ["a", "b"]
    assert calls(client) == ["QueryFeedback", "QueryFeedback"]


def test_what_the_server_refuses_is_told_with_its_paths(ref: plaudit.RefFeedbackQuery) -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        ref.add_note("x" * 10_001)

    assert raised.value.reason == "INVALID_FIELD"
    assert [violation.field for violation in raised.value.violations] == ["feedback.payload.note"]
    assert raised.value.request_id


def test_stored_record_may_be_stored_again(client: plaudit.Client, ref: plaudit.RefFeedbackQuery) -> None:
    stored = client.create({"ref": ref.ref, "feedback_type": "t", "payload": {"z": 1, "a": 2**53 + 1}})

    assert client.create(stored.to_dict()) == stored
    assert list(ref) == [stored]


def test_batch_over_several_requests_and_back(client: plaudit.Client, ref: plaudit.RefFeedbackQuery) -> None:
    stored = client.create_batch(
        {"ref": ref.ref, "feedback_type": "t", "payload": {"text": "é" * 3000, "n": number}} for number in range(1200)
    )

    assert calls(client) == ["BatchCreateFeedback"] * 3
    assert [row.payload["n"] for row in stored] == list(range(1200))
    assert list(ref) == stored
    assert client.purge(query=plaudit.field("ref") == ref.ref) == 1200
    assert not ref.refresh()


def test_partial_batch_keeps_the_good_ones(client: plaudit.Client, ref: plaudit.RefFeedbackQuery) -> None:
    good, bad = {"ref": ref.ref, "feedback_type": "t"}, {"ref": "no uri", "feedback_type": "t"}

    first, second, third = client.create_batch([good, bad, good], partial=True)

    assert isinstance(second, plaudit.InvalidArgumentError)
    assert list(ref) == [first, third]
