"""Records as data frames; the libraries that make them are imported when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from plaudit._core.model import FIELDS, Feedback

if TYPE_CHECKING:
    import pandas


def to_pandas(feedbacks: Iterable[Feedback]) -> pandas.DataFrame:
    """A DataFrame with a row for each record and a column for each field.

    Raises ImportError, which says what to install, without pandas.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from error
    return pandas.DataFrame([feedback.to_dict() for feedback in feedbacks], columns=list(FIELDS))


def columns_to_pandas(columns: Mapping[str, list[Any]], zones: Mapping[str, str]) -> pandas.DataFrame:
    """A DataFrame of these columns: integers stay integers, None is NA.

    The columns that have a zone are instants, which become Timestamps of it.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from error
    made: dict[str, Any] = {}
    for name, values in columns.items():
        if name in zones:
            made[name] = pandas.to_datetime(values, utc=True).tz_convert(zones[name])
        else:
            made[name] = _column(values)
    return pandas.DataFrame(made)


def _column(values: list[Any]) -> Any:
    """Values as a column that keeps their kind where some are None."""
    import pandas

    there = [value for value in values if value is not None]
    if there and all(isinstance(value, int) and not isinstance(value, bool) for value in there):
        return pandas.array(values, dtype="Int64")
    if there and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        return pandas.array([None if value is None else float(value) for value in values], dtype="Float64")
    return pandas.Series(values, dtype=object)
