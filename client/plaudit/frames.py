"""Records as data frames; the libraries that make them are imported when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

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
