"""MLflow's assessments as a source: traces as its API answers them, and as `Trace.to_json` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from plaudit.importers.documents import parsed
from plaudit.importers.exact import number_of
from plaudit.importers.mapping import Row, RowError, objects, present, required, text_of
from plaudit.importers.source import MappedSource

_ORIGIN: Final = ("source", "metadata", "valid", "overrides")


class MlflowSource(MappedSource):
    """One record for each assessment: feedback, expectations and issues."""

    system: ClassVar[str] = "mlflow"
    lists: ClassVar[Sequence[str]] = ("traces",)

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the names that MLflow gives to a trace's parts."""
        return "assessments" in row or "trace_location" in row or "trace_info" in _inner(row) or "info" in row

    def unusable(self, row: Mapping[str, Any]) -> str:
        """A DataFrame has other types of times, and lacks which assessments are valid."""
        if "client_request_id" in row and number_of(row.get("request_time")):
            return "a DataFrame of MLflow loses types: export with POST /api/3.0/mlflow/traces/search, or Trace.to_json"
        return ""

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The records of a trace's assessments."""
        info = _inner(row)
        info = info.get("trace_info") or info.get("info") or info
        if not isinstance(info, Mapping):
            raise RowError("is no trace")
        [trace] = required(info, "trace_id")
        location = info.get("trace_location")
        experiment = location.get("mlflow_experiment") if isinstance(location, Mapping) else None
        project = text_of(experiment.get("experiment_id")) if isinstance(experiment, Mapping) else ""
        for assessment in objects(info.get("assessments")):
            try:
                yield _row(assessment, trace, project, text_of(_session(info)))
            except RowError as error:
                yield str(error)


def _inner(row: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = row.get("trace")
    return inner if isinstance(inner, Mapping) else row


def _session(info: Mapping[str, Any]) -> Any:
    metadata = info.get("trace_metadata")
    return metadata.get("mlflow.trace.session") if isinstance(metadata, Mapping) else None


def _row(assessment: Mapping[str, Any], trace: str, project: str, session: str) -> Row:
    id, name = required(assessment, "assessment_id", "assessment_name")
    source = assessment.get("source")
    author = text_of(source.get("source_id")) if isinstance(source, Mapping) else ""
    span = text_of(assessment.get("span_id"))
    payload, rest = _value(assessment)
    if assessment.get("rationale") is not None:
        payload["comment"] = assessment["rationale"]
    return Row(
        ("trace", trace, "span", span) if span else ("trace", trace),
        name,
        (id,),
        assessment.get("create_time"),
        origin={"id": id, **rest, **present(assessment, *_ORIGIN)},
        payload=payload,
        updated_at=assessment.get("last_update_time"),
        creator=author or None,
        user=author,
        trace=trace,
        session=session,
        project=project,
    )


def _value(assessment: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an assessment says: its part of the payload, and what is for the origin."""
    for kind in ("feedback", "expectation", "issue"):
        part = assessment.get(kind)
        if not isinstance(part, Mapping):
            continue
        if kind == "issue":
            return {}, {"kind": kind, "issue": part}
        payload: dict[str, Any] = {}
        rest: dict[str, Any] = {"kind": kind}
        serialized = part.get("serialized_value")
        if isinstance(serialized, Mapping):
            rest["serialized_value"] = serialized
            payload["value"] = parsed(text_of(serialized.get("value")))
        elif "value" in part:
            value = part["value"]
            payload["value"] = value
            if kind == "feedback" and number_of(value):
                payload["score"] = value
            elif kind == "feedback" and isinstance(value, str):
                payload["label"] = value
        if part.get("error") is not None:
            payload["error"] = part["error"]
        return payload, rest
    raise RowError("an assessment has no feedback, expectation or issue")
