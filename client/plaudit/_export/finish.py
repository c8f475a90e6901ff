"""The end of an export whose records were read by a process that is gone: the file, its manifest; no messages, no gRPC.

A library that writes Parquet takes as much memory as gRPC: one process after the other takes half.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from plaudit._export.pages import Page, pieces, settled, write_parquet
from plaudit._export.place import Place
from plaudit._export.written import Exported
from plaudit._frames.kinds import Column


@dataclass(frozen=True, slots=True)
class Left:
    """What the process that has read the records leaves in the state, beside the part and what changed."""

    revision: int
    columns: Sequence[Sequence[Any]]
    """The fields of each column of the table."""
    asked: Mapping[str, Any]
    """What the manifest names: `project`, `store_id`, `query`."""


def finish(place: Place, *, manifest: bool = True) -> Exported:
    """Write the file of which all was read, and its manifest. Raises OSError, ImportError."""
    left = Left(**json.loads(place.state.read_text("utf-8"))["left"])
    columns = [Column(*each) for each in left.columns]
    with place.part.open("rb") as part, place.changed.open("rb") as changed, place.writing() as out:
        rows = write_parquet(out, columns, settled(map(Page.of_piece, pieces(part)), _Changed(changed)))
    done = Exported.of_file(place, left.revision, rows, **left.asked)
    place.deliver(done.manifest() if manifest else None)
    place.clear()
    return done


class _Changed(Mapping[str, Page | None]):
    """What became of records while they were read, by id; of a file with a piece for each, which is read again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[str, int] = {}
        place = 0
        for piece in pieces(file):
            self._places[Page.of_piece(piece).column("id")[0]] = place
            place += len(piece)

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def __getitem__(self, id: str) -> Page | None:
        self._file.seek(self._places[id])
        page = Page.of_piece(next(pieces(self._file)))
        return page if page.rows else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
