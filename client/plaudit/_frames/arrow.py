"""Tables of Arrow, and their schema, of which every frame and every file of columns is made. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from plaudit._frames.kinds import Column, Values

if TYPE_CHECKING:
    import pyarrow


def imported(what: str) -> Any:
    """The library. Raises ImportError, which says what to install, without it."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{what} needs pyarrow: pip install 'plaudit[arrow]'") from error
    return pyarrow


def check_installed(what: str) -> None:
    """Import nothing. Raises ImportError, as `imported`, where the library is not installed."""
    if find_spec("pyarrow") is None:
        raise ImportError(f"{what} needs pyarrow: pip install 'plaudit[arrow]'")


def schema_of(columns: Sequence[Column], what: str = "a schema") -> pyarrow.Schema:
    """The schema of a table with these columns, the same whatever is in it."""
    arrow = imported(what)
    types: dict[str, Callable[[Column], Any]] = {
        "text": lambda column: arrow.string(),
        "json": lambda column: arrow.string(),
        "label": lambda column: arrow.dictionary(arrow.int32(), arrow.string()),
        "integer": lambda column: arrow.int64(),
        "number": lambda column: arrow.float64(),
        "boolean": lambda column: arrow.bool_(),
        "time": lambda column: arrow.timestamp("us", tz=column.zone),
        "texts": lambda column: arrow.list_(arrow.string()),
        "text map": lambda column: arrow.map_(arrow.string(), arrow.string()),
        "number map": lambda column: arrow.map_(arrow.string(), arrow.float64()),
    }
    return arrow.schema([arrow.field(column.name, types[column.kind](column)) for column in columns])


def table(columns: Sequence[Column], values: Values, what: str = "to_arrow()") -> pyarrow.Table:
    """A table of Arrow."""
    arrow = imported(what)
    schema = schema_of(columns, what)
    arrays = []
    for column, field in zip(columns, schema, strict=True):
        held = values[column.name]
        if _is_repeated(column, held):
            arrays.append(_repeated(arrow, field.type, held[0], len(held)))
        elif column.kind == "label":
            arrays.append(_labels(arrow, field.type, held))
        else:
            arrays.append(arrow.array(_PLAIN.get(column.kind, _same)(held), field.type))
    return arrow.Table.from_arrays(arrays, schema=schema)


def _is_repeated(column: Column, values: list[Any]) -> bool:
    """Whether a column has the same text everywhere, or nothing, as most columns of a page have."""
    if not values or (values[0] and not isinstance(values[0], str)) or column.kind in ("integer", "number", "boolean"):
        return False
    return bool(values[0] == values[-1] and values.count(values[0]) == len(values))


def _repeated(arrow: Any, type: Any, value: Any, count: int) -> Any:
    """An array of one value, which is made without looking at each."""
    if value is None:
        return arrow.nulls(count, type)
    if arrow.types.is_dictionary(type):
        places = arrow.repeat(arrow.scalar(0, type.index_type), count)
        return arrow.DictionaryArray.from_arrays(places, arrow.array([value], type.value_type))
    if arrow.types.is_nested(type):
        none = arrow.array([], type)
        starts = arrow.repeat(arrow.scalar(0, arrow.int32()), count + 1)
        if arrow.types.is_map(type):
            return arrow.MapArray.from_arrays(starts, none.keys, none.items)
        return arrow.ListArray.from_arrays(starts, none.values)
    return arrow.repeat(arrow.scalar(value, type), count)


def _labels(arrow: Any, type: Any, values: list[Any]) -> Any:
    """An array of texts and their places in it; not by Arrow's own way, which imports all that it can compute."""
    texts = dict.fromkeys(values)
    texts.pop(None, None)
    places = {None: None} | {text: place for place, text in enumerate(texts)}
    indices = list(map(places.__getitem__, values))
    return arrow.DictionaryArray.from_arrays(
        arrow.array(indices, type.index_type), arrow.array(list(texts), type.value_type)
    )


def _same(values: list[Any]) -> list[Any]:
    return values


def _lists(values: list[Any]) -> list[Any]:
    return [list(value) if value else [] for value in values]


def _pairs(values: list[Any]) -> list[Any]:
    return [sorted(value.items()) if value else [] for value in values]


_PLAIN: Final[dict[str, Callable[[list[Any]], list[Any]]]] = {
    "texts": _lists,
    "text map": _pairs,
    "number map": _pairs,
}
