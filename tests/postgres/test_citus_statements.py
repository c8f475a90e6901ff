"""Every RPC on what takes itself for a Citus cluster: each statement names one project, with exceptions by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import psycopg
import pytest

from plaudit._contract.uuid7 import uuid7
from plaudit.tokens import mint
from plaudit_server.config import Auth, Config, Http, Tokens
from plaudit_server.resources import registry, tables
from plaudit_server.retention.reads import SweepStatements
from plaudit_server.retention.records import DAY
from plaudit_server.retention.sweeping import Sweeper
from plaudit_server.store.base import Placement, SqlEngine
from plaudit_server.store.engines.postgres.engine import traits
from plaudit_server.store.ledger import PollStatements, TogetherStatements, microseconds
from plaudit_server.store.url import open_store
from plaudit_server.testing import RunningServer
from plaudit_server.testing import server as running_server
from plaudit_server.tokens.keyring import KeyScope, signing_key
from plaudit_server.tokens.stored import StoredTokens
from tests.postgres.citus import STAND_IN
from tests.postgres.cluster import Database
from tests.postgres.test_sharding import scans
from tests.service.web import call, until

PROJECT: Final = "acme/chat"
SECOND: Final = "acme/second"
TRAITS: Final = traits("C")
# What asks about several projects: each machine answers for its own, and the connected one merges. By name, and how
# to tell it from the rest.
ACROSS_PROJECTS: Final = {
    "the poll for watches": re.escape(PollStatements(TRAITS).revisions),
    "ListProjects": r"SELECT project, .* FROM project WHERE project > %s AND revision > 0 AND .* ORDER BY project",
    "ListProjects' numbers": r"SELECT project, .* FROM feedback_count WHERE project = ANY\(%s\) GROUP BY project",
    "the sweep for records whose time is over": re.escape(SweepStatements(TRAITS).projects),
}
# What Citus refuses of a statement over several machines, or passes on without the effect that it has on one.
REFUSED: Final = re.compile(
    r"\bfor\s+(no\s+key\s+)?(update|share|key\s+share)\b|\bskip\s+locked\b|\bwith\b[^;]*\bas\s*\(\s*(insert|update|delete)\b"
    r"|\bset\s+project\s*=|\btruncate\b|\bsavepoint\b|\bdeclare\b.*\bcursor\b|\bmerge\b|\bcreate\s+temp"
    r"|\b(now|random|clock_timestamp|gen_random_uuid|nextval)\s*\(",
    re.IGNORECASE | re.DOTALL,
)
# What is said to the connected machine: no rows are asked for.
UTILITY: Final = re.compile(r"(BEGIN|COMMIT|ROLLBACK|SET LOCAL|SHOW)\b", re.IGNORECASE)
COPY: Final = re.compile(r"COPY (\w+) \(project, ")


BY_PROJECT: Final = {table.name for table in tables() if table.placement is Placement.BY_PROJECT}
FILTER: Final = {
    "comparison": {
        "op": "COMPARISON_OP_EQ",
        "left": {"convert": {"input": {"field": "payload.a.b"}, "to": "CONVERT_TARGET_INT"}},
        "right": {"literal": {"intValue": "5"}},
    }
}
VALUE: Final = {"convert": {"input": {"field": "payload.value"}, "to": "CONVERT_TARGET_DOUBLE"}}
MEASURES: Final = [
    {"name": "n", "function": "MEASURE_FUNCTION_COUNT"},
    {"name": "m", "function": "MEASURE_FUNCTION_MEAN", "value": VALUE},
    {"name": "p", "function": "MEASURE_FUNCTION_PERCENTILES", "value": VALUE, "percents": [50]},
    {"name": "t", "function": "MEASURE_FUNCTION_TOP_VALUES", "value": VALUE, "top": 3},
]
ANALYTICS: Final = "AnalyticsService"
EXISTING: Final[tuple[Literal["refuse", "keep", "update"], ...]] = ("refuse", "keep", "update")


class Seen(NamedTuple):
    """What every RPC ran: a database that takes itself for a cluster, its statements with values, and the RPCs."""

    database: Database
    statements: dict[str, Any]
    called: set[str]


@pytest.fixture(scope="module")
def seen(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    database = Database(server)
    with running_server(open_store(database.url)):  # makes the schema
        pass
    database.execute(STAND_IN)
    statements: dict[str, Any] = {}
    execute, copy = psycopg.AsyncCursor.execute, psycopg.AsyncCursor.copy

    def note(query: Any, params: Any) -> None:
        text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string()
        statements.setdefault(text, params)

    async def noted(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        note(query, params)
        return await execute(self, query, params, **options)

    def copied(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        note(query, None)
        return copy(self, query, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        master = tmp_path_factory.mktemp("master") / "secret"
        master.write_text(bytes(32).hex())
        config = Config(
            http=Http("127.0.0.1:0", public_url="https://feedback.acme.dev"),
            tokens=Tokens(str(master), 10_000, 10_000),
            auth=Auth(key_refresh_seconds=0.05),
        )
        with running_server(open_store(database.url), config) as running:
            patch.setattr(psycopg.AsyncCursor, "execute", noted)
            patch.setattr(psycopg.AsyncCursor, "copy", copied)
            called = everything(running, statements)
    yield Seen(database, statements, called)
    database.drop()


def everything(running: RunningServer, seen: dict[str, Any]) -> set[str]:
    """Call every RPC, and return the names of those that were called."""
    called = set()

    def ask(method: str, request: dict[str, Any], service: str = "FeedbackService", **headers: str) -> Any:
        called.add(method)
        answer = call(running, f"/plaudit.v1.{service}/{method}", request, **headers)
        assert answer.status == 200, (method, answer.body)
        return answer.json

    def feedback(**fields: Any) -> dict[str, Any]:
        return {"ref": "urn:x", "feedbackType": "score", "payloadJson": '{"value": 0.5, "a": {"b": 5}}', **fields}

    here = {"project": PROJECT}
    ask("CreateFeedback", {**here, "feedback": feedback(id=(first := uuid7()))})
    # Then definitions, so that what is written afterwards is judged by them, and takes places.
    for number, repeat in enumerate(("ON_REPEAT_REFUSE", "ON_REPEAT_REPLACE")):
        definition = {"feedbackType": f"rating{number}", "numeric": {"min": 0, "max": 1}}
        definition |= {"unique": {"onRepeat": repeat}, "enforcement": "ENFORCEMENT_ENFORCED"}
        ask("CheckDefinition", {**here, "definition": definition}, "DefinitionService")
        ask("PutDefinition", {**here, "definition": definition}, "DefinitionService")
        ask("GetDefinition", {**here, "feedbackType": f"rating{number}"}, "DefinitionService")
    ask("ListDefinitions", here, "DefinitionService")
    for ref in ("urn:a", "urn:a", "urn:b"):
        sent = feedback(id=uuid7(), ref=ref, feedbackType="rating1")
        ask("CreateFeedback", {**here, "feedback": sent})
        ask("CreateFeedback", {**here, "feedback": sent})
    ids = [uuid7() for _ in range(12)]
    ask("CreateFeedback", {**here, "feedback": feedback(id=first)})
    ask("CreateFeedback", {"project": SECOND, "feedback": feedback()})
    ask("BatchCreateFeedback", {**here, "feedback": [feedback(id=id) for id in ids]})
    ask("GetFeedback", {**here, "id": ids[0]})
    ask("GetFeedback", {**here, "id": ids[0], "version": 1})
    for query in ({}, {"query": {"expr": FILTER}}):
        page = ask("QueryFeedback", {**here, **query, "pageSize": 3, "includeTotalCount": True})
        ask(
            "QueryFeedback",
            {**here, **query, "pageSize": 3, "pageToken": page["nextPageToken"], "includeTotalCount": True},
        )
        ask("CountFeedback", {**here, **query})
        for order in ("REF_ORDER_URI", "REF_ORDER_COUNT", "REF_ORDER_LAST_CHANGE"):
            ask("ListRefs", {**here, **query, "order": order, "refPrefix": "urn:"})
        ask("ListRefs", {**here, **query, "without": {"expr": FILTER}})
        ask(
            "AggregateFeedback",
            {**here, **query, "measures": MEASURES, "groupBy": [{"value": {"field": "ref"}}]},
            ANALYTICS,
        )
        ask("AggregateFeedback", {**here, **query, "measures": MEASURES, "includeTotal": True}, ANALYTICS)
        ask("DescribeFeedback", {**here, **query, "all": True}, ANALYTICS)
        ask(
            "SummarizeRefs",
            {**here, **query, "refs": ["urn:x"], "measures": MEASURES, "includeNewest": True},
            ANALYTICS,
        )
        ask("MeasureAgreement", {**here, **query, "scale": "AGREEMENT_SCALE_INTERVAL", "value": VALUE}, ANALYTICS)
    ask("ReplaceFeedback", {**here, "feedback": feedback(id=ids[1], payloadJson='{"value": 1}')})
    ask("CreateFeedback", {**here, "feedback": feedback(id=ids[1])})
    ask("ListFeedbackVersions", {**here, "id": ids[1]})
    for reacted in (True, True, False, False):
        ask("SetReaction", {**here, "ref": "urn:x", "emoji": "👍", "reacted": reacted})
    ask("GetServerInfo", {})
    ask("ListProjects", {}, "ProjectService")
    ask("GetCaller", {}, "ProjectService")
    with_tokens(running, ask)
    with_client(running, called, seen)
    with_rules(running, ask, ids)
    ask("PurgeFeedback", {**here, "ids": ids[2:9]})
    ask("PurgeFeedback", {**here, "query": {"expr": FILTER}})
    return called


def with_tokens(running: RunningServer, ask: Any) -> None:
    """The RPCs of feedback tokens."""
    assert isinstance(running.server.store, SqlEngine)
    stored = StoredTokens(running.server.store)
    running.run(stored.add(KeyScope("web", ("acme/*",), ("wandb.reaction.1",), 30, 0, 1)))
    token = mint(signing_key(bytes(32), "web"), project=PROJECT, ref="urn:t", types="wandb.reaction.1", user="u")
    headers = {"authorization": f"Bearer {token}"}
    until(lambda: call(running, "/plaudit.v1.SubmitService/GetSubmission", {}, **headers).status == 200)
    for emoji in ("👍", "👍", "👎"):
        sent = {"payloadJson": json.dumps({"emoji": emoji})}
        ask("SubmitFeedback", {"feedback": sent}, "SubmitService", **headers)
    ask("GetSubmission", {}, "SubmitService", **headers)
    ask("RetractFeedback", {}, "SubmitService", **headers)
    spec = {"ref": "urn:t", "feedbackTypes": ["wandb.reaction.1"]}
    made = ask("CreateFeedbackTokens", {"project": PROJECT, "tokens": [spec]}, "TokenService")["tokens"]
    ask("RevokeFeedbackToken", {"project": PROJECT, "token": made[0]["token"]}, "TokenService")
    running.run(stored.revoke_key("web", 1))


def with_rules(running: RunningServer, ask: Any, ids: list[str]) -> None:
    """The RPCs of retention, and the removal itself."""
    here = {"project": PROJECT}
    for days in (1, 2):
        ask("PutRetentionRule", {**here, "rule": {"feedbackType": "*", "days": days}}, "RetentionService")
    ask("PutRetentionRule", {**here, "rule": {"feedbackType": "rating1", "days": 9}}, "RetentionService")
    ask("ListRetentionRules", here, "RetentionService")
    ask("CheckRetention", here, "RetentionService")
    late = microseconds() + 4 * DAY
    assert running.run(Sweeper(running.server.store, running.server._writer, lambda: late).sweep())
    # What has an id that is gone is looked for in one more place.
    sent = {"ref": "urn:x", "feedbackType": "score", "id": ids[1]}
    refused = call(running, "/plaudit.v1.FeedbackService/CreateFeedback", {**here, "feedback": sent})
    assert refused.status == 409
    more = [{**sent, "id": uuid7(), "payloadJson": '{"value": 0.5, "a": {"b": 5}}'} for _ in range(3)]
    ask("BatchCreateFeedback", {**here, "feedback": more})
    ids[2:9] = [each["id"] for each in more[:2]]


def with_client(running: RunningServer, called: set[str], seen: dict[str, Any]) -> None:
    """The RPCs that stream."""
    client = running.client(PROJECT)
    records = [{"ref": "urn:s", "feedback_type": "t", "id": uuid7(), "payload": {"a": n}} for n in range(20)]
    client.ingest(records)
    times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z"}
    for existing in EXISTING:
        sent = [{**record, **times, "version": 1} for record in (*records[:5], {**records[0], "id": uuid7()})]
        client.import_records(sent, existing=existing, partial=True)
    assert list(client.stream())
    with client.watch(after=0) as changes:
        assert next(iter(changes))
        until(lambda: any(re.match(ACROSS_PROJECTS["the poll for watches"], text) for text in seen))
    called |= {"IngestFeedback", "ImportFeedback", "StreamFeedback", "WatchFeedback"}


def test_every_rpc_was_called(seen: Seen) -> None:
    assert seen.called == set(registry().rpcs) - {"Check", "List", "Watch", "ServerReflectionInfo"}


def test_every_statement_names_one_project_but_those_that_are_named_here(seen: Seen) -> None:
    across = set()
    with psycopg.connect(seen.database.url) as connection:
        for text, params in seen.statements.items():
            if UTILITY.match(text):
                continue
            if copied := COPY.match(text):
                assert copied[1] in BY_PROJECT, text
                continue
            [[[explained]]] = connection.execute(f"EXPLAIN (FORMAT JSON) {text}".encode(), params).fetchall()
            found = [name for name, pattern in ACROSS_PROJECTS.items() if re.match(pattern, text)]
            for node in scans(explained["Plan"]):
                if node["Node Type"] == "ModifyTable" or node["Relation Name"] not in BY_PROJECT:
                    continue
                condition = f"{node.get('Index Cond', '')} {node.get('Recheck Cond', '')} {node.get('Filter', '')}"
                if not re.search(r"project = '[^']+'::text", condition):
                    assert found, (text, json.dumps(node, indent=1))
                    across |= set(found)
    assert across == set(ACROSS_PROJECTS)


def test_no_statement_is_of_a_kind_that_a_cluster_refuses(seen: Seen) -> None:
    for text in seen.statements:
        assert not REFUSED.search(text), (REFUSED.search(text), text)
    # It would find them: what several projects on one database are written with.
    together = TogetherStatements(TRAITS)
    assert REFUSED.search(together.lock_free)
    assert not {together.lock_free, together.make_missing, together.move} & seen.statements.keys()
