"""What retention does, over the wire: scenarios on a running server, whatever its engine."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import pytest

from plaudit import (
    AlreadyExistsError,
    Change,
    Client,
    Definition,
    NotFoundError,
    PlauditError,
    Query,
    RetentionRule,
    field,
)
from plaudit._contract.uuid7 import uuid7
from plaudit_server.feedback.errors import UnderHold
from plaudit_server.ops.verifying import verified
from plaudit_server.retention import holds
from plaudit_server.retention.deleting import Deletion, size_of
from plaudit_server.retention.holds import Hold
from plaudit_server.retention.records import DELAY
from plaudit_server.retention.sweeping import Sweeper
from plaudit_server.rpc.audit import audit_logger
from plaudit_server.store.base import SqlEngine, Statement, Steps, StoreError
from plaudit_server.store.ledger import microseconds
from plaudit_server.testing import RunningServer

REF: Final = "weave:///acme/kept/call/1"
DAY: Final = timedelta(days=1)

EXISTING: Final[tuple[Literal["refuse", "keep", "update"], ...]] = ("refuse", "keep", "update")
Scenario = Callable[[RunningServer, Client], None]


def store_of(running: RunningServer) -> SqlEngine:
    store = running.server.store
    assert isinstance(store, SqlEngine)
    return store


def aged(client: Client, days: float, count: int, feedback_type: str = "note") -> list[str]:
    """Import records that were created some days ago; their ids."""
    at = datetime.now(UTC) - days * DAY
    records = [
        {"id": uuid7(), "ref": REF, "feedback_type": feedback_type, "created_at": at + timedelta(seconds=n)}
        for n in range(count)
    ]
    assert client.import_records(records).created == count
    return [str(record["id"]) for record in records]


def pass_the_delay(running: RunningServer, project: str) -> None:
    """Let the rules of a project have been put a day earlier."""

    def steps(sql: Any) -> Steps[None]:
        text = sql.traits.sql("UPDATE retention_rule SET put_at = put_at - ? WHERE project = ?")
        yield Statement(text, (DELAY, project))

    running.run(store_of(running).transact(steps))


def sweep(running: RunningServer, client: Client, ahead: timedelta = timedelta()) -> int:
    """Do what a server does now and then; what was removed in the client's project."""
    clock = lambda: microseconds() + round(ahead.total_seconds() * 1_000_000)  # noqa: E731
    sweeper = Sweeper(running.server.store, running.server._writer, clock, is_audited=True)
    with audited() as lines:
        running.run(sweeper.sweep())
    assert sum(line["rows"] for line in lines) == sweeper.removed
    return sum(line["rows"] for line in lines if line["project"] == client.project)


def left(client: Client) -> set[str]:
    return {record.id for record in client.get_feedback()}


@contextmanager
def audited() -> Iterator[list[dict[str, Any]]]:
    """The lines of the audit log meanwhile."""
    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(record.getMessage()))

    handler = Keep()
    audit_logger.addHandler(handler)
    try:
        yield lines
    finally:
        audit_logger.removeHandler(handler)


def a_rule_acts_a_day_after_it_was_put(running: RunningServer, client: Client) -> None:
    old, young = aged(client, 40, 3), aged(client, 20, 2)
    rule = client.put_retention_rule("note", 30)
    assert rule.acts_at - rule.put_at == DAY
    assert sweep(running, client) == 0
    assert left(client) == {*old, *young}
    [due] = client.check_retention()
    assert (due.rule, due.record_count) == (rule, 3)
    assert due.oldest_created_at is not None
    pass_the_delay(running, client.project or "")
    with audited() as lines:
        assert sweep(running, client) == 3
        assert sweep(running, client) == 0
    assert left(client) == set(young)
    [line] = [line for line in lines if line["project"] == client.project]
    assert (line["act"], line["project"], line["rows"]) == ("retention", client.project, 3)
    assert (line["feedback_type"], line["days"]) == ("note", 30)
    assert client.check_retention()[0].record_count == 0


def a_removed_id_is_never_used_again(running: RunningServer, client: Client) -> None:
    [id] = aged(client, 40, 1)
    client.put_retention_rule("*", 30)
    pass_the_delay(running, client.project or "")
    assert sweep(running, client) == 1
    record = {"id": id, "ref": REF, "feedback_type": "note"}
    with pytest.raises(AlreadyExistsError) as caught:
        client.create(record)
    assert caught.value.reason == "FEEDBACK_PURGED"
    for existing in EXISTING:
        result = client.import_records([record | {"created_at": datetime.now(UTC)}], existing=existing, partial=True)
        assert [refused.error.reason for refused in result.refused] == ["FEEDBACK_PURGED"]
    with pytest.raises(NotFoundError):
        client.replace({**record, "payload": {"a": 1}})
    with pytest.raises(NotFoundError):
        client.get(id)
    with pytest.raises(NotFoundError):
        client.history(id)
    assert client.purge([id]) == 0
    assert left(client) == set()


def watchers_hear_of_it_once_for_each_slice(running: RunningServer, client: Client) -> None:
    aged(client, 40, 230)
    client.put_retention_rule("note", 30)
    pass_the_delay(running, client.project or "")
    with client.watch() as watch, client.watch(query=Query.from_text('ref = "urn:none"')) as filtered:
        assert sweep(running, client) == 230
        changes = [next(watch) for _ in range(3)]
        assert [next(filtered) for _ in range(3)] == changes
    assert [change.kind for change in changes] == ["retained"] * 3
    assert [each.count for each in retained_in(changes)] == [100, 100, 30]
    assert {each.feedback_type for each in retained_in(changes)} == {"note"}
    assert changes[-1].revision == watch.revision
    # One that comes later sees them, too, and nothing of the records.
    with client.watch(after=0) as later:
        assert [next(later) for _ in range(3)] == changes


def retained_in(changes: list[Change]) -> list[Any]:
    return [change.retained for change in changes]


def a_types_own_rule_comes_before_that_of_all_others(running: RunningServer, client: Client) -> None:
    notes, stars = aged(client, 40, 1), aged(client, 40, 1, "*")
    scores, tags = aged(client, 40, 2, "score"), aged(client, 40, 2, "tag")
    assert client.put_retention_rule("note", 36_500).days == 36_500
    client.put_retention_rule("score", 50)
    client.put_retention_rule("*", 30)
    by_type = {due.rule.feedback_type: due.record_count for due in client.check_retention()}
    assert by_type == {"*": 3, "note": 0, "score": 0}
    assert [due.record_count for due in client.check_retention("score", 39)] == [2]
    assert [due.record_count for due in client.check_retention("*", 50)] == [0]
    pass_the_delay(running, client.project or "")
    assert sweep(running, client) == 3
    assert left(client) == {*notes, *scores}
    assert not {*tags, *stars} & left(client)
    # Without its own rule a type falls to the rule of all others, and that has to wait as long.
    client.put_retention_rule("score", 0)
    assert [rule.feedback_type for rule in client.retention_rules()] == ["*", "note"]
    assert sweep(running, client) == 0
    pass_the_delay(running, client.project or "")
    assert sweep(running, client) == 2
    assert left(client) == set(notes)


def a_rule_that_is_there_is_not_put_again(running: RunningServer, client: Client) -> None:
    rule = client.put_retention_rule("note", 30)
    assert client.put_retention_rule("note", 30) == rule
    assert list(client.retention_rules()) == [rule]
    assert client.put_retention_rule("note", 31).put_at > rule.put_at
    gone = client.put_retention_rule("note", 0)
    assert isinstance(gone, RetentionRule)
    assert gone.days == 0
    assert list(client.retention_rules()) == []
    assert client.put_retention_rule("none", 0).days == 0


def nothing_is_removed_under_a_legal_hold(running: RunningServer, client: Client) -> None:
    project, store = client.project or "", store_of(running)
    [old], [young] = aged(client, 40, 1), aged(client, 1, 1)
    client.put_retention_rule("*", 30)
    pass_the_delay(running, project)
    running.run(store.transact(lambda sql: holds.put(sql, Hold(project, microseconds(), "root", "case 7"))))
    assert client.retention_rules().under_hold
    assert client.check_retention().under_hold
    assert sweep(running, client) == 0
    refusals = (
        lambda: client.purge([young]),
        lambda: client.get_feedback(field("id").exists()).purge(),
        lambda: client.replace({"id": young, "ref": REF, "feedback_type": "note", "payload": {"a": 1}}),
    )
    for refused in refusals:
        with pytest.raises(PlauditError) as caught:
            refused()
        assert (caught.value.reason, caught.value.metadata) == ("UNDER_HOLD", {"project": project})
    # What removes and replaces nothing goes on.
    assert client.get_feedback(field("id").exists()).purge(dry_run=True) == 2
    made = client.create({"ref": REF, "feedback_type": "note"}).id
    assert left(client) == {old, young, made}
    running.run(store.transact(lambda sql: holds.lift(sql, project, microseconds(), "root")))
    assert not client.retention_rules().under_hold
    assert sweep(running, client) == 1
    assert client.purge([young]) == 1
    assert left(client) == {made}


def what_is_left_is_whole(running: RunningServer, client: Client) -> None:
    aged(client, 40, 5)
    kept = client.create({"ref": REF, "feedback_type": "note"})
    client.replace({"id": kept.id, "ref": REF, "feedback_type": "note", "payload": {"a": 1}})
    client.put_retention_rule("note", 30)
    pass_the_delay(running, client.project or "")
    assert sweep(running, client) == 5
    found = running.run(verified(store_of(running)))
    assert found.problems == []
    # Days later what was young is old, with its older version.
    assert sweep(running, client, 31 * DAY) == 1
    assert running.run(verified(store_of(running))).problems == []
    assert left(client) == set()


def a_deleted_project_is_gone_and_its_revision_goes_on(running: RunningServer, client: Client) -> None:
    project, store = client.project or "", store_of(running)
    ids = aged(client, 40, 3)
    kept = client.create({"ref": REF, "feedback_type": "note"})
    client.replace({"id": kept.id, "ref": REF, "feedback_type": "note", "payload": {"a": 1}})
    client.purge([ids[0]])
    client.define(Definition("once", unique="rater", on_repeat="replace"))
    names = [uuid7(), uuid7()]
    for name in names:
        client.create({"id": name, "ref": REF, "feedback_type": "once", "payload": {"of": name}})
    assert len(client.history(names[0])) == 2
    client.put_retention_rule("*", 3_000)
    later = aged(client, -40, 1)  # by a clock that is ahead
    size = running.run(size_of(store, project))
    assert size.records == 5
    running.run(store.transact(lambda sql: holds.put(sql, Hold(project, 1, "root", "a case"))))
    with pytest.raises(UnderHold):
        running.run(Deletion(store, project, size).run())
    running.run(store.transact(lambda sql: holds.lift(sql, project, 2, "root")))
    told: list[tuple[int, int]] = []
    assert running.run(Deletion(store, project, size, lambda *step: told.append(step)).run()) == 5
    with client.watch(after=size.revision) as watch:
        changes = [next(watch), next(watch)]
    assert told[-1][0] == told[-1][1]
    assert [(each.feedback_type, each.count) for each in retained_in(changes)] == [("*", 4), ("*", 1)]
    assert [change.revision - size.revision for change in changes] == [1, 2]
    assert left(client) == set()
    assert list(client.definitions()) == []
    assert list(client.retention_rules()) == []
    assert project not in [each.name for each in client.projects()]
    assert running.run(verified(store)).problems == []
    # No id is free again: not those of records, nor of purged ones, nor other names.
    for id in (*ids, kept.id, *later, *names):
        with pytest.raises(AlreadyExistsError) as caught:
            client.create({"id": id, "ref": REF, "feedback_type": "note"})
        assert caught.value.reason == "FEEDBACK_PURGED"
    with pytest.raises(NotFoundError):
        client.history(ids[0])
    again = client.create({"ref": REF, "feedback_type": "once"})
    assert again.revision == size.revision + 3
    assert project in [each.name for each in client.projects()]
    # What is stored after the deletion was decided is none of its.
    assert running.run(Deletion(store, project, size).run()) == 0
    assert left(client) == {again.id}
    with pytest.raises(StoreError, match="no project"):
        running.run(size_of(store, "acme/nothing"))


SCENARIOS: Final[tuple[Scenario, ...]] = (
    a_rule_acts_a_day_after_it_was_put,
    a_removed_id_is_never_used_again,
    watchers_hear_of_it_once_for_each_slice,
    a_types_own_rule_comes_before_that_of_all_others,
    a_rule_that_is_there_is_not_put_again,
    nothing_is_removed_under_a_legal_hold,
    what_is_left_is_whole,
    a_deleted_project_is_gone_and_its_revision_goes_on,
)


def name_of(scenario: Scenario) -> str:
    """The name that a scenario has in test reports."""
    return scenario.__name__
