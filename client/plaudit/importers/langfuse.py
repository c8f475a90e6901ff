"""Langfuse's scores as a source: its API of versions 1 to 3, its batch exports, and its exports to a blob storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final

from plaudit.importers.documents import rows
from plaudit.importers.exact import plain
from plaudit.importers.mapping import Row, RowError, present, required, text_of
from plaudit.importers.source import MappedSource

_KINDS: Final = (
    ("traceId", "trace"),
    ("sessionId", "session"),
    ("datasetRunId", "dataset-run"),
)
_ORIGIN: Final = ("id", "source", "environment", "configId", "queueId", "executionTraceId", "metadata")
_BLOB_NAMES: Final = {
    "data_type": "dataType",
    "trace_id": "traceId",
    "observation_id": "observationId",
    "session_id": "sessionId",
    "dataset_run_id": "datasetRunId",
    "string_value": "stringValue",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
    "project_id": "projectId",
}


class LangfuseSource(MappedSource):
    """One record for each score; the forms of all versions give equal records, as far as they hold the same."""

    system: ClassVar[str] = "langfuse"
    lists: ClassVar[Sequence[str]] = ("data",)

    @property
    def lossy(self) -> Sequence[str]:
        """The rows of a blob storage have less than those of the API."""
        if self._is_poor:
            return ("exports to a blob storage have no metadata, authors, queues and corrections: nothing is updated",)
        return ()

    @property
    def existing(self) -> str | None:
        """What becomes of records that are stored: a poorer row never replaces a richer one."""
        return "keep" if self._is_poor else None

    @property
    def incomplete(self) -> str:
        """The files of a blob storage are of windows of time, and have no corrections."""
        return "an export to a blob storage has no corrections, and each file a window of time" if self._is_poor else ""

    @cached_property
    def _is_poor(self) -> bool:
        if self.given.path == "-":
            return False
        first = next(rows(self.given.path, self.lists), None)
        return first is not None and isinstance(first.value, Mapping) and "data_type" in first.value

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the type of the value, as all forms but the batch export's write it."""
        return ("dataType" in row or "data_type" in row) and "source" in row

    def unusable(self, row: Mapping[str, Any]) -> str:
        """Version 3 gives no target unless it is asked to."""
        is_third = "subject" not in row and not any(name in row for name in ("traceId", "trace_id", "sessionId"))
        if is_third:
            return "the scores have no subject, so nobody can say what they are about: ask for `fields=subject,details`"
        if not self.mapper.source_project and not text_of(row.get("projectId") or row.get("project_id")):
            return "this export does not name its project: give it with --source-project"
        return ""

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The record of a score."""
        if "data_type" in row:
            row = {_BLOB_NAMES.get(name, name): value for name, value in row.items()}
        [name] = required(row, "name")
        id = text_of(row.get("id"))
        target, trace, session = _target(row)
        created_at = row.get("createdAt") or row.get("timestamp")
        timestamp = row.get("timestamp") or created_at
        kind = text_of(row.get("dataType")) or _kind_of(row)
        payload, rest = _value(row, kind)
        origin = {"data_type": kind, **present(row, *_ORIGIN), **rest}
        if timestamp != created_at:
            origin["timestamp"] = timestamp
        author = text_of(row.get("authorUserId"))
        project = text_of(row.get("projectId"))
        yield Row(
            target,
            name,
            (id, name, text_of(timestamp)[:10]),
            created_at,
            origin=origin,
            payload=payload | present(row, "comment"),
            updated_at=row.get("updatedAt") or created_at,
            creator=text_of(row.get("authorUserName")) or None,
            user=author,
            trace=trace,
            session=session,
            project=project,
        )


def _target(row: Mapping[str, Any]) -> tuple[tuple[str, ...], str, str]:
    """What a score is about, the trace that this belongs to, and the session."""
    subject = row.get("subject")
    if isinstance(subject, Mapping):
        kind, id = required(subject, "kind", "id")
        trace = text_of(subject.get("traceId")) or (id if kind == "trace" else "")
        if kind == "observation":
            return (("trace", trace, "observation", id) if trace else ("observation", id)), trace, ""
        return ({"datasetRun": "dataset-run"}.get(kind, kind), id), trace, id if kind == "session" else ""
    for name, kind in _KINDS:
        if id := text_of(row.get(name)):
            observation = text_of(row.get("observationId"))
            if kind == "trace" and observation:
                return ("trace", id, "observation", observation), id, text_of(row.get("sessionId"))
            is_trace = kind == "trace"
            return (kind, id), id if is_trace else "", text_of(row.get("sessionId"))
    raise RowError("is about no trace, session or dataset run")


def _kind_of(row: Mapping[str, Any]) -> str:
    """The type of a value in an export that does not write it."""
    if row.get("stringValue") not in (None, ""):
        return "CATEGORICAL"
    return "NUMERIC"


def _value(row: Mapping[str, Any], kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a score says: its part of the payload, and what is for the origin."""
    value, text = row.get("value"), row.get("stringValue")
    match kind:
        case "NUMERIC":
            return ({} if value is None else {"score": value, "value": value}), {}
        case "BOOLEAN":
            is_true = bool(plain(value)) if value is not None else str(text).lower() == "true"
            return {"score": int(is_true), "value": is_true}, {}
        case "CATEGORICAL":
            if isinstance(text, str):
                return {"label": text}, present({"index": value}, "index")
            return {"label": text_of(value)}, {}
        case "TEXT":
            return {"value": text if isinstance(text, str) else value}, _number_beside(text, value)
        case "CORRECTION":
            return {"correction": text if isinstance(text, str) else value}, _number_beside(text, value)
    raise RowError(f"has a value of the unknown type {kind}")


def _number_beside(text: Any, value: Any) -> dict[str, Any]:
    """The number that some forms have beside a text, and that means nothing."""
    return present({"value": value}, "value") if isinstance(text, str) else {}
