"""plaudit's own export as a source: lines of records, of changes, and of what was purged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from plaudit._core.errors import InvalidArgumentError
from plaudit._core.lines import members_of, record_of
from plaudit.importers import Given, Gone, Record, Refusal, UnusableError
from plaudit.importers.manifest import check_manifest, manifest_of
from plaudit.importers.mapping import wrong_in
from plaudit.importers.pieces import files, lines


class ExportedSource:
    """JSON lines as `plaudit export` writes them; nothing is lost in them, and nothing is changed on the way."""

    def __init__(self, given: Given) -> None:
        self._given = given

    @property
    def lossy(self) -> Sequence[str]:
        """Nothing."""
        return ()

    @property
    def incomplete(self) -> str:
        """Changes are not records, and an export of a query has only what matched it; the manifest says so."""
        path = Path(self._given.path)
        for file in files(path) if path.is_dir() else [path]:
            said = manifest_of(file)
            if said.get("form") == "changes":
                return f"{file.name} has changes"
            if said.get("query") is not None:
                return f"{file.name} has only what matched {said['query']}"
        return ""

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records, in the order of the lines: of the lines of one id the last one counts.

        Raises UnusableError for a file that is not what its manifest says.
        """
        path = Path(self._given.path)
        for file in files(path) if path.is_dir() else [path]:
            if file.suffix in (".csv", ".parquet"):
                raise UnusableError(f"{file.name} has lost what import needs: export lines of JSON, as FILE.jsonl")
            check_manifest(file)
        for line in lines(self._given.path):
            if line.text is None:
                yield Refusal(line.place, line.wrong)
                continue
            try:
                row = self._row(line.place, line.text)
                if row is not None:
                    yield row
            except InvalidArgumentError as error:
                yield Refusal(line.place, wrong_in(error))

    def _row(self, place: str, text: str) -> Record | Gone | Refusal | None:
        """What a line says of one record; None for what retention removed, which names none."""
        if '"tombstone"' in text or '"change"' in text:
            fields, texts = members_of(text)
            tombstone = fields.get("tombstone")
            if isinstance(tombstone, dict) and isinstance(tombstone.get("id"), str):
                return Gone(tombstone["id"], place)
            if isinstance(fields.get("retained"), dict):
                return None
            if "change" in fields:
                kept = [f'"{name}":{texts[name]}' for name in texts if name != "change"]
                text = "{" + ",".join(kept) + "}"
        record = record_of(text, project=self._given.project)
        if '"id"' not in text:  # then one was made, and another one would be made the next time
            return Refusal(place, "has no id")
        return Record(record, place)
