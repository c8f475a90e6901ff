"""Weave's feedback as a source: what its API answers to `/feedback/query`; ids, refs and types are plaudit's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from plaudit._core.model import ALIASES
from plaudit.importers import Record, Refusal
from plaudit.importers.exact import plain
from plaudit.importers.mapping import moment, recorded, required
from plaudit.importers.source import JsonSource

_RIGHT_FORM: Final = "export with POST /feedback/query, without `fields`, and import its answer"
_TIMES: Final = ("created_at", "updated_at")


class WeaveSource(JsonSource):
    """One record for each row of `result`; nothing is renamed but the fields that Weave calls otherwise."""

    system: ClassVar[str] = "weave"
    lists: ClassVar[Sequence[str]] = ("result",)

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the ref's name, and the calls' form by their summary."""
        return "weave_ref" in row or ("op_name" in row and "summary" in row)

    def unusable(self, row: Mapping[str, Any]) -> str:
        """Calls with their feedback have no ids in it; with `fields`, columns are missing."""
        if "summary" in row and "op_name" in row:
            return f"feedback in an export of calls has no ids: {_RIGHT_FORM}"
        if "payload" not in row and any(name.startswith("payload.") for name in row):
            return f"this export has some columns of each record only: {_RIGHT_FORM}"
        return ""

    def _renamed(self, value: Any) -> Any:
        """A ref into a project that has another name here."""
        before, _, after = str(self.given.options.get("rename") or "").partition("=")
        scheme = f"weave:///{before}/"
        is_ref = bool(before) and isinstance(value, str) and value.startswith(scheme)
        return f"weave:///{after}/{value.removeprefix(scheme)}" if is_ref else value

    def records(self, row: Mapping[str, Any], place: str) -> Iterator[Record | Refusal]:
        """A row is a record already."""

        def made(changed: list[str]) -> tuple[dict[str, Any], Any]:
            required(row, "id", "weave_ref", "feedback_type")
            if row.get("creator") == "":
                changed.append("an empty creator is none here")
            fields = {name: each for name, each in row.items() if each is not None and name != "payload"}
            for name in _TIMES:
                if name in fields:
                    fields[name] = moment(fields[name], name, changed)
            fields = {ALIASES.get(name, name): self._renamed(plain(each)) for name, each in fields.items()}
            fields["project"] = self.given.project
            fields.setdefault("updated_at", fields.get("created_at"))
            return fields, row.get("payload")

        yield recorded(place, made)
