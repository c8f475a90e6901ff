"""Every worked case of shared/conformance, through a real server and the client."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

import plaudit
import plaudit_server.testing
from plaudit.v1 import Feedback, SpanStatusCode
from plaudit_server.errors import Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.importing import Import
from plaudit_server.testing import RunningServer
from tests.shared import as_parameters, worked_cases

PROJECT = "acme/chat"

ALIASES = {"project_id": "project", "weave_ref": "ref", "wb_user_id": "user_id", "feedback_id": "id"}


def uuid_of(name: str) -> str:
    """A UUID for a name such as `f1`; UUIDs sort as their names do."""
    number = int(name[1:]) if name[1:].isdigit() else 0xFFFF
    return f"00000000-0000-7000-8000-{number:012x}"


class Case:
    """Runs one case: names become UUIDs in requests, and names again in answers."""

    def __init__(self, case: dict[str, Any], running: RunningServer) -> None:
        self.running = running
        self.client = running.client(PROJECT)
        self.calls = 0
        self.given = [self.mapped(row) for row in case["given"] if "feedback_type" in row]
        self.when = self.mapped(case["when"])
        self.expect = case["expect"]
        self.ok = False

    def mapped(self, value: Any, key: str = "") -> Any:
        """The value with ids as UUIDs and `$repeat` written out."""
        match value:
            case {"$repeat": [text, times]}:
                return text * times
            case {"$eq": [{"$getField": "id"}, {"$literal": str(name)}]}:
                return {"$eq": [{"$getField": "id"}, {"$literal": uuid_of(name)}]}
            case {"$in": [{"$getField": "id"}, [*members]]}:
                literals = [{"$literal": uuid_of(m["$literal"])} if "$literal" in m else m for m in members]
                return {"$in": [{"$getField": "id"}, literals]}
            case dict():
                return {k: self.mapped(v, k) for k, v in value.items()}
            case list():
                return [self.mapped(v, key) for v in value]
            case str() if key in ("id", "feedback_id"):
                return uuid_of(value)
            case _:
                return value

    def store_given(self) -> None:
        """Rows enter through the store: only it, or an import, can set `created_at`."""
        for row in self.given:
            row = {ALIASES.get(name, name): value for name, value in row.items() if value is not None}
            created_at = datetime.fromisoformat(row.pop("created_at"))
            message = Feedback(
                payload_json=json.dumps(row.pop("payload"), ensure_ascii=False),
                span_status_code=status_of(row.pop("span_status_code", "UNSET")),
                **row,
            )
            message.created_at.FromDatetime(created_at)
            out: list[Violation] = []
            record = rules.new_record(message, message.project, "alice", out, imported=True)
            assert record is not None, out
            command = Import(message.project, (record,))
            self.running.run(self.running.server.store.write([command]))

    def ids(self, project: str = PROJECT) -> list[str]:
        return [self.name_of(row.id) for row in rows_of(project, self.client)]

    def names(self) -> list[str]:
        return [f"f{int(row['id'].rpartition('-')[2], 16)}" for row in self.given]

    def name_of(self, id: str) -> str:
        names: dict[str, str] = dict(zip((row["id"] for row in self.given), self.names(), strict=True))
        return names.get(id, id)


def rows_of(project: str, client: plaudit.Client) -> plaudit.FeedbackQuery:
    return plaudit.FeedbackQuery(*entity_and_name(project), None, client=client)


def entity_and_name(project: str) -> tuple[str, str]:
    entity, _, name = project.partition("/")
    return entity, name


def status_of(name: str) -> SpanStatusCode.ValueType:
    return SpanStatusCode.Value(f"SPAN_STATUS_CODE_{'UNSPECIFIED' if name == 'UNSET' else name}")


ERRORS = {
    "invalid_argument": (plaudit.InvalidArgumentError,),
    "already_exists": (plaudit.AlreadyExistsError,),
    "not_found": (plaudit.NotFoundError,),
    "value_error": (ValueError,),
    "ValueError": (ValueError,),
    "TypeError": (TypeError,),
    "InvalidArgumentError": (plaudit.InvalidArgumentError,),
}


def record_of(req: dict[str, Any]) -> dict[str, Any]:
    return {ALIASES.get(name, name): value for name, value in req.items() if name not in ("project_id", "wb_user_id")}


def do_create(case: Case) -> plaudit.Feedback:
    return case.client.create(record_of(case.when["req"]), project=case.when["req"]["project_id"])


def do_create_batch(case: Case) -> list[Any]:
    return list(case.client.create_batch([record_of(req) for req in case.when["batch"]], project=PROJECT))


def do_replace(case: Case) -> plaudit.Feedback:
    return case.client.replace(record_of(case.when["req"]), project=case.when["req"]["project_id"])


def do_purge(case: Case) -> int:
    return case.client.purge(query=case.when["query"], project=case.when["project_id"])


def do_parse_ref(case: Case) -> plaudit.Ref:
    return plaudit.parse_ref(case.when["uri"])


def do_query(case: Case) -> plaudit.FeedbackQuery:
    query = query_of(case)
    query.execute()
    return query


def query_of(case: Case) -> plaudit.FeedbackQuery:
    when = case.when
    order = [("-" if key.get("direction") == "desc" else "") + key["field"] for key in when.get("sort_by") or ()]
    return plaudit.FeedbackQuery(
        *entity_and_name(when["project_id"]),
        when.get("query"),
        offset=when.get("offset"),
        limit=when.get("limit"),
        order_by=order or None,
        client=case.client,
    )


class Printer:
    """What IPython gives to `_repr_pretty_`, as far as it is used."""

    def __init__(self) -> None:
        self.written = ""

    def text(self, text: str) -> None:
        self.written += text

    def breakable(self, sep: str = " ") -> None:
        self.written += sep

    break_ = breakable


def pretty(shown: Any, cycle: bool = False) -> str:
    printer = Printer()
    shown._repr_pretty_(printer, cycle)
    return printer.written


def do_client(case: Case) -> dict[int, Any]:
    """Run the steps; the value of each step that ends with an expression, by index."""

    def ref_query(uri: str) -> plaudit.RefFeedbackQuery:
        return plaudit.RefFeedbackQuery(uri, client=case.client)

    scope: dict[str, Any] = {"RefFeedbackQuery": ref_query, "client": case.client, "pretty": pretty}
    values: dict[int, Any] = {}
    case.calls_before = case.running.server.calls  # type: ignore[attr-defined]
    for index, step in enumerate(case.when["steps"]):
        step = step.replace("'f1'", repr(uuid_of("f1"))).replace("'f2'", repr(uuid_of("f2")))
        tree = ast.parse(step)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "step", "exec"), scope)
        if isinstance(last, ast.Expr):
            values[index] = eval(compile(ast.Expression(last.value), "step", "eval"), scope)
    return values


DO = {
    "create": do_create,
    "create_batch": do_create_batch,
    "replace": do_replace,
    "purge": do_purge,
    "parse_ref": do_parse_ref,
    "query": do_query,
    "client": do_client,
}


def includes(actual: Any, expected: Any) -> bool:
    """Whether every part of `expected` is in `actual`."""
    if isinstance(expected, dict):
        return all(key in actual and includes(actual[key], value) for key, value in expected.items())
    return bool(actual == expected)


def with_aliases(row: plaudit.Feedback) -> dict[str, Any]:
    # Authentication is off, so that every caller, alice too, is `anonymous`.
    user = "alice" if row.user_id == "anonymous" else row.user_id
    return {
        **row.to_dict(),
        "payload": row.payload,
        "weave_ref": row.ref,
        "project_id": row.project,
        "wb_user_id": user,
    }


def stored(case: Case, result: Any) -> plaudit.Feedback:
    if isinstance(result, plaudit.Feedback):
        return result
    projects = ("acme/chat", "other/p")
    rows = [row for p in projects for row in rows_of(p, case.client)]
    new = [row for row in rows if row.id not in {given["id"] for given in case.given}]
    assert len(new) == 1
    return new[0]


def check(case: Case, name: str, expected: Any, result: Any) -> None:
    match name:
        case "ok":
            assert expected is True
        case "ids":
            assert [case.name_of(row.id) for row in result] == expected
        case "ids_after":
            assert case.ids() == expected
        case "other_project_ids_after":
            assert case.ids("other/p") == expected
        case "row_count":
            assert len(result) == expected
        case "total_count":
            assert result.count() == expected
        case "row_count_after":
            assert case.client.count(None, project=PROJECT) == expected
        case "row_defaults":
            assert all(includes(with_aliases(row), expected) for row in result)
        case "stored_payload":
            assert stored(case, result).payload == expected
        case "stored_payload_subset":
            assert includes(stored(case, result).payload, expected)
        case "stored_subset":
            assert includes(with_aliases(stored(case, result)), expected)
        case "result_count":
            assert len(result) == expected
        case "types_in_order":
            assert [row.feedback_type for row in result] == expected
        case "requests_sent":
            assert case.running.server.calls - case.calls_before == expected  # type: ignore[attr-defined]
        case "value":
            last = result[max(result)]
            assert (
                [case.name_of(v) for v in last]
                if isinstance(last, list)
                else case.name_of(last)
                if isinstance(last, str)
                else last
            ) == expected
        case "values":
            assert {str(index): value for index, value in result.items() if str(index) in expected} == expected
        case "contains":
            assert expected in result[max(result)]
        case "columns":
            header = result[max(result)]
            places = [header.index(column) for column in expected]
            assert places == sorted(places)
            assert ("Ref" in header.splitlines()[1]) == ("Ref" in expected)
        case "data_rows":
            assert "weave:///" not in result[max(result)]
        case "extra":
            assert [part for edge in result.path for part in (edge.edge, edge.value)] == expected
        case "uri":
            assert str(result) == expected
        case "kind" | "name" | "digest" | "call_id" | "trace_id" | "conversation_id":
            assert getattr(result, name) == expected
        case _:
            pytest.fail(f"the runner does not know {name!r}")


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with plaudit_server.testing.server() as running:
        yield running


@pytest.mark.parametrize("data", as_parameters(worked_cases()))
def test_case(data: dict[str, Any], server: RunningServer) -> None:
    case = Case(data, server)
    case.store_given()
    expect = dict(case.expect)
    if "error" in expect:
        with pytest.raises(ERRORS[expect.pop("error")], match=expect.pop("message_contains", None)):
            DO[case.when["op"]](case)
        result: Any = None
    else:
        result = DO[case.when["op"]](case)
    for name, expected in expect.items():
        check(case, name, expected, result)
