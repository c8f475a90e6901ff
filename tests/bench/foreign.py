"""Exports of other systems with the given number of rows, in the shapes of the samples that importers are tested on."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from plaudit._core.lines import line_of
from plaudit.v1 import Feedback
from tests.bench import rows

PROJECT = "bench/moved"
_AT: Final = "2026-11-28T10:55:01.000Z"
_REASON: Final = "the answer names the right cause but leaves out when it happened, and cites no line of the source"
_MIX: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
_PAGE: Final = 1_000

Row = Mapping[str, Any]


def _id(number: int) -> str:
    """Ids in no order, as they are where nobody makes them by time."""
    return str(uuid.UUID(int=(number + 1) * _MIX % 2**128))


def _own(number: int) -> Feedback:
    message = rows.feedback(number, id=_id(number))
    message.created_at.FromJsonString(_AT)
    message.updated_at.FromJsonString(_AT)
    return message


def _weave(number: int) -> Row:
    row = {"id": _id(number), "project_id": PROJECT, "weave_ref": f"weave:///{PROJECT}/call/{number % 1000}"}
    payload = {"score": number / 7, "reason": _REASON}
    return row | {"feedback_type": "t", "payload": payload, "created_at": _AT, "creator": "ana", "wb_user_id": "u1"}


def _langfuse(number: int) -> Row:
    row = {"id": f"s{number}", "name": "quality", "dataType": "NUMERIC", "value": number / 7, "source": "API"}
    times = {"timestamp": _AT, "createdAt": _AT, "updatedAt": _AT}
    return row | times | {"projectId": "p", "traceId": f"t{number % 1000}", "comment": _REASON}


def _langsmith(number: int) -> Row:
    author = {"type": "api", "metadata": {}, "user_id": f"u{number % 20}", "user_name": "ana"}
    row = {"id": _id(number), "key": "correctness", "score": number / 7, "comment": _REASON, "feedback_source": author}
    return row | {"run_id": _id(number), "session_id": _id(0), "created_at": _AT, "modified_at": _AT}


def _phoenix(number: int) -> Row:
    row = {"id": f"U{number}", "source": "API", "user_id": f"u{number % 20}", "name": "quality", "metadata": {}}
    row |= {"annotator_kind": "HUMAN", "identifier": f"r{number}", "span_id": _span(number)}
    times = {"created_at": _AT, "updated_at": _AT}
    return row | times | {"result": {"label": "good", "score": number / 7, "explanation": _REASON}}


def _span(number: int) -> str:
    return f"{number:016x}"


def _spans(number: int) -> Row:
    return {"context": {"span_id": _span(number), "trace_id": f"{number:032x}"}}


def _mlflow(number: int) -> Row:
    assessment = {"assessment_id": f"a-{number}", "assessment_name": "correctness", "rationale": _REASON, "valid": True}
    assessment |= {"source": {"source_type": "HUMAN", "source_id": "ana"}, "feedback": {"value": number / 7}}
    assessment |= {"create_time": _AT, "last_update_time": _AT}
    return {"trace_id": f"tr-{number}", "trace_location": {}, "assessments": [assessment]}


def _opik(number: int) -> Row:
    score = {"name": "quality", "value": number / 7, "reason": _REASON, "source": "sdk", "created_by": "ana"}
    return {"id": _id(number), "feedback_scores": [score | {"created_at": _AT, "last_updated_at": _AT}]}


def _argilla(number: int) -> Row:
    row = {"id": str(number), "text": _REASON, "rating.responses": [number % 5], "rating.responses.users": ["u1"]}
    return row | {"rating.responses.status": ["submitted"]}


def _label_studio(number: int) -> Row:
    result = {"from_name": "c", "to_name": "t", "type": "choices", "value": {"choices": ["a"]}}
    annotation = {"id": number, "unique_id": _id(number), "completed_by": 2, "result": [result], "created_at": _AT}
    return {"id": number, "data": {"text": _REASON}, "project": 1, "predictions": [1], "annotations": [annotation]}


def _braintrust(number: int) -> Row:
    row = {"id": _id(number), "_xact_id": str(10**18 + number), "created": _AT, "project_id": "p"}
    return row | {"root_span_id": _id(number), "scores": {"quality": number % 7 / 7}}


def _table(number: int) -> Row:
    row = {"answer": f"a{number}", "metric": "quality", "ts": 1_795_863_301_000 + number, "rater": f"u{number % 20}"}
    return row | {"rating": number % 5, "reason": _REASON}


_MAPPING: Final = """
key = ["answer", "metric"]
[map]
ref = "https://app.example.org/{answer}"
type = "{metric}"
created_at = {column = "ts", unit = "ms"}
creator = "rater"
[payload]
score = {column = "rating", as = "number"}
rest = "origin"
"""

_DOCUMENTS: Final[Mapping[str, tuple[str, Callable[[int], Row]]]] = {
    "weave": ("result", _weave),
    "langfuse": ("data", _langfuse),
    "langsmith": ("", _langsmith),
    "phoenix": ("data", _phoenix),
    "mlflow": ("traces", _mlflow),
    "opik": ("content", _opik),
    "argilla": ("", _argilla),
    "label-studio": ("", _label_studio),
    "braintrust": ("events", _braintrust),
}

SYSTEMS: Final = ("plaudit", *_DOCUMENTS, "generic-csv", "generic-parquet")
"""What an export is of; `phoenix` has a file of its spans too."""


def written(system: str, folder: Path, count: int) -> list[str]:
    """Write an export; returns the arguments of `plaudit import` for it."""
    if system == "plaudit":
        path = folder / "lines.jsonl"
        with path.open("w", encoding="utf-8") as out:
            out.writelines(f"{line_of(_own(number))}\n" for number in range(count))
        return [str(path)]
    if system in _DOCUMENTS:
        member, made = _DOCUMENTS[system]
        path = folder / f"{system}.json"
        _document(path, member, made, count)
        if system != "phoenix":
            return [str(path), "--from", system]
        _document(folder / "spans.json", "data", _spans, count)
        return [str(path), "--from", system, "--spans", str(folder / "spans.json")]
    mapping = folder / "mapping.toml"
    mapping.write_text(_MAPPING)
    path = folder / f"table.{system.partition('-')[2]}"
    (_parquet if path.suffix == ".parquet" else _csv)(path, count)
    return [str(path), "--from", "generic", "--map", str(mapping)]


def _document(path: Path, member: str, made: Callable[[int], Row], count: int) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.write(f'{{"{member}":[' if member else "[")
        for number in range(count):
            out.write(f"{',' if number else ''}\n{json.dumps(made(number))}")
        out.write("]}" if member else "]")


def _csv(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.DictWriter(out, list(_table(0)))
        rows.writeheader()
        rows.writerows(_table(number) for number in range(count))


def _parquet(path: Path, count: int) -> None:
    """One row group, as pandas writes it."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.concat_tables(map(pyarrow.Table.from_pylist, _pages(count)))
    parquet.write_table(table, path, row_group_size=count)


def _pages(count: int) -> Iterator[list[Row]]:
    for start in range(0, count, _PAGE):
        yield [_table(number) for number in range(start, min(start + _PAGE, count))]
