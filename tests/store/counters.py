"""Counters on any engine: built by the migration, not used after a server that knows none, made anew, verified."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plaudit_server.feedback.counted import Tally
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count
from plaudit_server.ops.verifying import verified
from plaudit_server.projects.reads import SelectProjects
from plaudit_server.store.base import Reading, SqlEngine, Statement, Steps
from plaudit_server.store.counters import DAY, Counted, out_of_use
from plaudit_server.store.ledger import recounting
from plaudit_server.store.migrate import migrations
from plaudit_server.store.prepared import Prepared
from tests.store.factory import PROJECT, record

NUMBER = next(m.number for m in migrations("sqlite") if m.name == "counters")
# Types and times of records that are there, also from before 1970, and at both ends of a day.
TIMES = [("a", 0), ("a", DAY - 1), ("a", DAY), ("b", DAY), ("b", -1), ("b", -DAY), ("b", -DAY - 1)]
BUILT = [("a", 0, 2), ("a", 1, 1), ("b", -2, 1), ("b", -1, 2), ("b", 1, 1)]


def check_migration(execute: Callable[[str], list[Any]], engine: str) -> None:
    """What the migration makes of the records that are there."""
    known = migrations(engine)
    for migration in known[: NUMBER - 1]:
        for statement in migration.statements():
            execute(statement)
    blank = ", ".join(["''"] * 17)
    for n, (feedback_type, created_at) in enumerate(TIMES):
        columns = "project, id, revision, version, kind, created_at, updated_at, user_id, ref, feedback_type"
        rest = (
            "scorer_tags, scorer_tag_reasons, scorer_tag_confidences, scorer_ratings, scorer_rating_reasons,"
            " scorer_rating_confidences, span_agent_name, span_agent_version, span_status_code, span_conversation_id,"
            " span_trace_id, scorer_trace_id, payload, creator, annotation_ref, runnable_ref, call_ref"
        )
        execute(
            f"INSERT INTO feedback ({columns}, {rest}, head) VALUES ('p', 'id{n}', {n + 1}, 1, 1, {created_at},"
            f" {created_at}, 'u', 'urn:x', '{feedback_type}', {blank}, {_empty(engine)})"
        )
    execute(f"INSERT INTO project (project, revision, last_created_at) VALUES ('p', {len(TIMES)}, 5)")
    for statement in known[NUMBER - 1].statements():
        execute(statement)
    assert execute("SELECT feedback_type, day, records FROM feedback_count ORDER BY feedback_type, day") == BUILT
    assert execute("SELECT counted FROM project") == [(len(TIMES),)]


def _empty(engine: str) -> str:
    return "x''" if engine == "sqlite" else "''::bytea"


def _running(text: str) -> Callable[[Prepared], Steps[None]]:
    def steps(sql: Prepared) -> Steps[None]:
        yield Statement(text)

    return steps


# As the release before stores where a project stands: it knows no counters.
_OF_BEFORE = (
    "INSERT INTO project (project, revision, last_created_at, definitions) VALUES ('acme/chat', 4, 5, 0)"
    " ON CONFLICT (project) DO UPDATE SET revision = excluded.revision"
)


async def check_use(store: SqlEngine) -> None:
    """Counters are used while they are those of the revision; a wrong one is found by `verify`."""

    async def tally() -> int | None:
        return await store.read(Tally(PROJECT, Counted()))

    async def listed() -> list[tuple[str, int | None]]:
        return [(row.name, row.records) for row in await store.read(SelectProjects(("*",), "", "", 10))]

    assert (await tally(), await listed()) == (0, [])
    await store.write([Create(PROJECT, [record(n) for n in range(3)])])
    assert (await tally(), await listed()) == (3, [(PROJECT, 3)])
    # Then a server of before stores another one, and counts nothing.
    await store.write([Create(PROJECT, [record(3, feedback_type="other")])])
    await store.transact(_running("DELETE FROM feedback_count WHERE feedback_type = 'other'"))
    await store.transact(_running("UPDATE project SET revision = 3, counted = 3"))
    await store.transact(_running(_OF_BEFORE))
    assert (await tally(), await listed()) == (None, [(PROJECT, None)])
    assert await store.read(Count(PROJECT, None)) == 4
    assert (await verified(store)).problems == []
    await store.write([Create(PROJECT, [record(9)])])
    assert await tally() is None, "they are not those of the rows, whoever goes on"
    assert await store.read(Reading(out_of_use)) == [PROJECT]
    await store.transact(recounting(PROJECT))
    assert (await tally(), await listed()) == (5, [(PROJECT, 5)])
    assert await store.read(Tally(PROJECT, Counted(frozenset({"other"})))) == 1
    assert (await verified(store)).problems == []
    await store.transact(_running("UPDATE feedback_count SET records = 7 WHERE feedback_type = 'other'"))
    [problem] = (await verified(store)).problems
    assert problem.startswith(f"{PROJECT}: other: ")
    assert problem.endswith(" has 6 records fewer than its counter says")
