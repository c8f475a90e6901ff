"""plaudit's own export as a source: lines of records, of changes, and of what was purged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plaudit._core.errors import InvalidArgumentError
from plaudit._core.lines import members_of, record_of
from plaudit.importers import Given, Gone, Record, Refusal
from plaudit.importers.pieces import lines


class ExportedSource:
    """JSON lines as `plaudit export` writes them; nothing is lost in them, and nothing is changed on the way."""

    def __init__(self, given: Given) -> None:
        self._given = given

    @property
    def lossy(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records, in the order of the lines: of the lines of one id the last one counts."""
        for line in lines(self._given.path):
            if line.text is None:
                yield Refusal(line.place, line.wrong)
                continue
            try:
                yield self._row(line.place, line.text)
            except InvalidArgumentError as error:
                reasons = "; ".join(f"{v.field.removeprefix('record.')} {v.description}" for v in error.violations[:3])
                yield Refusal(line.place, reasons)

    def _row(self, place: str, text: str) -> Record | Gone | Refusal:
        if '"tombstone"' in text or '"change"' in text:
            fields, texts = members_of(text)
            tombstone = fields.get("tombstone")
            if isinstance(tombstone, dict) and isinstance(tombstone.get("id"), str):
                return Gone(tombstone["id"], place)
            if "change" in fields:
                kept = [f'"{name}":{texts[name]}' for name in texts if name != "change"]
                text = "{" + ",".join(kept) + "}"
        record = record_of(text, project=self._given.project)
        if '"id"' not in text:  # then one was made, and another one would be made the next time
            return Refusal(place, "has no id")
        return Record(record, place)
