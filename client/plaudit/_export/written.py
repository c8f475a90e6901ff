"""What an export has written, and the manifest that says so; no messages, no gRPC."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from plaudit._export.place import Place, digest
from plaudit.importers.manifest import FORMAT_VERSION

FORMAT: Final = "plaudit-export"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    path: str
    """The file or the address; `-` for the standard output."""
    form: str
    """`jsonl`, `csv` or `parquet`; `changes` for lines of changes."""
    project: str
    """`entity/project`."""
    store_id: str
    """The store that it was read from; empty where the server gives none."""
    query: str | None
    """The query as text; None for every record."""
    revision: int
    """The revision of the project whose state, or up to which the changes, the file holds."""
    rows: int
    """How many records or changes are in it."""
    bytes: int
    """The size of the file; 0 for the standard output."""
    sha256: str
    """The SHA-256 of the file in hex; empty for the standard output."""
    after: int | None = None
    """Of changes, the revision after which they begin."""

    @classmethod
    def of_file(cls, place: Place, revision: int, rows: int, *, form: str = "", **asked: Any) -> Self:
        """What was written to the file of a place, of what was `asked`: `project`, `store_id`, `query`, and `after`."""
        size, sha256 = digest(place.path)
        path = place.uri or str(place.path)
        return cls(path, form or place.form, revision=revision, rows=rows, bytes=size, sha256=sha256, **asked)

    def manifest(self) -> str:
        """The text of the manifest."""
        made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        described = asdict(self)
        described["file"] = described.pop("path").rpartition("/")[2]
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, "made_at": made} | described) + "\n"
