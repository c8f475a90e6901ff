"""DataFrames of pandas, of the columns that tables have; not of Arrow, which pandas does not need. Needs pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plaudit._frames.columns import list_text, map_text
from plaudit._frames.kinds import Column, Values

if TYPE_CHECKING:
    import pandas


def dataframe(columns: Sequence[Column], values: Values) -> pandas.DataFrame:
    """A DataFrame whose columns have the same types whatever is in them."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from error
    return pandas.DataFrame({column.name: _made(column, values[column.name]) for column in columns}, copy=False)


def _made(column: Column, values: list[Any]) -> Any:
    import pandas

    from plaudit._frames.jsonarray import JsonArray

    match column.kind:
        case "text" | "label":
            return _texts(values)
        case "json" if not column.is_decoded:
            return _texts(values)
        case "integer" if not column.is_nullable:
            return pandas.array(values, dtype="int64").to_numpy()
        case "integer":
            return pandas.array(values, dtype="Int64")
        case "number":
            return pandas.array(values, dtype="Float64")
        case "boolean":
            return pandas.array(values, dtype="boolean")
        case "time":
            return _times(values, column.zone)
        case "json":
            return JsonArray.of_texts(values)
        case "texts":
            return JsonArray(values, list_text)
        case _:
            return JsonArray(values, map_text)


def _texts(values: list[Any]) -> Any:
    import pandas

    # The type that pandas itself gives to texts since version 3, and before that the one which keeps them apart.
    return pandas.array(values, dtype="str" if int(pandas.__version__.partition(".")[0]) >= 3 else "string")


def _times(values: list[Any], zone: str) -> Any:
    import numpy
    import pandas

    numbers = numpy.array([_NAT if value is None else value for value in values], dtype="int64")
    return pandas.DatetimeIndex(numbers.view("datetime64[us]")).tz_localize("UTC").tz_convert(zone)


# What numpy has for a time that is missing.
_NAT = -(2**63)
