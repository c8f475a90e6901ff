"""A state machine over definitions: two servers' caches and writers over one store, against a model in plain Python.

No server asks the other anything: what one has put, the other finds out at its next commit.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

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

STEPS = 50
"""The most steps of one run."""

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
    taken: Counter[str]
    """How many steps of each kind were taken, in all runs."""

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

        try:
            self.compare_all()
        finally:
            self.runner.run(stop())

    def compare_all(self) -> None:
        """What is stored at the end: the versions put, and each living record, once in its place, by its version."""
        assert self.stored_versions() == [stored for type in TYPES for stored in self.versions[type]]
        for id, place in self.alive.items():
            stored = self.get(0, id)
            self.kept(stored)
            assert place is None or self.holders.get(place) == id

    # --- steps

    @rule(
        server=st.integers(0, 1),
        type=st.sampled_from(TYPES),
        kind=st.sampled_from(RULES),
        unique=st.sampled_from(UNIQUE),
    )
    def put(self, server: int, type: str, kind: dict[str, Any], unique: dict[str, Any]) -> None:
        self.taken["put"] += 1
        command = self.command(type, kind, unique)
        self.note_put(type, command, self.run(lambda: self.servers[server].writer.submit(command)))

    def command(self, type: str, kind: dict[str, Any], unique: dict[str, Any]) -> PutDefinition:
        read = rules.read(definition_of({"feedback_type": type, **kind, **unique}), self.project, [])
        assert read is not None
        return PutDefinition(self.project, "root", read, lambda stored: usable(self.project, stored), jsontext.decode)

    def note_put(self, type: str, command: PutDefinition, made: Any) -> None:
        assert isinstance(made, StoredDefinition)
        versions = self.versions[type]
        if versions and versions[-1].content == command.definition.content:
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
        self.taken["create"] += 1
        self.send(server, type, ref, user, value, uuid7())

    @rule(
        server=st.integers(0, 1),
        type=st.sampled_from(TYPES),
        kind=st.sampled_from(RULES),
        value=st.sampled_from(VALUES),
    )
    def put_beside_create(self, server: int, type: str, kind: dict[str, Any], value: Any) -> None:
        """One server changes a definition while the other stores a record of the type; either may be first."""
        self.taken["put beside create"] += 1
        command, id = self.command(type, kind, {}), uuid7()

        async def both() -> tuple[Any, Any]:
            putting = self.servers[server].writer.submit(command)
            return await asyncio.gather(putting, self.creating(1 - server, type, "urn:free", "carol", value, id))

        before = self.newest_stored(type)
        made, outcome = self.run(both)
        self.note_put(type, command, made)
        if isinstance(outcome, Row):
            # A ref of its own that is free again at once: what it competes with is not the matter here.
            assert self.kept(message(outcome)).id == id
            self.run(lambda: self.servers[server].writer.submit(Purge(self.project, "root", [id])))
        else:
            assert isinstance(outcome, InvalidFields), outcome
            assert not (self.holds(before, value) and self.holds(self.newest_stored(type), value))

    @rule(type=st.sampled_from(TYPES), ref=st.sampled_from(REFS), value=st.sampled_from(VALUES))
    def create_at_once(self, type: str, ref: str, value: Any) -> None:
        """Both servers store a record for one place at the same time: one of them is the first."""
        self.taken["create at once"] += 1
        ids, user = (uuid7(), uuid7()), USERS[0]

        async def both() -> Sequence[Any]:
            calls = [self.creating(server, type, ref, user, value, ids[server]) for server in (0, 1)]
            return await asyncio.gather(*calls)

        outcomes = self.run(both)
        stored = {n: message(row) for n, row in enumerate(outcomes) if isinstance(row, Row)}
        # The order in which they came is the only thing that the model does not know: it follows the answers.
        # A repeat with equal content changes nothing, so the record of the first has its own id in both.
        order = {n: (record.revision, record.id != ids[n]) for n, record in stored.items()}
        for n in sorted((0, 1), key=lambda n: order.get(n, (2**63, True))):
            self.note_create(outcomes[n], type, ref, user, value, ids[n])
        if self.place_of(type, ref, user) is not None:
            assert len({record.id for record in stored.values()}) <= 1

    def send(self, server: int, type: str, ref: str, user: str, value: Any, id: str) -> None:
        outcome = self.run(lambda: self.creating(server, type, ref, user, value, id))
        self.note_create(outcome, type, ref, user, value, id)

    def note_create(self, outcome: Any, type: str, ref: str, user: str, value: Any, id: str) -> None:
        place, holder = self.place_of(type, ref, user), None
        if place is not None:
            holder = self.holders.get(place)
        if not self.is_good(type, value):
            assert isinstance(outcome, InvalidFields), outcome
        elif holder is not None and (not self.replaces(type) or self.owners[holder] != user):
            # Everybody here is a writer, who may replace no other's record.
            assert isinstance(outcome, FeedbackNotUnique), outcome
            assert outcome.id == (None if self.replaces(type) else holder)
        else:
            assert isinstance(outcome, Row), outcome
            row = self.kept(message(outcome))
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
        self.taken["retry"] += 1
        sent = self.sent[which % len(self.sent)]
        outcome = self.run(lambda: self.creating(server, sent.type, sent.ref, sent.user, sent.value, sent.id))
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
        self.taken["replace"] += 1
        id = sorted(self.alive)[which % len(self.alive)]
        before = self.get(server, id)
        type, owner = before.feedback_type, self.owners[id]
        name = next((sent.id for sent in self.sent if sent.answered == id), id) if by_other_name else id
        record = self.record(type, ref, owner, value, name)
        draft = Draft(self.project, (record,), ("feedback",), owner=lambda: owner)
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
            assert isinstance(outcome, Row), outcome
            assert self.kept(message(outcome)).id == id
            self.leave(id)
            self.alive[id] = place
            if place is not None:
                self.holders[place] = id

    @precondition(lambda self: self.alive)
    @rule(server=st.integers(0, 1), which=st.integers(0, 2**16))
    def purge(self, server: int, which: int) -> None:
        self.taken["purge"] += 1
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

    def newest_stored(self, type: str) -> StoredDefinition | None:
        versions = self.versions[type]
        return versions[-1] if versions else None

    def newest(self, type: str) -> Definition | None:
        stored = self.newest_stored(type)
        return Definition.FromString(stored.content) if stored else None

    def place_of(self, type: str, ref: str, owner: str) -> tuple[Any, ...] | None:
        newest = self.newest(type)
        if newest is None or not newest.HasField("unique"):
            return None
        return type, ref, owner if newest.unique.by_rater else None

    def replaces(self, type: str) -> bool:
        newest = self.newest(type)
        return newest is not None and newest.unique.on_repeat == 2

    def is_good(self, type: str, value: Any) -> bool:
        return self.holds(self.newest_stored(type), value)

    def holds(self, stored: StoredDefinition | None, value: Any) -> bool:
        if stored is None:
            return True
        out: list[Any] = []
        payload = {"value": value}
        look_at(usable(self.project, stored).definition, payload, json.dumps(payload), out, Credit(10**9))
        return not out

    def kept(self, stored: Feedback) -> Feedback:
        """A record that was stored, which must be good by the version in force at its revision."""
        of_type = self.versions[stored.feedback_type]
        in_force = [version for version in of_type if version.since_revision < stored.revision]
        if in_force:
            assert self.holds(in_force[-1], json.loads(stored.payload_json)["value"])
        return stored

    # --- the servers

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
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

    async def creating(self, server: int, type: str, ref: str, user: str, value: Any, id: str) -> Row | DomainError:
        record = self.record(type, ref, user, value, id)
        draft = Draft(self.project, (record,), ("feedback",), atomic=False, owner=lambda: user)
        [outcome] = await self.servers[server].writing.create(draft)
        result: Row | DomainError = outcome
        return result

    def stored_versions(self) -> list[StoredDefinition]:
        """What the store has, to compare with at the end."""
        read = SelectDefinitions(self.project, "", True, ("", 0), 1000)
        found = self.run(lambda: self.servers[0].store.read(read))
        definitions: list[StoredDefinition] = found.definitions
        return definitions


def run_machine(runner: asyncio.Runner, stores: Sequence[Engine], steps: int) -> Counter[str]:
    """Run the machine until this many steps were taken, each run in a project of its own; how many of which kind."""

    class Machine(DefinitionMachine):
        pass

    Machine.runner, Machine.stores, Machine.taken = runner, stores, Counter()
    while Machine.taken.total() < steps:
        runs = max(4, (steps - Machine.taken.total()) // STEPS)
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=runs,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                derandomize=False,
                # Two servers at once are not the same twice, so a failure is shown as it came.
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    return Machine.taken
