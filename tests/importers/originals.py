"""What a sample holds, in the form that `reverse` makes again."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def original(path: Path) -> list[Any]:
    """The parts of an export that say what somebody judged, in the order of the export."""
    system = path.parent.name
    return list(_READERS.get(path.name, _READERS.get(system, _whole))(path))


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _whole(path: Path) -> list[Any]:
    value = _json(path)
    for name in ("result", "data", "content"):
        if isinstance(value, dict) and isinstance(value.get(name), list):
            return list(value[name])
    return list(value) if isinstance(value, list) else [value]


def _weave(path: Path) -> Iterator[Any]:
    for row in _json(path)["result"]:
        yield row | {"creator": row["creator"] or None}  # an empty one is none


def _documents(path: Path) -> Iterator[Any]:
    for project in _json(path)["data"]["projects"]["edges"]:
        for span in project["node"]["spans"]["edges"]:
            for found in span["node"]["documentEvaluations"]:
                yield found | {"spanId": span["node"]["spanId"], "project": project["node"]["name"]}


def _csv(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values: dict[str, Any] = {key: value or None for key, value in row.items()}
            values["metadata"] = ast.literal_eval(row["metadata"])
            values["identifier"] = row["identifier"]
            if values["result.score"] is not None:
                values["result.score"] = float(row["result.score"])
            yield values


def _parquet(path: Path) -> Iterator[Any]:
    from pyarrow import parquet

    for row in parquet.read_table(path).to_pylist():
        score = row["result.score"]
        row["result.score"] = None if score is None or score != score else score
        # Parquet has one structure for all rows: what a row has not is null in it.
        yield row


def _traces(path: Path) -> Iterator[Any]:
    value: Any = _lines(path) if path.suffix == ".jsonl" else _json(path)
    for trace in value.get("traces", [value]) if isinstance(value, dict) else value:
        info = trace.get("trace", trace)
        info = info.get("trace_info", info.get("info", info))
        yield from info.get("assessments", ())


def _scores(path: Path) -> Iterator[Any]:
    for trace in _json(path)["content"]:
        for score in trace["feedback_scores"]:
            yield {
                "of": (trace["id"], None, score["name"]),
                **score,
                "value_by_author": score.get("value_by_author") or None,
            }


def _columns(path: Path) -> Iterator[Any]:
    for row in _json(path):
        kept = {key: value for key, value in row.items() if ".responses" in key or ".suggestion" in key or key == "id"}
        if any(value is not None for key, value in kept.items() if key != "id"):
            yield kept


def _annotations(path: Path) -> Iterator[Any]:
    for task in _json(path):
        yield from task["annotations"]


def _row(path: Path) -> Iterator[Any]:
    kept = ("id", "span_id", "root_span_id", "_xact_id", "tags", "metadata", "created", "scores", "comments")
    yield {key: _json(path).get(key) for key in kept}


_READERS: dict[str, Any] = {
    "weave": _weave,
    "blob_scores.jsonl": _lines,
    "graphql_documents.json": _documents,
    "dataframe.csv": _csv,
    "dataframe.parquet": _parquet,
    "mlflow": _traces,
    "opik": _scores,
    "argilla": _columns,
    "label-studio": _annotations,
    "braintrust": _row,
}
