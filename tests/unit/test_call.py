"""What a call's metadata gives, where it is usable."""

from __future__ import annotations

from typing import Any

import pytest

from plaudit.v1 import IngestFeedbackRequest
from plaudit_server.auth.permission import Right
from plaudit_server.auth.principals import Principal
from plaudit_server.errors import InvalidFields, PermissionDenied, Violation
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.declare import Kind, ProjectIn, Rpc, rows_in

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


class Context:
    def __init__(self, **metadata: str | bytes) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Any:
        return tuple((key.replace("_", "-"), value) for key, value in self._metadata.items())


def call(**metadata: str | bytes) -> Call:
    context: Any = Context(**metadata)
    return Call("GetFeedback", context)


@pytest.mark.parametrize("given", ["a", "x" * 64, "one two", "{}"])
def test_a_usable_request_id_is_kept(given: str) -> None:
    assert call(other="1", x_request_id=given).request_id == given


@pytest.mark.parametrize("given", ["", "x" * 65, "é", "a\nb", "a\x7f", b"bytes"])
def test_any_other_is_replaced_by_one_of_ours(given: str | bytes) -> None:
    made = [call(x_request_id=given) for _ in range(2)]
    ids = {one.request_id for one in made} | {one.request_id for one in made}
    assert len(ids) == 2
    assert all(len(id) == 32 and int(id, 16) >= 0 for id in ids)


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f"00-{TRACE}-{SPAN}-00", TRACE),
        (f"cc-{TRACE}-{SPAN}-01-more", TRACE),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{SPAN}-01", ""),
        (f"00-{TRACE[1:]}-{SPAN}-01", ""),
        (f"00-{TRACE}-{SPAN}-01\n", ""),
        ("", ""),
        (b"\xff", ""),
    ],
)
def test_the_trace_is_that_of_a_valid_traceparent(given: str | bytes, trace: str) -> None:
    assert call(traceparent=given).trace_id == trace
    assert call().trace_id == ""


def ingesting(place: ProjectIn, principal: Principal | None = None) -> Call:
    """A call of a method whose requests have a field `project`, which may not count."""
    rpc = Rpc(
        method="IngestFeedback", right=Right.CREATE, project=place, rows=rows_in("feedback"), kind=Kind.STREAM_WRITE
    )
    context: Any = Context()
    return Call(rpc.method, context, rpc, principal=principal or Principal("ada"))


def request(project: str) -> IngestFeedbackRequest:
    return IngestFeedbackRequest(project=project)


def test_a_project_in_a_field_is_that_of_each_request() -> None:
    stream = ingesting(ProjectIn.FIELD)
    assert [stream.project_of(request(name)) for name in ("acme/a", "", "acme/b")] == ["acme/a", "", "acme/b"]


def test_the_project_of_the_first_request_holds_for_all_and_no_other_may_be_named() -> None:
    stream = ingesting(ProjectIn.FIRST_MESSAGE)
    assert [stream.project_of(request(name)) for name in ("acme/a", "", "acme/a")] == ["acme/a"] * 3
    with pytest.raises(InvalidFields) as refused:
        stream.project_of(request("acme/b"))
    assert refused.value.violations == (
        Violation("project", "must be empty or the project of the stream's first request"),
    )
    unnamed = ingesting(ProjectIn.FIRST_MESSAGE)
    assert unnamed.project_of(request("")) == ""
    with pytest.raises(InvalidFields):
        unnamed.project_of(request("acme/a"))


def test_the_project_of_a_credential_holds_whatever_a_request_names() -> None:
    bound = ingesting(ProjectIn.CREDENTIAL, Principal("page", project="acme/a"))
    assert bound.project_of(request("acme/b")) == "acme/a"
    with pytest.raises(PermissionDenied) as refused:
        ingesting(ProjectIn.CREDENTIAL).project_of(request("acme/a"))
    assert (refused.value.project, refused.value.right) == ("", Right.CREATE)


def test_a_method_that_is_about_no_project_has_none() -> None:
    assert ingesting(ProjectIn.NONE).project_of(request("acme/a")) == ""
