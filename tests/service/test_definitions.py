"""Definitions over the wire: versions, places of one record and its other names, dry runs, bad input, cost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CheckDefinitionRequest,
    CheckDefinitionResponse,
    CreateFeedbackRequest,
    Definition,
    DefinitionServiceStub,
    ExistingFeedback,
    Feedback,
    FeedbackServiceStub,
    GetDefinitionRequest,
    GetFeedbackRequest,
    ImportFeedbackRequest,
    IngestFeedbackRequest,
    ListDefinitionsRequest,
    ListFeedbackVersionsRequest,
    PurgeFeedbackRequest,
    PutDefinitionRequest,
    Query,
    ReplaceFeedbackRequest,
    SetReactionRequest,
    WatchFeedbackRequest,
)
from plaudit_server.testing import RunningServer
from tests.conformance.definition_cases import Servers, definition_of, servers
from tests.service.status import Refusal, refusal

NUMERIC: dict[str, Any] = {"numeric": {"min": 0, "max": 1}}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("definitions")
    with servers(f"sqlite:{folder / 'plaudit.db'}", audit_log=str(folder / "audit.log")) as secured:
        yield secured


class Project:
    """A project of its own, and who calls in it."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.name = f"acme/p{uuid7()}"
        self.ref = f"weave:///{self.name}/call/c1"

    def put(self, type: str = "t", user: str = "root", server: int = 0, **fields: Any) -> Definition:
        options = {name: fields.pop(name) for name in ("expected_version", "checked_revision") if name in fields}
        request = PutDefinitionRequest(
            project=self.name, definition=definition_of({"feedback_type": type, **fields}), **options
        )
        return self.servers.definitions[server].PutDefinition(request, metadata=self.auth(user)).definition

    def record(self, value: Any, type: str = "t", **fields: Any) -> Feedback:
        payload = value if isinstance(value, dict) else {"value": value}
        given = {"ref": self.ref, "id": uuid7(), **fields}
        return Feedback(feedback_type=type, payload_json=json.dumps(payload), **given)

    def create(self, record: Feedback, user: str = "alice", server: int = 0) -> Feedback:
        request = CreateFeedbackRequest(project=self.name, feedback=record)
        return self.servers.feedback[server].CreateFeedback(request, metadata=self.auth(user)).feedback

    def replace(self, record: Feedback, user: str = "alice", version: int = 0) -> Feedback:
        request = ReplaceFeedbackRequest(project=self.name, feedback=record, expected_version=version)
        return self.servers.feedback[0].ReplaceFeedback(request, metadata=self.auth(user)).feedback

    def get(self, id: str, version: int = 0) -> Feedback:
        request = GetFeedbackRequest(project=self.name, id=id, version=version)
        return self.servers.feedback[0].GetFeedback(request, metadata=self.auth("alice")).feedback

    def purge(self, *ids: str, user: str = "alice") -> int:
        request = PurgeFeedbackRequest(project=self.name, ids=ids)
        return self.servers.feedback[0].PurgeFeedback(request, metadata=self.auth(user)).purged_count

    def check(self, type: str = "t", **fields: Any) -> CheckDefinitionResponse:
        size = fields.pop("page_size", 0)
        token = fields.pop("page_token", "")
        request = CheckDefinitionRequest(
            project=self.name,
            definition=definition_of({"feedback_type": type, **fields}),
            page_size=size,
            page_token=token,
        )
        return self.servers.definitions[0].CheckDefinition(request, metadata=self.auth("alice"))

    def auth(self, user: str) -> Any:
        return self.servers.bearer(user)


@pytest.fixture
def project(secured: Servers) -> Project:
    return Project(secured)


def value_of(feedback: Feedback) -> Any:
    return json.loads(feedback.payload_json)["value"]


# --- versions


def test_versions_are_kept_and_say_who_made_them_and_from_when(project: Project) -> None:
    first = project.put(**NUMERIC)
    stored = project.create(project.record(0.5))
    second = project.put(user="bob", title="T", **NUMERIC)

    assert (first.version, first.since_revision, first.user_id) == (1, 0, "root")
    assert (second.version, second.since_revision, second.user_id) == (2, stored.revision, "bob")
    assert second.created_at.ToMicroseconds() > first.created_at.ToMicroseconds() > 0
    definitions, auth = project.servers.definitions[1], project.auth("alice")
    for version, wanted in ((0, second), (1, first), (2, second)):
        request = GetDefinitionRequest(project=project.name, feedback_type="t", version=version)
        assert definitions.GetDefinition(request, metadata=auth).definition == wanted
    missing = GetDefinitionRequest(project=project.name, feedback_type="t", version=3)
    assert refusal(lambda: definitions.GetDefinition(missing, metadata=auth)).reason == "DEFINITION_NOT_FOUND"


def test_lists_are_paged_by_type_and_version(project: Project) -> None:
    made = [project.put(type, title=str(n)) for type in ("b", "a", "c") for n in range(2)]
    definitions, auth = project.servers.definitions[0], project.auth("alice")

    def listed(**options: Any) -> list[Definition]:
        found: list[Definition] = []
        request = ListDefinitionsRequest(project=project.name, page_size=2, **options)
        while True:
            page = definitions.ListDefinitions(request, metadata=auth)
            assert page.definitions_version == 6
            assert len(page.definitions) <= 2
            found += page.definitions
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    by_key = sorted(made, key=lambda definition: (definition.feedback_type, definition.version))
    assert listed(all_versions=True) == by_key
    assert listed() == by_key[1::2]
    assert listed(feedback_type="b", all_versions=True) == made[:2]
    assert listed(feedback_type="none") == []


def test_a_retry_of_a_put_is_safe_and_another_expectation_is_not(project: Project) -> None:
    first = project.put(expected_version=0, **NUMERIC)
    assert project.put(expected_version=0, **NUMERIC) == first
    second = project.put(expected_version=1, boolean={})
    assert project.put(expected_version=1, boolean={}) == second
    refused = refusal(lambda: project.put(expected_version=1, text={}))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert refused.metadata["version"] == "2"
    # The content of version 1 again is a new version: what counts is the newest.
    assert project.put(**NUMERIC).version == 3


def test_a_breach_names_the_version_and_stores_nothing(project: Project) -> None:
    project.put(title="1", **NUMERIC)
    project.put(title="2", **NUMERIC)
    record = project.record(7)

    refused = refusal(lambda: project.create(record))

    assert refused.metadata == {"violation_count": "1", "definition_version": "2"}
    assert refused.violations == {"feedback.payload.value": "must be at most 1"}
    assert refusal(lambda: project.get(record.id)).reason == "FEEDBACK_NOT_FOUND"


def test_breaches_of_all_rules_are_reported_together(project: Project) -> None:
    project.put(**NUMERIC)
    bad = project.record(7, ref="no ref")

    assert set(refusal(lambda: project.create(bad)).violations) == {"feedback.ref", "feedback.payload.value"}
    project.create(project.record(1))
    request = BatchCreateFeedbackRequest(project=project.name, feedback=[bad, project.record(9), project.record(1)])
    refused = refusal(lambda: project.servers.feedback[0].BatchCreateFeedback(request, metadata=project.auth("alice")))
    assert list(refused.violations) == [
        "feedback[0].ref",
        "feedback[0].payload.value",
        "feedback[1].payload.value",
    ]


def test_payloads_of_many_values_are_judged_too(project: Project) -> None:
    """They are checked in another process, from which they come undecoded."""
    project.put(**NUMERIC)
    good, bad = (project.record({"value": value, "more": [[]] * 20_000}) for value in (1, 7))

    refused = refusal(lambda: project.create(bad))
    assert refused.violations == {"feedback.payload.value": "must be at most 1"}
    batch = BatchCreateFeedbackRequest(project=project.name, feedback=[good, bad])
    refused = refusal(lambda: project.servers.feedback[0].BatchCreateFeedback(batch, metadata=project.auth("alice")))
    assert list(refused.violations) == ["feedback[1].payload.value"]
    assert value_of(project.create(good)) == 1


def test_an_atomic_batch_with_a_breach_stores_nothing(project: Project) -> None:
    project.put(**NUMERIC)
    records = [project.record(0), project.record(2), project.record(1), project.record(3)]
    request = BatchCreateFeedbackRequest(project=project.name, feedback=records)

    refused = refusal(lambda: project.servers.feedback[0].BatchCreateFeedback(request, metadata=project.auth("alice")))

    assert list(refused.violations) == ["feedback[1].payload.value", "feedback[3].payload.value"]
    assert refusal(lambda: project.get(records[0].id)).reason == "FEEDBACK_NOT_FOUND"


def test_streams_are_checked(project: Project) -> None:
    project.put(**NUMERIC)
    records = [project.record(0.5), project.record(5)]
    stub = project.servers.feedback[0]
    ingest = IngestFeedbackRequest(project=project.name, feedback=records)

    [answer] = stub.IngestFeedback(iter([ingest]), metadata=project.auth("alice"))

    assert (answer.stored_count, [item.index for item in answer.rejected]) == (1, [1])
    moved = project.record(5)
    moved.created_at.FromSeconds(1_700_000_000)
    request = ImportFeedbackRequest(project=project.name, feedback=[moved])
    [imported] = stub.ImportFeedback(iter([request]), metadata=project.auth("root"))
    assert imported.stored_count == 0
    request.skip_definitions = True
    [imported] = stub.ImportFeedback(iter([request]), metadata=project.auth("root"))
    assert imported.stored_count == 1
    assert value_of(project.get(moved.id)) == 5


def test_a_closed_type_takes_no_record_and_no_replace(project: Project) -> None:
    stored = project.create(project.record(1))
    project.put(state="CLOSED", **NUMERIC)

    assert list(refusal(lambda: project.create(project.record(1))).violations) == ["feedback.feedback_type"]
    again = project.record(0, id=stored.id)
    assert list(refusal(lambda: project.replace(again)).violations) == ["feedback.feedback_type"]
    assert project.replace(project.record(1, id=stored.id)) == stored, "equal content changes nothing"
    assert project.purge(stored.id) == 1


def test_writers_hold_for_a_replace_too(project: Project) -> None:
    stored = project.create(project.record(1), user="judge-1")
    project.put(writers=["judge-*"], **NUMERIC)

    refused = refusal(lambda: project.replace(project.record(0, id=stored.id), user="alice"))

    assert (refused.code, refused.metadata["right"]) == (grpc.StatusCode.PERMISSION_DENIED, "write t")
    assert project.replace(project.record(0, id=stored.id), user="judge-2").version == 2


def test_a_change_by_another_server_holds_at_once(project: Project) -> None:
    for number in range(20):
        rule: dict[str, Any] = {"boolean": {}} if number % 2 else NUMERIC
        project.put(server=number % 2, title=str(number), **rule)
        good, bad = (True, 0.5) if number % 2 else (0.5, True)
        assert project.create(project.record(good), server=1 - number % 2).version == 1
        assert refusal(partial(project.create, project.record(bad), server=1 - number % 2)).violations


# --- places of one record


def unique(project: Project, on_repeat: str = "REPLACE", **by: bool) -> None:
    project.put(unique={**(by or {"by_rater": True}), "on_repeat": on_repeat}, **NUMERIC)


def test_the_last_one_counts_and_the_record_keeps_its_id(project: Project) -> None:
    unique(project)
    first = project.create(project.record(0.1))
    second, third = project.record(0.2), project.record(0.3)

    changed = project.create(second)
    again = project.create(third)

    assert (changed.id, changed.version, value_of(changed)) == (first.id, 2, 0.2)
    assert changed.created_at == first.created_at
    assert (again.id, again.version) == (first.id, 3)
    for id in (first.id, second.id, third.id):
        assert project.get(id) == again
    assert project.get(second.id, version=1) == first
    stub, auth = project.servers.feedback[0], project.auth("alice")
    for id in (first.id, third.id):
        request = ListFeedbackVersionsRequest(project=project.name, id=id)
        assert [value_of(row) for row in stub.ListFeedbackVersions(request, metadata=auth).versions] == [0.1, 0.2, 0.3]


def test_retries_are_safe_in_any_order(project: Project) -> None:
    unique(project)
    records = [project.record(value) for value in (0.1, 0.2, 0.3, 0.2)]
    for record in records:
        now = project.create(record)

    for record in (*records, *reversed(records)):
        assert project.create(record) == now
    changed = project.record(0.9, id=records[1].id)
    assert refusal(lambda: project.create(changed)).reason == "FEEDBACK_EXISTS"


def test_a_repeat_with_equal_content_changes_nothing(project: Project) -> None:
    unique(project)
    first, second = project.create(project.record(0.1)), project.record(0.1)

    assert project.create(second) == first
    project.create(project.record(0.2))
    assert project.create(second).version == 2


def test_a_watch_sees_a_repeat_as_a_replace(project: Project) -> None:
    unique(project)
    project.create(project.record(0.1))
    project.create(project.record(0.2))
    request = WatchFeedbackRequest(project=project.name, after_revision=0)
    stream = project.servers.feedback[0].WatchFeedback(request, metadata=project.auth("alice"))
    kinds: list[int] = []
    for message in stream:
        kinds += [change.kind for change in message.changes]
        if message.revision == 2:
            break
    stream.cancel()
    # Version 1 is in the history, and is seen as what made it.
    assert kinds == [1, 2]


def test_other_names_work_for_replace_and_purge_and_are_never_used_again(project: Project) -> None:
    unique(project)
    first, second = project.create(project.record(0.1)), project.record(0.2)
    project.create(second)

    replaced = project.replace(project.record(0.7, id=second.id), version=2)
    assert (replaced.id, replaced.version, value_of(replaced)) == (first.id, 3, 0.7)
    assert project.purge(second.id, first.id) == 1
    for record in (first, second):
        refused = refusal(partial(project.create, project.record(0.1, id=record.id)))
        assert refused.reason == "FEEDBACK_PURGED"
        assert refusal(partial(project.get, record.id)).reason == "FEEDBACK_NOT_FOUND"
    assert project.create(project.record(0.5)).version == 1, "a purge frees the place"


def test_a_batch_may_repeat_itself(project: Project) -> None:
    unique(project)
    records = [project.record(value) for value in (0.1, 0.2, 0.3)]
    request = BatchCreateFeedbackRequest(project=project.name, feedback=[*records, records[0]])
    stub, auth = project.servers.feedback[0], project.auth("alice")

    results = stub.BatchCreateFeedback(request, metadata=auth).results

    assert {result.feedback.id for result in results} == {records[0].id}
    assert [result.feedback.version for result in results] == [1, 2, 3, 3]
    assert project.get(records[1].id).version == 3
    versions = stub.ListFeedbackVersions(
        ListFeedbackVersionsRequest(project=project.name, id=records[0].id), metadata=auth
    ).versions
    assert [(row.version, row.revision) for row in versions] == [(1, 1), (2, 2), (3, 3)]


def test_an_atomic_batch_that_is_refused_takes_no_place(project: Project) -> None:
    unique(project)
    there = project.create(project.record(0.1))
    taken = project.record(0.9, id=project.create(project.record(1, "other")).id)
    request = BatchCreateFeedbackRequest(
        project=project.name, feedback=[project.record(0.2), project.record(0.3, ref="urn:2"), taken]
    )
    stub, auth = project.servers.feedback[0], project.auth("alice")

    assert refusal(lambda: stub.BatchCreateFeedback(request, metadata=auth)).reason == "FEEDBACK_EXISTS"
    assert project.get(there.id) == there
    assert refusal(lambda: project.get(request.feedback[0].id)).reason == "FEEDBACK_NOT_FOUND"
    again = project.create(project.record(0.4))
    assert (again.id, again.version, again.revision) == (there.id, 2, 3)


def test_an_import_never_replaces_and_yields_where_it_may(project: Project) -> None:
    unique(project)
    project.create(project.record(0.1))
    moved = project.record(0.2, user_id="alice")
    moved.created_at.FromSeconds(1_700_000_000)
    stub = project.servers.feedback[0]
    request = ImportFeedbackRequest(project=project.name, feedback=[moved])

    [answer] = stub.ImportFeedback(iter([request]), metadata=project.auth("root"))
    assert answer.stored_count == 0
    assert answer.rejected[0].status.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    request.skip_definitions = True
    [answer] = stub.ImportFeedback(iter([request]), metadata=project.auth("root"))
    assert answer.stored_count == 1
    assert project.create(project.record(0.3)).version == 2, "the first one still holds the place"


def test_an_import_that_updates_is_judged_as_a_replace(project: Project) -> None:
    unique(project, "REFUSE", by_rater=True, by_creator=True)
    stub = project.servers.feedback[0]

    def given(id: str, value: object, day: int, creator: str) -> Feedback:
        item = project.record(value, id=id, user_id="alice", creator=creator)
        item.created_at.FromJsonString("2020-02-01T00:00:00Z")
        item.updated_at.FromJsonString(f"2021-02-{day:02}T00:00:00Z")
        return item

    def imported(*items: Feedback, skip: bool = False) -> list[int]:
        update = ExistingFeedback.EXISTING_FEEDBACK_UPDATE
        request = ImportFeedbackRequest(project=project.name, feedback=items, existing=update, skip_definitions=skip)
        [answer] = stub.ImportFeedback(iter([request]), metadata=project.auth("root"))
        refused = [item.status.code for item in answer.rejected]
        return [answer.created_count, answer.updated_count, answer.kept_count, *refused]

    a, b, c = (f"00000000-0000-7000-8000-00000000000{n}" for n in (1, 2, 3))
    invalid, exists = (code.value[0] for code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ALREADY_EXISTS))
    assert imported(given(a, 0.1, 1, "x"), given(b, 0.2, 1, "y")) == [2, 0, 0]
    # What breaks its definition is refused, but not where nothing would be written.
    assert imported(given(a, 7, 2, "x"), given(b, 7, 1, "y")) == [0, 0, 1, invalid]
    # Another's place, and one that a record of the same batch has left.
    assert imported(given(a, 0.3, 2, "y"), given(a, 0.3, 2, "z"), given(b, 0.3, 2, "x")) == [0, 2, 0, exists]
    # Round about: each takes the place that the one before it left, and the last one the first one's.
    assert imported(given(a, 0.4, 3, "w"), given(b, 0.4, 3, "z"), given(a, 0.4, 4, "x")) == [0, 3, 0]
    assert imported(given(c, 0.4, 4, "z")) == [0, 0, 0, exists]
    assert imported(given(a, 7, 5, "z"), skip=True) == [0, 1, 0]
    assert imported(given(c, 0.4, 4, "x")) == [1, 0, 0], "its holder went on without a place"


def test_a_replace_takes_its_place_along(project: Project) -> None:
    unique(project, "REFUSE")
    stored = project.create(project.record(0.1))
    elsewhere = f"weave:///{project.name}/call/c2"

    project.replace(project.record(0.1, id=stored.id, ref=elsewhere))

    assert project.create(project.record(0.2)).version == 1, "the place that it left is free"
    refused = refusal(lambda: project.create(project.record(0.3, ref=elsewhere)))
    assert (refused.reason, refused.metadata["id"]) == ("FEEDBACK_NOT_UNIQUE", stored.id)


# --- dry runs


def test_a_check_counts_what_breaks_page_by_page(project: Project) -> None:
    for value in (0.5, 5, "x", None, 0.25, 7):
        project.create(project.record(value))
    project.create(project.record(9, "other"))

    whole = project.check(**NUMERIC)
    assert (whole.checked_count, whole.breaking_count, whole.revision) == (6, 4, 7)
    most = whole.breakages[0]
    assert (most.path, most.description, most.count) == ("payload.value", "must be at most 1", 2)
    counted, token, pages = 0, "", 0
    while pages == 0 or token:
        page = project.check(page_size=4, page_token=token, **NUMERIC)
        counted, token, pages = counted + page.checked_count, page.next_page_token, pages + 1
        assert page.revision == 7
    assert (counted, pages) == (6, 2)
    assert project.put(**NUMERIC).version == 1, "without checked_revision nothing stored matters"
    assert project.check().breaking_count == 4, "the type alone: what is in force"
    assert project.check("*", **NUMERIC).breaking_count == 1, "of types that have none of their own"


def test_a_check_reports_repeats(project: Project) -> None:
    for _ in range(3):
        project.create(project.record(0.5))
    project.create(project.record(0.5), user="bob")

    assert project.check(unique={"by_rater": True}, **NUMERIC).repeated_count == 1
    assert project.check(unique={"by_rater": True, "by_value": True}, **NUMERIC).repeated_count == 1
    assert project.check(**NUMERIC).repeated_count == 0


def test_a_put_looks_at_what_was_stored_since_the_check(project: Project) -> None:
    project.create(project.record(5))
    checked = project.check(**NUMERIC)
    bad = project.create(project.record(7))

    refused = refusal(lambda: project.put(checked_revision=checked.revision, **NUMERIC))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DEFINITION_BREAKS_STORED")
    assert (refused.metadata["count"], refused.metadata["id"]) == ("1", bad.id)
    project.purge(bad.id)
    assert project.put(checked_revision=checked.revision, **NUMERIC).version == 1


def test_a_put_after_too_much_was_stored_is_to_be_checked_again(project: Project) -> None:
    request = BatchCreateFeedbackRequest(project=project.name, feedback=[project.record(1) for _ in range(501)])
    project.servers.feedback[0].BatchCreateFeedback(request, metadata=project.auth("alice"))

    refused = refusal(lambda: project.put(checked_revision=0, **NUMERIC))
    assert (refused.code, refused.metadata["revision"]) == (grpc.StatusCode.ABORTED, "501")
    assert project.put(checked_revision=1, **NUMERIC).version == 1


def test_a_spec_always_asks_the_same(project: Project) -> None:
    tone, spec, other = "wandb.annotation.tone", *(f"weave:///{project.name}/object/tone:{d}" for d in ("d1", "d2"))
    project.put(tone, annotation_ref=spec, **NUMERIC)
    project.put(tone, annotation_ref=other, boolean={})

    refused = refusal(lambda: project.put(tone, annotation_ref=spec, boolean={}))
    assert list(refused.violations) == ["definition.annotation_ref"]
    assert project.put(tone, annotation_ref=spec, title="Tone", state="CLOSED", **NUMERIC).version == 3


# --- bad input, and what it costs


@pytest.mark.parametrize(
    ("call", "request_of", "field"),
    [
        ("PutDefinition", lambda p: PutDefinitionRequest(project=p), "definition.feedback_type"),
        (
            "PutDefinition",
            lambda p: PutDefinitionRequest(project=p, definition=Definition(feedback_type="t"), expected_version=-1),
            "expected_version",
        ),
        (
            "PutDefinition",
            lambda p: PutDefinitionRequest(project=p, definition=Definition(feedback_type="t"), checked_revision=-1),
            "checked_revision",
        ),
        ("GetDefinition", lambda p: GetDefinitionRequest(project=p), "feedback_type"),
        ("GetDefinition", lambda p: GetDefinitionRequest(project=p, feedback_type="t", version=-1), "version"),
        ("GetDefinition", lambda p: GetDefinitionRequest(project=p, feedback_type="\0"), "feedback_type"),
        ("ListDefinitions", lambda p: ListDefinitionsRequest(project=p, page_size=-1), "page_size"),
        ("ListDefinitions", lambda p: ListDefinitionsRequest(project=p, feedback_type="\0"), "feedback_type"),
        ("CheckDefinition", lambda p: CheckDefinitionRequest(project=p, page_size=-1), "page_size"),
        ("CheckDefinition", lambda p: CheckDefinitionRequest(project=p), "definition.feedback_type"),
        (
            "CheckDefinition",
            lambda p: CheckDefinitionRequest(project=p, definition=Definition(feedback_type="t"), query=Query()),
            "query.expr",
        ),
    ],
)
def test_bad_requests(project: Project, call: str, request_of: Any, field: str) -> None:
    method = getattr(project.servers.definitions[0], call)
    refused = refusal(lambda: method(request_of(project.name), metadata=project.auth("root")))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert any(name.startswith(field) for name in refused.violations), refused.violations


def test_a_foreign_token_is_refused(project: Project) -> None:
    for number in range(3):
        project.put(f"t{number}")
    definitions, auth = project.servers.definitions[0], project.auth("root")
    token = definitions.ListDefinitions(
        ListDefinitionsRequest(project=project.name, page_size=1), metadata=auth
    ).next_page_token
    for other in (
        ListDefinitionsRequest(project=project.name, page_token=token, all_versions=True),
        ListDefinitionsRequest(project="acme/other", page_token=token),
    ):
        assert refusal(partial(definitions.ListDefinitions, other, metadata=auth)).reason == ("INVALID_PAGE_TOKEN")


MANY = {"items": {"anyOf": [{"const": f"v{number}"} for number in range(900)]}}


def test_the_slowest_values_cost_no_more_than_they_may(project: Project) -> None:
    """With every error collected one of these takes 4 s and more; each request here may cost 0.1 s."""
    project.put(json_schema={"schema": {"anyOf": [MANY, {"type": "string"}]}})
    bad = {"value": ["x"] * 900}
    started = time.process_time()
    assert list(refusal(lambda: project.create(project.record(bad))).violations) == ["feedback.payload.value"]
    stub, auth = project.servers.feedback[0], project.auth("alice")
    batch = BatchCreateFeedbackRequest(project=project.name, feedback=[project.record(bad) for _ in range(600)])
    assert refusal(lambda: stub.BatchCreateFeedback(batch, metadata=auth)).reason == "VALIDATION_TOO_EXPENSIVE"
    small = {"value": ["x"] * 5}
    batch = BatchCreateFeedbackRequest(
        project=project.name, feedback=[project.record(small) for _ in range(1_000)], partial=True
    )
    results = stub.BatchCreateFeedback(batch, metadata=auth).results
    assert not any(result.HasField("feedback") for result in results)
    assert time.process_time() - started < 3


def test_an_import_past_definitions_is_in_the_audit_log(project: Project) -> None:
    moved = project.record(5)
    moved.created_at.FromSeconds(1_700_000_000)
    request = ImportFeedbackRequest(project=project.name, feedback=[moved], skip_definitions=True)
    request.existing = ExistingFeedback.EXISTING_FEEDBACK_KEEP
    list(project.servers.feedback[0].ImportFeedback(iter([request]), metadata=project.auth("root")))
    project.put(**NUMERIC)
    lines: list[Any] = []
    while len(lines) < 2:  # a thread writes them; pytest's timeout bounds the wait
        time.sleep(0.01)
        # Two servers of one process share the logger, so that each line is there twice.
        written = dict.fromkeys(Path(project.servers.audit_log).read_text("utf-8").splitlines())
        lines = [line for line in map(json.loads, written) if line["project"] == project.name]
    assert [(line["rpc"], line.get("skip_definitions"), line.get("existing")) for line in lines] == [
        ("ImportFeedback", True, "KEEP"),
        ("PutDefinition", None, None),
    ]


def test_without_authentication_everybody_is_one_rater(running: RunningServer) -> None:
    with grpc.insecure_channel(running.target) as channel:
        definitions, feedback = DefinitionServiceStub(channel), FeedbackServiceStub(channel)
        definition = definition_of({"feedback_type": "once", "unique": {"by_rater": True}})
        definitions.PutDefinition(PutDefinitionRequest(project="acme/open", definition=definition))
        record = Feedback(ref="urn:x", feedback_type="once")
        feedback.CreateFeedback(CreateFeedbackRequest(project="acme/open", feedback=record))
        request = CreateFeedbackRequest(project="acme/open", feedback=record)
        with pytest.raises(grpc.RpcError) as caught:
            feedback.CreateFeedback(request)
        assert Refusal(caught.value).reason == "FEEDBACK_NOT_UNIQUE"


# --- other ways to write


def test_a_reaction_that_is_set_is_held_to_definitions(project: Project) -> None:
    stub, auth = project.servers.feedback[1], project.auth("alice")
    request = SetReactionRequest(project=project.name, ref=project.ref, emoji="👍", reacted=True)
    project.put("wandb.reaction.1", unique={"by_rater": True, "by_value": True, "on_repeat": "REPLACE"})
    first = stub.SetReaction(request, metadata=auth)
    assert first.changed
    assert not stub.SetReaction(request, metadata=auth).changed
    project.put("wandb.reaction.1", state="CLOSED")
    request.emoji = "🎉"
    assert list(refusal(lambda: stub.SetReaction(request, metadata=auth)).violations) == ["feedback.feedback_type"]
    request.emoji, request.reacted = "👍", False
    assert stub.SetReaction(request, metadata=auth).changed, "clearing it goes on"


def test_the_owner_holds_the_place_whoever_writes(project: Project) -> None:
    unique(project)
    first = project.create(project.record(0.1), user="alice")

    replaced = project.replace(project.record(0.2, id=first.id), user="bob")
    assert (replaced.user_id, replaced.owner) == ("bob", "alice")
    mine = project.create(project.record(0.3), user="bob")
    assert mine.version == 1, "bob has none of his own yet"
    again = project.create(project.record(0.4), user="alice")
    assert (again.id, again.version, again.user_id, again.owner) == (first.id, 3, "alice", "alice")
