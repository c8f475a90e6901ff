"""Declarations: every method has one, and one that does not fit its method keeps the server from starting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, MethodOptions

from plaudit.v1 import CreateFeedbackRequest, GetFeedbackRequest, GetServerInfoRequest, PurgeFeedbackRequest
from plaudit_server.auth.permission import LOWEST_ROLES, Right
from plaudit_server.feedback.resource import RESOURCE, SERVICE
from plaudit_server.resources import RESOURCES, commands, registry, tables
from plaudit_server.rpc.declare import (
    Bounded,
    Kind,
    ProjectIn,
    Registry,
    Rpc,
    Service,
    Undeclared,
    no_rows,
    one_row,
    rows_in,
)
from plaudit_server.store.engines.memory import MemoryEngine


def changed(method: str, **fields: Any) -> list[Rpc]:
    """The declarations of FeedbackService, one of them with other fields."""
    assert any(rpc.method == method for rpc in SERVICE.rpcs)
    return [replace(rpc, **fields) if rpc.method == method else rpc for rpc in SERVICE.rpcs]


def refused(rpcs: Sequence[Rpc]) -> str:
    with pytest.raises(Undeclared) as caught:
        Service(SERVICE.descriptor, rpcs)
    return str(caught.value)


def test_every_method_of_every_registered_service_is_declared() -> None:
    for resource in RESOURCES:
        for service in resource.services:
            assert {rpc.method for rpc in service.rpcs} == {method.name for method in service.descriptor.methods}
            assert [method.name for rpc, method in service.methods()] == [rpc.method for rpc in service.rpcs]
    for rpc in registry().rpcs.values():
        of_token = rpc.project is ProjectIn.CREDENTIAL
        assert rpc.right is Right.INFO or rpc.right in LOWEST_ROLES or of_token


def test_the_methods_that_say_so_in_the_proto_are_those_that_change_nothing() -> None:
    for rpc, method in (both for resource in RESOURCES for service in resource.services for both in service.methods()):
        says_so = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
        # GET may call these; a stream it may not.
        assert says_so == (rpc.kind in (Kind.POINT, Kind.SCAN) and not rpc.writes), method.full_name


def test_a_method_without_a_declaration_is_named() -> None:
    assert "methods without a declaration: ['GetFeedback']" in refused(
        [rpc for rpc in SERVICE.rpcs if rpc.method != "GetFeedback"]
    )


def test_a_declaration_without_a_method_is_named() -> None:
    assert "declarations of no method: ['TouchFeedback']" in refused(
        [*SERVICE.rpcs, replace(SERVICE.rpcs[0], method="TouchFeedback")]
    )


def test_a_method_that_is_declared_twice_is_named() -> None:
    assert "declared twice: ['CreateFeedback']" in refused([*SERVICE.rpcs, SERVICE.rpcs[0]])


def test_a_field_to_bound_must_be_there() -> None:
    message = refused(changed("GetFeedback", bounded=(Bounded("ids", 5),)))
    assert message == "GetFeedback: plaudit.v1.GetFeedbackRequest has no field ids to bound"


@pytest.mark.parametrize("place", [ProjectIn.FIELD, ProjectIn.FIRST_MESSAGE])
def test_a_project_in_a_field_must_be_there(place: ProjectIn) -> None:
    message = refused(changed("GetServerInfo", project=place))
    assert message == "GetServerInfo: plaudit.v1.GetServerInfoRequest has no field project"


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        *(("GetFeedback", kind) for kind in (Kind.STREAM_READ, Kind.STREAM_WRITE, Kind.WATCH)),
        *(("StreamFeedback", kind) for kind in (Kind.POINT, Kind.SCAN, Kind.WRITE, Kind.STREAM_WRITE)),
        *(("IngestFeedback", kind) for kind in Kind if kind is not Kind.STREAM_WRITE),
    ],
)
def test_a_kind_must_fit_how_requests_and_answers_come(method: str, kind: Kind) -> None:
    assert refused(changed(method, kind=kind)).startswith(f"{method}: ")


def test_what_writes_must_have_a_right_that_is_audited() -> None:
    assert "would keep it out of the audit log" in refused(changed("CreateFeedback", right=Right.READ))


def test_rows_are_counted_in_a_field_that_is_there() -> None:
    message = refused(changed("BatchCreateFeedback", rows=rows_in("feedbacks")))
    assert message.startswith("BatchCreateFeedback: its rows cannot be counted: ")
    assert "feedbacks" in message


@pytest.mark.parametrize(
    ("listed", "what"),
    [(commands, "kind of command of the same name: clear_reaction, create"), (tables, "table of the same name")],
)
def test_two_resources_can_not_have_commands_or_tables_of_one_name(listed: Any, what: str) -> None:
    assert listed(RESOURCES)
    with pytest.raises(Undeclared, match=what):
        listed((*RESOURCES, RESOURCE))


def test_two_services_can_not_have_a_method_of_one_name() -> None:
    with pytest.raises(Undeclared, match="CreateFeedback is a method of two services"):
        Registry([SERVICE, SERVICE])


def test_a_service_may_not_declare_nothing_at_all() -> None:
    """As for a service that a resource registers before its methods have declarations: no server is made of it."""
    file = FileDescriptorProto(name="tests/undeclared.proto", package="undeclared.v1", syntax="proto3")
    request = file.message_type.add(name="Request")
    request.field.add(name="project", number=1, type=FieldDescriptorProto.TYPE_STRING)
    method = file.service.add(name="BareService").method.add(name="DoIt")
    method.input_type = method.output_type = ".undeclared.v1.Request"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    bare = pool.FindFileByName(file.name).services_by_name["BareService"]
    with pytest.raises(Undeclared, match=r"methods without a declaration: \['DoIt'\]"):
        Service(bare, ())


def test_a_declaration_reads_the_project_and_the_rows_of_a_request() -> None:
    rpcs = registry().rpcs
    create = CreateFeedbackRequest(project="acme/chat")
    assert (rpcs["CreateFeedback"].project_of(create), rpcs["CreateFeedback"].rows(create)) == ("acme/chat", 1)
    purge = PurgeFeedbackRequest(ids=["a", "b"])
    assert (rpcs["PurgeFeedback"].project_of(purge), rpcs["PurgeFeedback"].rows(purge)) == ("", 2)
    get = GetFeedbackRequest(project="acme/chat")
    assert (rpcs["GetFeedback"].project_of(get), rpcs["GetFeedback"].rows(get)) == ("acme/chat", 0)
    assert rpcs["GetServerInfo"].project_of(GetServerInfoRequest()) == ""
    assert (no_rows(purge), one_row(purge), rows_in("ids")(purge)) == (0, 1, 2)


def test_these_are_the_hooks_by_which_a_resource_asks_one_above_it() -> None:
    """Each is a protocol that the lower resource declares; there is no other way upwards, as `make lint` checks."""
    store = MemoryEngine()
    hooks = [(resource.name, hook) for resource in RESOURCES for hook in resource.provides(store)]
    assert [(name, hook.__module__, hook.__qualname__) for name, hook in hooks] == [
        ("definitions", "plaudit_server.feedback.judging", "Judge"),
    ]
