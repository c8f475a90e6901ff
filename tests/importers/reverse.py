"""From records back to the rows of their system: proof that an importer loses nothing. Only the parts that say what
somebody judged are made again; what a trace or a task holds beside that was never feedback.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote

Stored = Mapping[str, Any]
"""A record as `Feedback.to_dict()` gives it, with its payload's JSON read."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d")


def comparable(value: Any) -> Any:
    """A value in which absent and null are alike, and times are instants."""
    if isinstance(value, Mapping):
        made = {key: comparable(member) for key, member in value.items()}
        return {key: member for key, member in made.items() if member is not None}
    if isinstance(value, list):
        return [comparable(member) for member in value]
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str) and _TIME.match(value):
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return moment.timestamp() if moment.tzinfo else datetime.fromisoformat(f"{value}+00:00").timestamp()
    return value


def target(record: Stored) -> dict[str, str]:
    """The kinds and ids in a ref, and the project before them; instances are `default`."""
    parts = [unquote(part) for part in record["ref"].partition("://")[2].split("/")][1:]
    found = {} if len(parts) % 2 == 0 else {"project": parts.pop(0)}
    return found | dict(zip(parts[::2], parts[1::2], strict=True))


def name(record: Stored) -> str:
    """What the system calls it."""
    return str(record["payload"]["origin"].get("name", record["feedback_type"]))


def user(record: Stored, system: str) -> str | None:
    """The user's id there."""
    id = str(record["user_id"]).removeprefix(f"{system}:")
    return None if id == "anonymous" else id


def weave(records: Sequence[Stored]) -> list[Any]:
    """Rows of /feedback/query."""
    names = {"project": "project_id", "ref": "weave_ref", "user_id": "wb_user_id"}
    left_out = {"updated_at", "version", "revision", "owner"}
    return [
        {
            names.get(key, key): value
            for key, value in record.items()
            if key not in left_out and (key == "payload" or value not in ({}, [], "", "UNSET"))
        }
        for record in records
    ]


def langfuse(records: Sequence[Stored]) -> list[Any]:
    """Scores of the API's version 2."""
    rows = []
    for record in records:
        payload, origin, about = record["payload"], record["payload"]["origin"], target(record)
        kind = origin["data_type"]
        value, text = payload.get("value"), None
        match kind:
            case "BOOLEAN":
                value, text = payload["score"], str(payload["value"])
            case "CATEGORICAL":
                value, text = origin.get("index"), payload["label"]
            case "TEXT":
                value, text = origin.get("value"), payload["value"]
            case "CORRECTION":
                value, text = origin.get("value"), payload["correction"]
        kept = ("id", "source", "environment", "configId", "queueId", "executionTraceId", "metadata")
        rows.append(
            {key: origin.get(key) for key in kept}
            | {
                "name": name(record),
                "projectId": about["project"],
                "traceId": about.get("trace"),
                "observationId": about.get("observation"),
                "sessionId": about.get("session"),
                "datasetRunId": about.get("dataset-run"),
                "dataType": kind,
                "value": value,
                "stringValue": text,
                "comment": payload.get("comment"),
                "authorUserId": user(record, "langfuse"),
                "timestamp": origin.get("timestamp", record["created_at"]),
                "createdAt": record["created_at"],
                "updatedAt": record["updated_at"],
            }
        )
    return rows


def langfuse_third(records: Sequence[Stored]) -> list[Any]:
    """Scores of the API's version 3."""
    rows = []
    for record, second in zip(records, langfuse(records), strict=True):
        payload, about = record["payload"], target(record)
        kind = next(kind for kind in ("observation", "trace", "session", "dataset-run") if kind in about)
        subject = {"kind": kind, "id": about[kind]}
        if kind == "observation":
            subject["traceId"] = about["trace"]
        gone = ("traceId", "observationId", "sessionId", "datasetRunId", "stringValue", "executionTraceId")
        row = {key: value for key, value in second.items() if key not in gone}
        row["value"] = payload.get("value", payload.get("label", payload.get("correction")))
        rows.append(row | {"subject": subject})
    return rows


def langfuse_blob(records: Sequence[Stored]) -> list[Any]:
    """Rows of a blob storage."""
    names = {
        "dataType": "data_type", "traceId": "trace_id", "observationId": "observation_id", "sessionId": "session_id",
        "datasetRunId": "dataset_run_id", "stringValue": "string_value", "createdAt": "created_at",
        "updatedAt": "updated_at", "projectId": "project_id",
    }  # fmt: skip
    return [{names.get(key, key): value for key, value in row.items()} for row in langfuse(records)]


def langsmith(records: Sequence[Stored]) -> list[Any]:
    """What list_feedback gives."""
    rows = []
    for record in records:
        payload, origin = record["payload"], record["payload"]["origin"]
        score, value = payload.get("score"), payload.get("label", payload.get("value"))
        if origin.get("is_boolean"):
            score = bool(score)
            value = None if value is score else value
        kept = (
            "id", "trace_id", "run_id", "session_id", "start_time", "feedback_group_id", "comparative_experiment_id",
            "extra", "feedback_source",
        )  # fmt: skip
        rows.append(
            {key: origin.get(key) for key in kept}
            | {
                "created_at": record["created_at"],
                "modified_at": record["updated_at"],
                "key": name(record),
                "score": score,
                "value": value,
                "comment": payload.get("comment"),
                "correction": payload.get("correction"),
            }
        )
    return rows


def phoenix(records: Sequence[Stored]) -> list[Any]:
    """Annotations by REST."""
    rows = []
    for record in records:
        payload, origin, about = record["payload"], record["payload"]["origin"], target(record)
        is_note = record["feedback_type"] == "wandb.note.1"
        rows.append(
            {f"{kind}_id": about[kind] for kind in ("span", "trace", "session") if kind in about}
            | {key: origin.get(key) for key in ("id", "source", "annotator_kind", "metadata", "identifier")}
            | {
                "created_at": record["created_at"],
                "updated_at": record["updated_at"],
                "user_id": user(record, "phoenix"),
                "name": "note" if is_note else name(record),
                "result": {
                    "label": payload.get("label"),
                    "score": payload.get("score"),
                    "explanation": payload["note"] if is_note else payload.get("comment"),
                },
            }
        )
    return rows


def phoenix_frame(records: Sequence[Stored]) -> list[Any]:
    """Rows of a DataFrame."""
    rows = []
    for row in phoenix(records):
        result = {f"result.{key}": value for key, value in row.pop("result").items()}
        rows.append({"annotation_name": row.pop("name"), **row, **result})
    return rows


def phoenix_documents(records: Sequence[Stored]) -> list[Any]:
    """Evaluations of documents, with the project and the span of each."""
    names = {"annotator_kind": "annotatorKind", "created_at": "createdAt", "updated_at": "updatedAt"}
    rows = []
    for record, row in zip(records, phoenix(records), strict=True):
        about = target(record)
        result = row.pop("result")
        row |= result | {"documentPosition": int(about["document"]), "spanId": row.pop("span_id")}
        row["project"] = record["payload"]["origin"]["project"]
        rows.append({names.get(key, key): value for key, value in row.items()})
    return rows


def mlflow(records: Sequence[Stored]) -> list[Any]:
    """Assessments."""
    rows = []
    for record in records:
        payload, origin, about = record["payload"], record["payload"]["origin"], target(record)
        kind = origin["kind"]
        part: dict[str, Any] = {}
        if kind == "issue":
            part = origin["issue"]
        elif "serialized_value" in origin:
            part["serialized_value"] = origin["serialized_value"]
        elif "value" in payload:
            part["value"] = payload["value"]
        if "error" in payload:
            part["error"] = payload["error"]
        rows.append(
            {
                "assessment_id": origin["id"],
                "assessment_name": name(record),
                "trace_id": about["trace"],
                "span_id": about.get("span"),
                "create_time": record["created_at"],
                "last_update_time": record["updated_at"],
                kind: part,
                "rationale": payload.get("comment"),
            }
            | {key: origin.get(key) for key in ("source", "metadata", "valid", "overrides")}
        )
    return rows


def opik(records: Sequence[Stored]) -> list[Any]:
    """Scores, each with the trace that it is of."""
    rows: dict[Any, Any] = {}
    for record in records:
        payload, origin, about = record["payload"], record["payload"]["origin"], target(record)
        part = {
            "value": payload.get("score"),
            "reason": payload.get("comment"),
            "category_name": payload.get("label"),
            "source": origin.get("source"),
        }
        key = about["trace"], about.get("span"), name(record)
        if "author" in origin:
            row = rows.setdefault(key, {"of": key, **origin["score"], "value_by_author": {}})
            part |= {key: origin.get(key) for key in ("span_type", "span_id", "source_queue_id")}
            row["value_by_author"][origin["author"]] = part | {"last_updated_at": record["updated_at"]}
        else:
            times = ("created_at", "last_updated_at", "created_by", "last_updated_by")
            rows[key] = {"of": key, "name": name(record), **part, **{each: origin.get(each) for each in times}}
    return list(rows.values())


def argilla(records: Sequence[Stored]) -> list[Any]:
    """The columns of responses and suggestions, with the id of each record."""
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: record["payload"]["origin"].get("position", 0)):
        payload, origin = record["payload"], record["payload"]["origin"]
        row, question = rows[origin["record"]], origin["question"]
        row["id"] = origin["record"]
        value = payload.get("value", payload.get("label"))
        if origin["kind"] == "suggestion":
            row[f"{question}.suggestion"] = value
            row[f"{question}.suggestion.score"] = origin.get("score")
            row[f"{question}.suggestion.agent"] = record["creator"]
        else:
            row.setdefault(f"{question}.responses", []).append(value)
            row.setdefault(f"{question}.responses.users", []).append(user(record, "argilla"))
            row.setdefault(f"{question}.responses.status", []).append(origin["status"])
    return list(rows.values())


def label_studio(records: Sequence[Stored]) -> list[Any]:
    """Annotations."""
    return [record["payload"]["origin"]["annotation"] for record in records]


def braintrust(records: Sequence[Stored]) -> list[Any]:
    """Scores, expected values and comments of rows."""
    rows: dict[str, dict[str, Any]] = defaultdict(lambda: {"scores": {}, "comments": []})
    for record in records:
        payload, origin = record["payload"], record["payload"]["origin"]
        row = rows[origin["id"]]
        row["id"] = origin["id"]
        if "comment" in origin:
            row["comments"].append(origin["comment"])
            continue
        row |= {key: origin.get(key) for key in ("span_id", "root_span_id", "_xact_id", "tags", "metadata")}
        row["created"] = record["created_at"]
        if origin["path"] == ["expected"]:
            row["expected"] = payload["correction"]
        else:
            row["scores"][name(record)] = payload["score"]
    return list(rows.values())


REVERSES: dict[str, Callable[[Sequence[Stored]], list[Any]]] = {
    "weave/feedback_query.json": weave,
    "langfuse/scores_v2.json": langfuse,
    "langfuse/scores_v3.json": langfuse_third,
    "langfuse/blob_scores.jsonl": langfuse_blob,
    "langsmith/list_feedback.json": langsmith,
    "phoenix/span_annotations.json": phoenix,
    "phoenix/trace_annotations.json": phoenix,
    "phoenix/session_annotations.json": phoenix,
    "phoenix/graphql_documents.json": phoenix_documents,
    "phoenix/dataframe.csv": phoenix_frame,
    "phoenix/dataframe.parquet": phoenix_frame,
    "mlflow/traces_search.json": mlflow,
    "mlflow/trace_info.json": mlflow,
    "mlflow/traces.jsonl": mlflow,
    "opik/traces.json": opik,
    "argilla/records_flat.json": argilla,
    "label-studio/export_json.json": label_studio,
    "label-studio/export_json_all_tasks.json": label_studio,
    "braintrust/log_row.json": braintrust,
}
"""By the sample that each is the reverse of."""


def stored(payload_json: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A record with its payload's JSON read."""
    return {**fields, "payload": json.loads(payload_json)}
