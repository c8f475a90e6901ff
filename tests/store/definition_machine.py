"""A state machine over definitions: two servers' caches and writers over one store, against a model in plain Python.

No server asks the other anything: what one has put, the other finds out at its next commit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from plaudit._contract import jsontext
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import Definition, Feedback
from plaudit_server.definitions import rules
from plaudit_server.definitions.cache import Cache, usable
from plaudit_server.definitions.commands import PutDefinition
from plaudit_server.definitions.enforcement import Credit, look_at
from plaudit_server.definitions.judge import DefinitionJudge
from plaudit_server.definitions.reads import SelectDefinitions
from plaudit_server.definitions.records import StoredDefinition
from plaudit_server.errors import DomainError, InvalidFields
from plaudit_server.feedback.commands import Purge, Purged
from plaudit_server.feedback.errors import FeedbackNotUnique, FeedbackPurged
from plaudit_server.feedback.reads import Get
from plaudit_server.feedback.records import Record, Row, message
from plaudit_server.feedback.rules import new_record
from plaudit_server.feedback.writing import Draft, Writing
from plaudit_server.store.base import Engine
from plaudit_server.store.writer import Writer
from tests.conformance.definition_cases import definition_of

TYPES = ("a", "b")
USERS = ("alice", "bob")
REFS = ("urn:1", "urn:2")
VALUES = (0, 0.5, 1, 7, True, "x")
RULES: tuple[dict[str, Any], ...] = (
    {"numeric": {"min": 0, "max": 1}},
    {"numeric": {"min": 0}},
    {"boolean": {}},
    {"text": {}},
    {},
)
UNIQUE: tuple[dict[str, Any], ...] = (
    {},
    {"unique": {"by_rater": True, "on_repeat": "REFUSE"}},
    {"unique": {"by_rater": True, "on_repeat": "REPLACE"}},
    {"unique": {"on_repeat": "REPLACE"}},
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A create that was answered with a row: sending it again must be answered by the same record."""

    type: str
    ref: str
    user: str
    value: Any
    id: str
    answered: str


class Server:
    """What one server has of its own."""

    def __init__(self, store: Engine) -> None:
        self.store = store
        self.writer = Writer(store)
        self.judge = DefinitionJudge(Cache(store))
        self.writing = Writing(self.writer, self.judge)


class DefinitionMachine(RuleBasedStateMachine):
    """Steps of two servers in turn; every answer is compared with what the model says."""

    runner: asyncio.Runner
    stores: Sequence[Engine]
    steps = 0
    """How many were taken, of all runs."""

    def __init__(self) -> None:
        super().__init__()
        self.project = f"acme/{uuid7()}"
        self.servers = [Server(store) for store in self.stores]
        self.sent: list[Sent] = []
        self.holders: dict[tuple[Any, ...], str] = {}
        self.alive: dict[str, tuple[Any, ...] | None] = {}
        self.owners: dict[str, str] = {}
        self.versions: dict[str, list[StoredDefinition]] = {type: [] for type in TYPES}

    @initialize()
    def begin(self) -> None:
        async def start() -> None:
            for server in self.servers:
                server.writer.start()

        self.runner.run(start())

    def teardown(self) -> None:
        async def stop() -> None:
            for server in self.servers:
                await server.writer.close()

        self.runner.run(stop())

    # --- steps

    @rule(
        server=st.integers(0, 1),
        type=st.sampled_from(TYPES),
        kind=st.sampled_from(RULES),
        unique=st.sampled_from(UNIQUE),
    )
    def put(self, server: int, type: str, kind: dict[str, Any], unique: dict[str, Any]) -> None:
        message = definition_of({"feedback_type": type, **kind, **unique})
        read = rules.read(message, self.project, [])
        assert read is not None
        command = PutDefinition(
            self.project, "root", read, lambda stored: usable(self.project, stored), jsontext.decode
        )
        made = self.run(lambda: self.servers[server].writer.submit(command))
        assert isinstance(made, StoredDefinition)
        versions = self.versions[type]
        if versions and versions[-1].content == read.content:
            assert made == versions[-1]
        else:
            assert made.version == len(versions) + 1
            versions.append(made)

    @rule(
        server=st.integers(0, 1),
        type=st.sampled_from(TYPES),
        ref=st.sampled_from(REFS),
        user=st.sampled_from(USERS),
        value=st.sampled_from(VALUES),
    )
    def create(self, server: int, type: str, ref: str, user: str, value: Any) -> None:
        self.send(server, type, ref, user, value, uuid7())

    def send(self, server: int, type: str, ref: str, user: str, value: Any, id: str) -> None:
        place, holder = self.place_of(type, ref, user), None
        if place is not None:
            holder = self.holders.get(place)
        outcome = self.created(server, type, ref, user, value, id)
        if not self.is_good(type, value):
            assert isinstance(outcome, InvalidFields), outcome
        elif holder is not None and (not self.replaces(type) or self.owners[holder] != user):
            # Everybody here is a writer, who may replace no other's record.
            assert isinstance(outcome, FeedbackNotUnique), outcome
            assert outcome.id == (None if self.replaces(type) else holder)
        else:
            row = self.kept(outcome, type)
            assert row.id == (holder or id)
            self.sent.append(Sent(type, ref, user, value, id, row.id))
            if holder is None:
                self.alive[id] = place
                self.owners[id] = user
                if place is not None:
                    self.holders[place] = id

    @precondition(lambda self: self.sent)
    @rule(server=st.integers(0, 1), which=st.integers(0, 2**16))
    def retry(self, server: int, which: int) -> None:
        sent = self.sent[which % len(self.sent)]
        outcome = self.created(server, sent.type, sent.ref, sent.user, sent.value, sent.id)
        if sent.answered in self.alive:
            assert isinstance(outcome, Row), outcome
            assert message(outcome) == self.get(server, sent.answered)
        else:
            assert isinstance(outcome, FeedbackPurged), outcome

    @precondition(lambda self: self.alive)
    @rule(
        server=st.integers(0, 1),
        which=st.integers(0, 2**16),
        ref=st.sampled_from(REFS),
        value=st.sampled_from(VALUES),
        by_other_name=st.booleans(),
    )
    def replace(self, server: int, which: int, ref: str, value: Any, by_other_name: bool) -> None:
        id = sorted(self.alive)[which % len(self.alive)]
        before = self.get(server, id)
        type, owner = before.feedback_type, self.owners[id]
        name = next((sent.id for sent in self.sent if sent.answered == id), id) if by_other_name else id
        record = self.record(type, ref, owner, value, name)
        draft = Draft(self.project, (record,), ("feedback",), owner=owner)
        try:
            outcome: Any = self.run(lambda: self.servers[server].writing.replace(draft, 0))
        except DomainError as error:
            outcome = error
        place = self.place_of(type, ref, owner)
        same = before.ref == ref and json.loads(before.payload_json) == {"value": value}
        same = same and json.loads(before.payload_json)["value"].__class__ is value.__class__
        if same:
            assert isinstance(outcome, Row)
            assert message(outcome) == before
        elif not self.is_good(type, value):
            assert isinstance(outcome, InvalidFields), outcome
        elif place is not None and self.holders.get(place, id) != id:
            assert isinstance(outcome, FeedbackNotUnique), outcome
        else:
            assert self.kept(outcome, type).id == id
            self.leave(id)
            self.alive[id] = place
            if place is not None:
                self.holders[place] = id

    @precondition(lambda self: self.alive)
    @rule(server=st.integers(0, 1), which=st.integers(0, 2**16))
    def purge(self, server: int, which: int) -> None:
        id = sorted(self.alive)[which % len(self.alive)]
        name = next((sent.id for sent in self.sent if sent.answered == id), id)
        purged = self.run(lambda: self.servers[server].writer.submit(Purge(self.project, "root", [name])))
        assert isinstance(purged, Purged)
        assert purged.purged == 1
        self.leave(id)
        del self.alive[id]

    # --- the model

    def leave(self, id: str) -> None:
        place = self.alive[id]
        if place is not None and self.holders.get(place) == id:
            del self.holders[place]

    def newest(self, type: str) -> Definition | None:
        versions = self.versions[type]
        return Definition.FromString(versions[-1].content) if versions else None

    def place_of(self, type: str, ref: str, owner: str) -> tuple[Any, ...] | None:
        newest = self.newest(type)
        if newest is None or not newest.HasField("unique"):
            return None
        return type, ref, owner if newest.unique.by_rater else None

    def replaces(self, type: str) -> bool:
        newest = self.newest(type)
        return newest is not None and newest.unique.on_repeat == 2

    def is_good(self, type: str, value: Any) -> bool:
        versions = self.versions[type]
        return not versions or self.holds(versions[-1], value)

    def holds(self, stored: StoredDefinition, value: Any) -> bool:
        out: list[Any] = []
        payload = {"value": value}
        look_at(usable(self.project, stored).definition, payload, json.dumps(payload), out, Credit(10**9))
        return not out

    def kept(self, outcome: Any, type: str) -> Feedback:
        """A row that was stored, which must be good by the version in force at its revision."""
        assert isinstance(outcome, Row), outcome
        stored = message(outcome)
        in_force = [version for version in self.versions[type] if version.since_revision < stored.revision]
        if in_force:
            assert self.holds(in_force[-1], json.loads(stored.payload_json)["value"])
        return stored

    # --- the servers

    def run(self, work: Callable[[], Any]) -> Any:
        type(self).steps += 1
        return self.runner.run(work())

    def get(self, server: int, id: str) -> Feedback:
        row = self.run(lambda: self.servers[server].store.read(Get(self.project, id)))
        assert row is not None
        return message(row)

    def record(self, type: str, ref: str, user: str, value: Any, id: str) -> Record:
        sent = Feedback(id=id, ref=ref, feedback_type=type, payload_json=json.dumps({"value": value}))
        record = new_record(sent, self.project, user, [])
        assert record is not None
        return record

    def created(self, server: int, type: str, ref: str, user: str, value: Any, id: str) -> Row | DomainError:
        record = self.record(type, ref, user, value, id)
        draft = Draft(self.project, (record,), ("feedback",), atomic=False, owner=user)
        [outcome] = self.run(lambda: self.servers[server].writing.create(draft))
        result: Row | DomainError = outcome
        return result

    def stored_versions(self) -> list[StoredDefinition]:
        """What the store has, to compare with at the end."""
        read = SelectDefinitions(self.project, "", True, ("", 0), 1000)
        found = self.run(lambda: self.servers[0].store.read(read))
        definitions: list[StoredDefinition] = found.definitions
        return definitions
