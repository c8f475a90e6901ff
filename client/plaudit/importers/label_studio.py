"""Label Studio's annotations as a source: tasks exported as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from plaudit.importers import Given, Gone, Record, Refusal, UnusableError
from plaudit.importers.mapping import Row, RowError, objects, required, text_of
from plaudit.importers.source import MappedSource
from plaudit.importers.tables import is_table

_NAME: Final = "annotation"
_RIGHT_FORM: Final = "export as JSON, which has skipped annotations, regions and the annotations' own ids"


class LabelStudioSource(MappedSource):
    """One record for each annotation, with its own id; its answers by the names of the controls in `values`."""

    system: ClassVar[str] = "label-studio"

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self._left_out: Counter[str] = Counter()

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the annotations of a task, or the columns of the small forms."""
        return ("annotations" in row and "data" in row) or ("annotation_id" in row and "annotator" in row)

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records of the tasks' annotations."""
        if is_table(self.given.path):
            raise UnusableError(f"a CSV or TSV of Label Studio loses annotations and types: {_RIGHT_FORM}")
        yield from super().read()
        for name, count in self._left_out.items():
            self.notes.append(f"{count} {name} are no annotations: they are left out")

    def unusable(self, row: Mapping[str, Any]) -> str:
        """The small form of JSON leaves out annotations, and says less of the others."""
        if "annotations" not in row and "annotation_id" in row:
            return f"JSON_MIN loses annotations and types: {_RIGHT_FORM}"
        return ""

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The records of a task's annotations."""
        [task] = required(row, "id")
        data = row.get("data")
        ref = self._ref_in(data if isinstance(data, Mapping) else {})
        project = text_of(row.get("project"))
        for name in ("drafts", "predictions"):
            held = row.get(name)
            if isinstance(held, list) and held:
                self._left_out[name] += len(held)
        for annotation in objects(row.get("annotations")):
            try:
                id = text_of(annotation.get("unique_id")) or ""
                [number] = required(annotation, "id")
                yield Row(
                    ("task", task),
                    _NAME,
                    (project, number),
                    annotation.get("created_at"),
                    origin={"task": row.get("id"), "annotation": annotation},
                    payload={"values": _values(annotation)},
                    updated_at=annotation.get("updated_at"),
                    id=id,
                    user=_author(annotation),
                    project=project,
                    ref=ref,
                )
            except RowError as error:
                yield str(error)

    def _ref_in(self, data: Mapping[str, Any]) -> str:
        """The application's URI of a task, in the field that was named for it: `data.ref`."""
        field = str(self.given.options.get("ref_field") or "").removeprefix("data.")
        if not field:
            return ""
        [ref] = required(data, field)
        return ref


def _author(annotation: Mapping[str, Any]) -> str:
    """Who annotated: an id, or in older exports an object with one."""
    author = annotation.get("completed_by")
    return text_of(author.get("id") if isinstance(author, Mapping) else author)


def _values(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of an annotation, by the names of the controls; several to one control are a list."""
    values: dict[str, list[Any]] = {}
    for region in objects(annotation.get("result")):
        name, kind, value = region.get("from_name"), region.get("type"), region.get("value")
        if isinstance(name, str) and isinstance(value, Mapping):
            values.setdefault(name, []).append(_answer(value, text_of(kind)))
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _answer(value: Mapping[str, Any], kind: str) -> Any:
    """What a region says: what is named as its kind, alone where nothing else is; one choice of a list by itself."""
    named = {"textarea": "text"}.get(kind, kind)
    if set(value) != {named}:
        return value
    answer = value[named]
    return answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
