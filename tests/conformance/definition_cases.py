"""Runs the worked cases of definitions on real servers: each in a project of its own, its users as principals."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

import plaudit_server.testing
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CheckDefinitionRequest,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Definition,
    DefinitionServiceStub,
    Feedback,
    FeedbackServiceStub,
    GetFeedbackRequest,
    ImportFeedbackRequest,
    IngestFeedbackRequest,
    ListDefinitionsRequest,
    PurgeFeedbackRequest,
    PutDefinitionRequest,
    QueryFeedbackRequest,
    ReplaceFeedbackRequest,
)
from plaudit_server.auth.keys import new_key
from plaudit_server.auth.keystore import StoredKeys
from plaudit_server.config import Auth, Config
from plaudit_server.config.grants import Role
from plaudit_server.store.base import SqlEngine
from plaudit_server.store.url import open_store
from tests.service.status import Refusal

REF = "weave:///acme/chat/call/c1"
NUMERIC = {"numeric": {"min": 0, "max": 1}}


def uuid_of(name: str) -> str:
    return f"00000000-0000-7000-8000-{int(name[1:]):012x}"


def name_of(id: str) -> str:
    return f"f{int(id[24:], 16)}"


def definition_of(given: dict[str, Any]) -> Definition:
    """A definition as cases write it, as a message."""
    fields = dict(given)
    for kind, rule in fields.pop("rule", {}).items():
        fields[kind] = dict(rule)
    for kind, name in (("spans", "labels"), ("categorical", "categories")):
        entries = fields.get(kind, {}).get(name, ())
        if entries:
            fields[kind][name] = [{"value": entry} if isinstance(entry, str) else entry for entry in entries]
    if "json_schema" in fields and "schema" in fields["json_schema"]:
        fields["json_schema"] = {"schema_json": json.dumps(_written_out(fields["json_schema"]["schema"]))}
    for name, prefix in (("state", "DEFINITION_STATE"), ("enforcement", "ENFORCEMENT"), ("direction", "DIRECTION")):
        if name in fields:
            fields[name] = f"{prefix}_{fields[name]}"
    if "on_repeat" in fields.get("unique", {}):
        fields["unique"] = {**fields["unique"], "on_repeat": f"ON_REPEAT_{fields['unique']['on_repeat']}"}
    return ParseDict(fields, Definition())


def _written_out(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("$defs") != "2^14 by refs":
        return schema
    defs: dict[str, Any] = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(14)}
    return {"$defs": {**defs, "d14": {"type": "string"}}, "$ref": "#/$defs/d0"}


class Servers:
    """Two servers of one store, and keys for whoever calls; a SQLite file has one server, which is then both."""

    def __init__(self, url: str, count: int, stack: ExitStack, audit_log: str = "off") -> None:
        self.audit_log = audit_log
        count = 1 if url.startswith("sqlite:") else count
        config = Config(auth=Auth(True), audit_log=audit_log)
        with asyncio.Runner() as runner:
            engine = open_store(url)
            runner.run(engine.open())
            assert isinstance(engine, SqlEngine)
            keys = StoredKeys(engine)
            self._secrets: dict[str, str] = {}
            for user in ("root", "alice", "bob", "judge-1", "judge-2"):
                role = Role.ADMINISTRATOR
                self._secrets[user], key = new_key(user, role, ["acme/*"], time.time_ns() // 1000)
                runner.run(keys.add(key))
            runner.run(engine.close())
        self.running = [
            stack.enter_context(plaudit_server.testing.server(open_store(url), config)) for _ in range(count)
        ]
        self.running = [self.running[number % count] for number in range(2)]
        channels = [stack.enter_context(grpc.insecure_channel(running.target)) for running in self.running]
        self.feedback = [FeedbackServiceStub(channel) for channel in channels]
        self.definitions = [DefinitionServiceStub(channel) for channel in channels]

    def bearer(self, user: str) -> Any:
        return (("authorization", f"Bearer {self._secrets[user]}"),)


@contextmanager
def servers(url: str, count: int = 2, audit_log: str = "off") -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(url, count, stack, audit_log)


class Case:
    """One case; every step gives what was observed, in the words of `expect`."""

    def __init__(self, case: dict[str, Any], servers: Servers) -> None:
        self.servers = servers
        self.project = f"acme/{case['id']}"
        self.case = json.loads(json.dumps(case).replace("acme/chat", self.project))

    def run(self) -> None:
        """Run the steps, and compare."""
        for step in self.case["given"]:
            self.given(step)
        expected = self.case["expect"] if isinstance(self.case["expect"], list) else [self.case["expect"]]
        observed = [self.step(step) for step in self.case["when"]]
        for outcome, expect in zip(observed[-len(expected) :], expected, strict=True):
            expect = {key: value for key, value in expect.items() if key != "right"}
            if expect == {"count": outcome.get("count")} or "code" not in expect:
                assert outcome.get("code", "OK") == "OK", outcome
            if "metadata" in expect:
                metadata = {name: self.named(value) for name, value in outcome["metadata"].items()}
                wanted = expect.pop("metadata")
                assert {name: metadata.get(name) for name in wanted} == wanted
            assert {key: outcome.get(key) for key in expect} == expect

    @staticmethod
    def named(value: str) -> str:
        return name_of(value) if value.startswith("00000000-0000-7000-8000-") else value

    def given(self, step: Any) -> None:
        if step == "1,000 definitions":
            steps = [
                {"op": "put_definition", "definition": {"feedback_type": f"t{number}", "rule": NUMERIC}}
                for number in range(1_000)
            ]
            with ThreadPoolExecutor(16) as pool:  # they are written in groups
                assert {outcome["code"] for outcome in pool.map(self.step, steps)} == {"OK"}
        elif step == "server B has read version 1":
            self.step({"op": "create at server B at once", "value": 0.25})
        else:
            assert self.step(step)["code"] == "OK", step

    def step(self, step: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"code": "OK", **self.call(step)}
        except grpc.RpcError as error:
            refused = Refusal(error)
            return {
                "code": refused.code.name,
                "reason": refused.reason,
                "fields": list(refused.violations),
                "metadata": refused.metadata,
            }

    def record(self, given: dict[str, Any]) -> Feedback:
        fields = dict(given)
        payload = fields.pop("payload", None)
        if "value" in fields:
            payload = {"value": fields.pop("value")}
        created_at = fields.pop("created_at", None)
        message = Feedback(**{"feedback_type": "correctness", "ref": self.ref, **fields})
        message.payload_json = json.dumps(payload, ensure_ascii=False)
        if message.id:
            message.id = uuid_of(message.id)
        if created_at:
            message.created_at.FromDatetime(datetime.fromisoformat(created_at).astimezone(UTC).replace(tzinfo=None))
        return message

    @property
    def ref(self) -> str:
        return REF.replace("acme/chat", self.project)

    def call(self, step: dict[str, Any]) -> dict[str, Any]:
        servers, project = self.servers, self.project
        op = step["op"]
        user = step.get("user", "alice")
        auth = servers.bearer(user)
        first: Any = servers.feedback[0]
        definitions: Any = servers.definitions[0]
        request: Any
        made: Any
        match op:
            case "put_definition" | "put_definition at server A":
                given = step.get("definition") or {"feedback_type": "correctness", "rule": step["rule"]}
                request = PutDefinitionRequest(project=project, definition=definition_of(given))
                for name in ("expected_version", "checked_revision"):
                    if name in step:
                        setattr(request, name, step[name])
                made = definitions.PutDefinition(request, metadata=servers.bearer("root")).definition
                return {"version": made.version}
            case "check_definition":
                request = CheckDefinitionRequest(project=project, definition=definition_of(step["definition"]))
                checked = definitions.CheckDefinition(request, metadata=auth)
                return {"checked": checked.checked_count, "breaking": checked.breaking_count}
            case "create" | "create at server B at once":
                stub: Any = servers.feedback["B" in op]
                given = step.get("feedback") or {"value": step["value"]}
                request = CreateFeedbackRequest(project=project, feedback=self.record(given))
                made = stub.CreateFeedback(request, metadata=auth).feedback
                return {"id": self.named(made.id), "version": made.version, "count": self.count(auth)}
            case "batch":
                items = [self.record(item) for item in step["feedback"]]
                request = BatchCreateFeedbackRequest(
                    project=project, feedback=items, partial=step.get("partial", False)
                )
                results = first.BatchCreateFeedback(request, metadata=auth).results
                codes = ["OK" if result.HasField("feedback") else _name(result.status.code) for result in results]
                return {"results": codes, "stored": self.count(auth)}
            case "import" | "ingest":
                items = [self.record(item) for item in step["feedback"]]
                if op == "import":
                    skip = step.get("skip_definitions", False)
                    sent = ImportFeedbackRequest(project=project, feedback=items, skip_definitions=skip)
                    [answer] = first.ImportFeedback(iter([sent]), metadata=servers.bearer("root"))
                else:
                    [answer] = first.IngestFeedback(
                        iter([IngestFeedbackRequest(project=project, feedback=items)]), metadata=auth
                    )
                return {"stored": answer.stored_count, "rejected": [item.index for item in answer.rejected]}
            case "replace":
                there = first.GetFeedback(
                    GetFeedbackRequest(project=project, id=uuid_of(step["feedback"]["id"])), metadata=auth
                ).feedback
                given = {"ref": there.ref, "feedback_type": there.feedback_type, **step["feedback"]}
                request = ReplaceFeedbackRequest(project=project, feedback=self.record(given))
                made = first.ReplaceFeedback(request, metadata=auth).feedback
                return {"id": self.named(made.id), "version": made.version}
            case "get":
                made = first.GetFeedback(
                    GetFeedbackRequest(project=project, id=uuid_of(step["id"])), metadata=auth
                ).feedback
                return {"id": self.named(made.id), "payload": json.loads(made.payload_json)}
            case "query":
                found = first.QueryFeedback(QueryFeedbackRequest(project=project), metadata=auth).feedback
                return {"ids": [self.named(row.id) for row in found]}
            case "purge":
                ids = [uuid_of(id) for id in step["ids"]]
                purged = first.PurgeFeedback(PurgeFeedbackRequest(project=project, ids=ids), metadata=auth)
                return {"purged": purged.purged_count}
            case "definition_of":
                made = first.GetFeedback(
                    GetFeedbackRequest(project=project, id=uuid_of(step["id"])), metadata=auth
                ).feedback
                request = ListDefinitionsRequest(project=project, feedback_type=made.feedback_type, all_versions=True)
                there = definitions.ListDefinitions(request, metadata=auth).definitions
                return {"version": max(d.version for d in there if d.since_revision < made.revision)}
            case "16 creates of one rater and ref at once on two servers":
                return self.at_once(16)
        raise AssertionError(f"no such step: {op}")

    def at_once(self, count: int) -> dict[str, Any]:
        def create(number: int) -> str:
            request = CreateFeedbackRequest(project=self.project, feedback=self.record({"value": 0.5}))
            try:
                stub = self.servers.feedback[number % len(self.servers.feedback)]
                stub.CreateFeedback(request, metadata=self.servers.bearer("alice"))
            except grpc.RpcError as error:
                return Refusal(error).reason
            return "OK"

        with ThreadPoolExecutor(count) as pool:
            outcomes = list(pool.map(create, range(count)))
        return {"stored": outcomes.count("OK"), "refused": outcomes.count("FEEDBACK_NOT_UNIQUE")}

    def count(self, auth: Any) -> int:
        request = CountFeedbackRequest(project=self.project)
        return self.servers.feedback[0].CountFeedback(request, metadata=auth).count


def _name(code: int) -> str:
    return next(status.name for status in grpc.StatusCode if status.value[0] == code)
