"""Weave's feedback as a source: what its API answers to `/feedback/query`; ids, refs and types are plaudit's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

from plaudit._contract.refs import InvalidRefError, parse_ref
from plaudit._core.model import ALIASES
from plaudit.importers import Record, Refusal
from plaudit.importers.exact import dumps, plain
from plaudit.importers.mapping import derived_id, moment, objects, recorded, required
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
        if _is_call(row) and not self._derives:
            return (
                f"feedback in an export of calls has no ids: {_RIGHT_FORM}; --derived-ids makes ids of it, under which "
                "the same feedback is stored again when it is imported by its own ids"
            )
        if "payload" not in row and any(name.startswith("payload.") for name in row):
            return f"this export has some columns of each record only: {_RIGHT_FORM}"
        return ""

    @property
    def lossy(self) -> Sequence[str]:
        """Ids that are made of calls' feedback are not Weave's."""
        if not self._derives:
            return ()
        return (
            "exports of calls have only feedback on calls; with ids made here, never import the same by its own ids",
        )

    @property
    def incomplete(self) -> str:
        """Calls do not have the feedback on anything else."""
        return "an export of calls has only feedback on calls" if self._derives else ""

    @property
    def _derives(self) -> bool:
        return bool(self.given.options.get("derived_ids"))

    def _renamed(self, value: Any) -> Any:
        """A ref into a project that has another name here."""
        before, _, after = str(self.given.options.get("rename") or "").partition("=")
        scheme = f"weave:///{before}/"
        is_ref = bool(before) and isinstance(value, str) and value.startswith(scheme)
        return f"weave:///{after}/{value.removeprefix(scheme)}" if is_ref else value

    def _accepted(self, ref: Any, changed: list[str]) -> Any:
        """A ref; as a URN where Weave has taken what is none, if that is asked for: else the row is refused."""
        if self.given.options.get("bad_refs") != "urn" or not isinstance(ref, str):
            return ref
        try:
            parse_ref(ref)
        except InvalidRefError:
            changed.append(f"{ref[:100]!r} is no ref: it became a URN")
            return f"urn:weave-ref:{quote(ref, safe='/:')}"
        return ref

    def records(self, row: Mapping[str, Any], place: str) -> Iterator[Record | Refusal]:
        """A row is a record already; a call has a list of them, in which they have no ids."""
        if not _is_call(row):
            yield self._record(row, place)
            return
        summary = row["summary"].get("weave") if isinstance(row["summary"], Mapping) else None
        for found in objects(summary.get("feedback") if isinstance(summary, Mapping) else None):
            yield self._record(found, place, is_of_call=True)

    def _record(self, row: Mapping[str, Any], place: str, *, is_of_call: bool = False) -> Record | Refusal:
        def made(changed: list[str]) -> tuple[dict[str, Any], Any]:
            parts = required(row, "weave_ref", "feedback_type", "created_at" if is_of_call else "id")
            if row.get("creator") == "":
                changed.append("an empty creator is none here")
            fields = {name: each for name, each in row.items() if each is not None and name != "payload"}
            for name in _TIMES:
                if name in fields:
                    fields[name] = moment(fields[name], name, changed)
            fields = {ALIASES.get(name, name): self._renamed(plain(each)) for name, each in fields.items()}
            if is_of_call:
                fields["id"] = derived_id(self.system, *parts, dumps(row.get("payload")))
            fields["ref"] = self._accepted(fields["ref"], changed)
            fields["project"] = self.given.project
            fields.setdefault("updated_at", fields.get("created_at"))
            return fields, row.get("payload")

        return recorded(place, made)


def _is_call(row: Mapping[str, Any]) -> bool:
    return "summary" in row and "op_name" in row
