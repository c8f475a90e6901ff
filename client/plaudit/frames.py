"""Records as tables of Arrow, pandas and polars, of one schema; the libraries are imported when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from plaudit._core.model import Feedback
from plaudit._frames.arrow import schema_of, table
from plaudit._frames.columns import PayloadForm, record_columns, table_of
from plaudit._frames.dataframes import dataframe
from plaudit._frames.kinds import Column, Values

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["Column", "schema", "to_arrow", "to_pandas", "to_polars"]


def schema(extra: Sequence[Column] = ()) -> pyarrow.Schema:
    """The schema of records: what `to_arrow` returns, and what a Parquet file of records has; `extra` columns follow.

    Payloads are JSON texts, times are UTC to the microsecond, `scorer_*` fields lists and maps; texts of which there
    are few distinct ones are dictionaries. Needs pyarrow: `pip install 'plaudit[arrow]'`, else raises ImportError.
    """
    return schema_of([*record_columns(), *extra])


def to_arrow(feedbacks: Iterable[Feedback], payload: PayloadForm = "json") -> pyarrow.Table:
    """A table of Arrow with a row for each record, and the types of `schema`, also without any record.

    `payload="columns"` adds a column for each path in the payloads (`payload.score`). Arrow has no column of objects
    that differ: "dict" is the same as "json". Raises ImportError without pyarrow, ValueError for more than 2,000 paths.
    """
    return table(*table_of(list(feedbacks), payload))


def to_polars(feedbacks: Iterable[Feedback], payload: PayloadForm = "json") -> polars.DataFrame:
    """A DataFrame of polars of the table that `to_arrow` returns. Raises ImportError without polars."""
    return polars_of(*table_of(list(feedbacks), payload))


def to_pandas(feedbacks: Iterable[Feedback], payload: PayloadForm = "dict") -> pandas.DataFrame:
    """A DataFrame of pandas with a row for each record, and a column for each field, of the same types for any records.

    Payloads, tags and maps are dicts and lists, which Parquet and CSV get as JSON texts; `payload="json"` gives their
    texts, numbers to the digit; "columns" the same, and a column for each path in them (`payload.score`). Rows of the
    frame, as `frame.to_dict("records")`, may be stored again, also when a file was in between.

    Raises ImportError without pandas, ValueError for more than 2,000 paths.
    """
    return dataframe(*table_of(list(feedbacks), payload))


def polars_of(columns: Sequence[Column], values: Values) -> polars.DataFrame:
    """A DataFrame of polars."""
    try:
        import polars
    except ImportError as error:
        raise ImportError("to_polars() needs polars: pip install polars pyarrow") from error
    made: polars.DataFrame = polars.from_arrow(table(columns, values, "to_polars()"))  # type: ignore[assignment]
    return made
