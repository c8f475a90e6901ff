"""A column of pandas whose cells are dicts and lists, decoded when they are looked at; files get them as JSON text.

pandas has no type for such values: as plain objects they can be neither compared nor hashed, Parquet wants them all to
have the same keys, and CSV gets Python's own notation of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy
import pandas
from pandas.api.extensions import ExtensionArray, ExtensionDtype
from pandas.api.indexers import check_array_indexer

from plaudit._core.values import is_missing, plain_json
from plaudit._frames.columns import json_text


class JsonObject(dict[str, Any]):
    """A dict whose `str` is JSON, and that can be hashed, so that pandas groups and counts it; do not change it."""

    def __str__(self) -> str:
        return json_text(self)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json_text(self))


class JsonList(list[Any]):
    """A list whose `str` is JSON, and that can be hashed, as a `JsonObject`; do not change it."""

    def __str__(self) -> str:
        return json_text(self)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json_text(self))


class JsonDtype(ExtensionDtype):  # type: ignore[misc]
    """The type of a `JsonArray`. Its name is that of plain objects, so that files can be read without plaudit."""

    name: ClassVar[str] = "object"
    type: ClassVar[Any] = object
    kind: ClassVar[str] = "O"

    @classmethod
    def construct_array_type(cls) -> Any:
        """The array of this type."""
        return JsonArray

    @classmethod
    def construct_from_string(cls, string: str) -> Self:
        """No name means this type."""
        raise TypeError(f"no type of plaudit is called {string!r}")


class JsonArray(ExtensionArray):  # type: ignore[misc]
    """JSON texts, None where a value is missing; those of a function's values are made when one is looked at."""

    def __init__(self, texts: Any, written: Callable[[Any], str] | None = None) -> None:
        self._held = texts
        self._written = written

    @property
    def _texts(self) -> Any:
        """The texts, as an array of numpy."""
        if self._written is not None:
            held = numpy.empty(len(self._held), dtype=object)
            held[:] = list(map(self._written, self._held))
            self._held, self._written = held, None
        return self._held

    @classmethod
    def of_texts(cls, texts: Sequence[str | None]) -> Self:
        """Texts that are JSON objects or lists."""
        held = numpy.empty(len(texts), dtype=object)
        held[:] = texts
        return cls(held)

    @classmethod
    def _from_sequence(cls, scalars: Iterable[Any], *, dtype: Any = None, copy: bool = False) -> Self:
        return cls.of_texts([_text(value) for value in scalars])

    @classmethod
    def _from_factorized(cls, values: Any, original: Any) -> Self:
        return cls(values)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Self]) -> Self:
        return cls(numpy.concatenate([array._texts for array in to_concat]))

    @property
    def dtype(self) -> JsonDtype:
        """The type."""
        return JsonDtype()

    @property
    def nbytes(self) -> int:
        """The bytes of the pointers to the texts."""
        return 8 * len(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, int | numpy.integer):
            return _value(self._texts[item])
        if isinstance(item, slice):
            return type(self)(self._held[item], self._written)
        return type(self)(self._texts[check_array_indexer(self, item)])

    def __setitem__(self, key: Any, value: Any) -> None:
        key = check_array_indexer(self, key)
        if isinstance(key, int | numpy.integer) or isinstance(value, dict) or is_missing(value):
            self._texts[key] = _text(value)
        else:
            self._texts[key] = self._from_sequence(value)._texts

    def __eq__(self, other: object) -> Any:
        if isinstance(other, pandas.Series | pandas.Index | pandas.DataFrame):
            return NotImplemented
        others = other if isinstance(other, list | JsonArray | numpy.ndarray) else [other] * len(self)
        return numpy.array([mine == its for mine, its in zip(self, others, strict=True)], dtype=bool)

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        values = numpy.empty(len(self), dtype=object)
        for index, text in enumerate(self._texts):
            values[index] = _value(text)
        return values if dtype is None else values.astype(dtype)

    def __arrow_array__(self, type: Any = None) -> Any:
        import pyarrow

        return pyarrow.array(self._texts, type or pyarrow.string())

    def isna(self) -> Any:
        """Which values are missing."""
        if self._written is not None:
            return numpy.zeros(len(self), dtype=bool)
        return numpy.array([text is None for text in self._texts], dtype=bool)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Self:
        """The values at these positions; -1 is a missing one if `allow_fill`."""
        taken = pandas.api.extensions.take(self._texts, indices, fill_value=None, allow_fill=allow_fill)
        if allow_fill:
            taken[numpy.asarray(indices) == -1] = None
        return type(self)(taken)

    def value_counts(self, dropna: bool = True) -> pandas.Series:
        """How often each value is there, most frequent first."""
        counts = pandas.Series(self._texts).value_counts(dropna=dropna)
        texts = [text if isinstance(text, str) else None for text in counts.index]
        return pandas.Series(counts.to_numpy(), index=pandas.Index(self.of_texts(texts)), name="count")

    def copy(self) -> Self:
        """An array of its own."""
        return type(self)(self._held.copy(), self._written)

    def _values_for_factorize(self) -> tuple[Any, Any]:
        return self._texts, None

    def _values_for_argsort(self) -> Any:
        return numpy.array(["" if text is None else text for text in self._texts], dtype=object)


def _value(text: str | None) -> Any:
    if text is None:
        return numpy.nan
    value = json.loads(text)
    return JsonObject(value) if isinstance(value, dict) else JsonList(value)


def _text(value: Any) -> str | None:
    if isinstance(value, dict | list | tuple):
        return json_text(plain_json(value))
    if is_missing(value):
        return None
    raise TypeError(f"a value of this column is a dict or a list, not a {type(value).__name__}")
