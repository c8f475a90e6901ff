"""The end of an export whose records were read by a process that is gone: the file, its manifest; no messages, no gRPC.

A library that writes Parquet takes as much memory as gRPC: one process after the other takes half.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
        pages = settled(map(Page.of_piece, pieces(part)), _places(changed), partial(_page_at, changed))
        rows = write_parquet(out, columns, pages)
    done = Exported.of_file(place, left.revision, rows, **left.asked)
    place.deliver(done.manifest() if manifest else None)
    place.clear()
    return done


def _places(file: IO[bytes]) -> dict[str, int]:
    """Where in a file of a piece for each record that of each id is."""
    places = {}
    place = 0
    for piece in pieces(file):
        places[Page.of_piece(piece).column("id")[0]] = place
        place += len(piece)
    return places


def _page_at(file: IO[bytes], place: int) -> Page | None:
    """The page of a record, read when it is asked for; None of one that is not there any more."""
    file.seek(place)
    page = Page.of_piece(next(pieces(file)))
    return page if page.rows else None
