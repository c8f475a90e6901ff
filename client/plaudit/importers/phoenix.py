"""Phoenix's annotations as a source: of spans, traces and sessions by REST, of documents by GraphQL, and DataFrames."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final

from plaudit._contract import limits
from plaudit.importers import Gone, Record, Refusal
from plaudit.importers.documents import rows
from plaudit.importers.exact import NotFinite, number_of, plain
from plaudit.importers.kept import Kept
from plaudit.importers.mapping import Row, RowError, objects, present, required, text_of
from plaudit.importers.source import MappedSource
from plaudit.importers.tables import is_table, table

_TARGETS: Final = (("span_id", "span"), ("trace_id", "trace"), ("session_id", "session"))
_ORIGIN: Final = ("id", "source", "annotator_kind", "metadata")
_NOTE: Final = "note"
_RIGHT_FORM: Final = (
    "export with GET /v1/projects/…/span_annotations, or the DataFrame as CSV or Parquet with its index"
)
_LITERAL_BYTES: Final = 64 * 1024


class PhoenixSource(MappedSource):
    """One record for each annotation; notes become plaudit's own notes."""

    system: ClassVar[str] = "phoenix"
    lists: ClassVar[Sequence[str]] = ("data",)

    @property
    def lossy(self) -> Sequence[str]:
        """In a CSV null and an empty text are alike, and the DataFrame has no notes unless asked to."""
        if is_table(self.given.path) and not self.given.path.endswith(".parquet"):
            return ("in a CSV of Phoenix null and an empty text are alike: both are taken for null",)
        return ()

    @property
    def incomplete(self) -> str:
        """A DataFrame leaves out notes unless it is asked for them, and other targets than its own."""
        return "a DataFrame of Phoenix leaves out notes" if is_table(self.given.path) else ""

    @cached_property
    def _traces(self) -> Kept:
        """The traces of spans, which annotations do not name: of a file with the spans, if one is given."""
        file = self.given.options.get("spans")
        found = Kept()
        for row in rows(str(file), ("data",)) if file else ():
            span = row.value if isinstance(row.value, Mapping) else {}
            context = span.get("context")
            ids = context if isinstance(context, Mapping) else span
            if text_of(ids.get("span_id")) and text_of(ids.get("trace_id")):
                found.put(text_of(ids["span_id"]), text=text_of(ids["trace_id"]))
        return found

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By who annotates, or by the documents of spans."""
        return "annotator_kind" in row or "annotation_name" in row or "projects" in _graph(row)

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records of the rows, also of a table."""
        if not is_table(self.given.path):
            yield from super().read()
            return
        for row in table(self.given.path):
            yield from self.read_row(row if row.wrong else row._replace(value=_blanks_as_none(row.value)))

    def unusable(self, row: Mapping[str, Any]) -> str:
        """A DataFrame written without its index has lost which span it is about."""
        is_frame = any(name.startswith("result.") for name in row)
        if is_frame and not any(name in row for name, _ in _TARGETS):
            return f"this DataFrame was written without its index, the id of the span: {_RIGHT_FORM}"
        return ""

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The record of an annotation, or the records of all documents."""
        if "projects" in _graph(row):
            yield from self._documents(_graph(row))
            return
        changed = {}
        metadata = row.get("metadata")
        if isinstance(metadata, str):
            changed["metadata"] = _literal(metadata)
        parts = row.get("result")
        if not isinstance(parts, Mapping):
            parts = {name: row.get(f"result.{name}") for name in ("label", "score", "explanation")}
        for name, kind in _TARGETS:
            if id := text_of(row.get(name)):
                yield self._row(
                    {**row, **changed}, (kind, id), parts, text_of(row.get("name") or row.get("annotation_name"))
                )
                return
        raise RowError("is about no span, trace or session")

    def _documents(self, graph: Mapping[str, Any]) -> Iterator[Row | str]:
        for project in _nodes(graph.get("projects")):
            for span in _nodes(project.get("spans")):
                for found in objects(span.get("documentEvaluations")):
                    row = {
                        "id": found.get("id"),
                        "source": found.get("source"),
                        "annotator_kind": found.get("annotatorKind"),
                        "metadata": found.get("metadata"),
                        "identifier": found.get("identifier"),
                        "created_at": found.get("createdAt"),
                        "updated_at": found.get("updatedAt"),
                        "project": project.get("name"),
                    }
                    try:
                        [span_id] = required(span, "spanId")
                        target = ("span", span_id, "document", text_of(found.get("documentPosition")))
                        yield self._row(row, target, found, text_of(found.get("name")))
                    except RowError as error:
                        yield str(error)

    def _row(self, row: Mapping[str, Any], target: Sequence[str], parts: Mapping[str, Any], name: str) -> Row:
        identifier = text_of(row.get("identifier"))
        explanation = parts.get("explanation")
        is_note = (
            name == _NOTE and isinstance(explanation, str) and 0 < len(explanation) <= limits.NOTE_CHARACTERS
            and parts.get("label") is None and parts.get("score") is None
        )  # fmt: skip
        payload: dict[str, Any] = {}
        if is_note:
            payload["note"] = explanation
        else:
            if number_of(parts.get("score")) or isinstance(parts.get("score"), str):
                payload["score"] = _number(parts["score"])
            payload |= present(parts, "label")
            if explanation is not None:
                payload["comment"] = explanation
        kind, id = target[0], target[1]
        return Row(
            target,
            "wandb.note.1" if is_note else name,
            (*target, name, identifier),
            row.get("created_at"),
            origin={"identifier": identifier, **present(row, *_ORIGIN, "project")},
            payload=payload,
            updated_at=row.get("updated_at"),
            creator=identifier if identifier and not identifier.startswith("px-") else None,
            user=text_of(row.get("user_id")),
            trace=id if kind == "trace" else self._traces.get(id) or "" if kind == "span" else "",
            session=id if kind == "session" else "",
        )


def _graph(row: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = row.get("data", row)
    return inner if isinstance(inner, Mapping) else {}


def _nodes(connection: Any) -> Iterator[Mapping[str, Any]]:
    edges = connection.get("edges") if isinstance(connection, Mapping) else None
    for edge in objects(edges):
        node = edge.get("node")
        if isinstance(node, Mapping):
            yield node


def _blanks_as_none(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table: what is empty in a CSV, or not a number in a Parquet file, was null."""
    return {
        name: None if value == "" or (isinstance(value, float) and value != value) else value
        for name, value in row.items()
    }


def _number(value: Any) -> Any:
    """A score, which a CSV has as text. Raises RowError for a text that is no number."""
    if not isinstance(value, str) or number_of(value) or isinstance(value, NotFinite):
        return value
    try:
        return plain(float(value)) if not value.lstrip("-").isdigit() else int(value)
    except ValueError:
        raise RowError(f"has the score {value[:40]!r}") from None


def _literal(text: str) -> Any:
    """What a DataFrame's CSV wrote as Python would show it. Raises RowError for anything else."""
    if len(text) > _LITERAL_BYTES:
        raise RowError(f"has metadata of more than {_LITERAL_BYTES} bytes")
    try:
        return ast.literal_eval(text)
    except Exception as error:  # also MemoryError and RecursionError, which deep nesting raises
        raise RowError(f"has metadata that cannot be read: {type(error).__name__}") from None
