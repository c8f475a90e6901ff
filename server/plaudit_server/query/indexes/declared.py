"""Declared indexes: for which paths and kinds an operator may declare one; what they serve is in the conditions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

from plaudit._contract import limits
from plaudit_server.query.fields import PAYLOAD, Column, MapKey, PayloadPath, UnknownField, is_position, resolve

IndexKind = Literal["number", "text", "bool", "aggregates", "column"]
"""As what an index holds the values: for filters as a number, text or bool; for aggregates the exact number, or a mark
where the payload must be read; of a column as they are."""

KINDS: Final[tuple[IndexKind, ...]] = ("number", "text", "bool", "aggregates")
COLUMNS: Final = ("span_trace_id", "creator", "queue_id", "user_id")
"""The columns for which an index can be declared."""
PATH_BYTES: Final = 512
POSITIONS: Final = 2
TEXT_CHARACTERS: Final = 256
"""How much of a text an index holds: fewer bytes than any engine allows in a row of an index."""


class NotIndexable(ValueError):
    """What no index can be declared for; the message says why."""


@dataclass(frozen=True, slots=True)
class DeclaredIndex:
    """An index over the values of a path, read as a kind."""

    path: str
    ref: MapKey | PayloadPath | Column
    kind: IndexKind

    @property
    def column(self) -> str:
        """The column that holds the values."""
        match self.ref:
            case MapKey(column=column) | Column(name=column):
                return column
            case _:
                return PAYLOAD

    @property
    def ways(self) -> list[list[str | int]]:
        """Every way from the column to the value; an integer is a position. At most one leads to a value in a row."""
        if isinstance(self.ref, Column):
            return [[]]
        if isinstance(self.ref, MapKey):
            return [[self.ref.key]]
        first, *later = self.ref.segments
        choices: list[list[str | int]] = [[first]]
        # A position of more digits than any payload has elements would wrap around.
        choices += [[int(s), s] if is_position(s) and len(s) < 10 else [s] for s in later]
        return [list(way) for way in product(*choices)]


def declare(path: str, kind: str | None = None) -> DeclaredIndex:
    """An index for a path; without a kind, that of the map's values is taken. Raises NotIndexable."""
    try:
        size = len(path.encode())
        ref = resolve(path)
    except UnicodeEncodeError:
        raise NotIndexable("the path is not valid UTF-8") from None
    except UnknownField as error:
        raise NotIndexable(str(error)) from error
    if size > PATH_BYTES:
        raise NotIndexable(f"the path has {size} bytes; an index takes {PATH_BYTES} at most")
    if isinstance(ref, Column):
        return _of_column(path, ref, kind)
    _check_size(path, ref)
    if kind is None:
        if isinstance(ref, PayloadPath):
            raise NotIndexable(f"a value in the payload has no kind of its own: read {path} as number, text or bool")
        kind = ref.kind
    if isinstance(ref, MapKey) and ref.kind != ("number" if kind == "aggregates" else kind):
        raise NotIndexable(f"the values of {ref.column} are read as {ref.kind}, not as {kind}")
    for known in KINDS:
        if kind == known:
            return DeclaredIndex(path, ref, known)
    raise NotIndexable(f"{kind!r} is no kind of an index: number, text or bool")


def _of_column(path: str, column: Column, kind: str | None) -> DeclaredIndex:
    if column.name not in COLUMNS:
        raise NotIndexable(
            f"{path} is a column; an index is declared for a path in the payload, such as payload.score, a key of a "
            f"map, such as scorer_ratings.quality, or one of the columns {', '.join(COLUMNS)}"
        )
    if kind not in (None, "column"):
        raise NotIndexable(f"{path} is a column, whose values are indexed as they are, not as {kind}")
    return DeclaredIndex(column.name, column, "column")


def _check_size(path: str, ref: MapKey | PayloadPath) -> None:
    if isinstance(ref, MapKey):
        if len(ref.key.encode()) > limits.SCORER_KEY_BYTES:
            raise NotIndexable(f"no key of a map is as long as that of {path}: {limits.SCORER_KEY_BYTES} bytes at most")
        return
    if len(ref.segments) > limits.PAYLOAD_DEPTH:
        raise NotIndexable(f"no payload is as deep as {path}: {limits.PAYLOAD_DEPTH} levels at most")
    if sum(map(is_position, ref.segments[1:])) > POSITIONS:
        raise NotIndexable(
            f"{path} has more than {POSITIONS} segments of digits, each of which may be a position or a key"
        )
