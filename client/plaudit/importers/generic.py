"""Any CSV, JSON, JSON lines or Parquet file as a source, by a mapping in TOML of its columns to a record's fields."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from plaudit.importers import Given, Gone, Record, Refusal, UnusableError
from plaudit.importers.documents import Row as Read
from plaudit.importers.documents import rows
from plaudit.importers.exact import Number, dumps, loads, plain
from plaudit.importers.kept import Kept
from plaudit.importers.mapping import Mapper, Row, RowError, text_of
from plaudit.importers.tables import is_table, table

_FIELDS: Final = ("ref", "type", "id", "creator", "user_id", "created_at", "updated_at", "trace", "session")
_NEEDED: Final = ("ref", "type", "created_at")
_TOP: Final = ("map", "payload", "key", "null_values")
_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000}
_KINDS: Final = ("text", "number", "boolean", "json")
_TRUE: Final = ("true", "yes", "1", "t", "y")
_FALSE: Final = ("false", "no", "0", "f", "n")
_KEYS: Final = ("column", "value", "text", "as", "unit")


@dataclass(frozen=True, slots=True)
class Part:
    """Where a value comes from: a column, a text with columns in braces, or a value that is always the same."""

    column: str = ""
    template: str = ""
    value: Any = None
    kind: str = ""
    unit: str = ""

    @classmethod
    def of(cls, given: Any, where: str) -> Part:
        """The part that a line of the mapping describes. Raises UnusableError."""
        if isinstance(given, str):
            return cls(template=_checked(given, where)) if "{" in given else cls(column=given)
        if not isinstance(given, dict) or not given or set(given) - set(_KEYS):
            forms = f"a column's name, a text with {{columns}}, or a table of {', '.join(_KEYS)}"
            raise UnusableError(f"{where} is {forms}")
        if given.get("as", "text") not in _KINDS:
            raise UnusableError(f"{where}: as is one of {', '.join(_KINDS)}")
        if given.get("unit", "s") not in _UNITS:
            raise UnusableError(f"{where}: unit is one of {', '.join(_UNITS)}")
        template = _checked(given.get("text", ""), where)
        return cls(given.get("column", ""), template, given.get("value"), given.get("as", ""), given.get("unit", ""))

    @property
    def columns(self) -> list[str]:
        """The columns that it reads."""
        return (
            [self.column]
            if self.column
            else [name for _, name, _, _ in string.Formatter().parse(self.template) if name]
        )

    def read(self, row: Mapping[str, Any]) -> Any:
        """The value in a row; None where it is absent. Raises RowError for one of another kind."""
        if self.column:
            value = _at(row, self.column)
        elif self.template:
            values = {name: text_of(_at(row, name)) for name in self.columns}
            missing = [name for name, value in values.items() if not value]
            if missing:
                raise RowError(f"has no {', '.join(missing)}")
            # Not `format`, which takes dots for attributes.
            value = "".join(
                literal + values.get(name or "", "") for literal, name, _, _ in string.Formatter().parse(self.template)
            )
        else:
            value = self.value
        if value is None:
            return None
        return _timed(value, self.unit) if self.unit else _as(value, self.kind)


class GenericSource:
    """One record for each row, by the mapping that `--map` names."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._mapper = Mapper("import", given)
        file = given.options.get("map")
        if not file:
            raise UnusableError("a table of your own needs --map MAPPING.toml, which says what its columns are")
        try:
            with open(str(file), "rb") as opened:
                mapping = tomllib.load(opened)
        except tomllib.TOMLDecodeError as error:
            raise UnusableError(f"{file} is no TOML: {error}") from None
        unknown = sorted(set(mapping) - set(_TOP))
        if unknown:
            raise UnusableError(f"{file} has the unknown {', '.join(unknown)}; it may have {', '.join(_TOP)}")
        self._map = _parts(mapping.get("map", {}), "map")
        payload = dict(mapping.get("payload", {}))
        self._rest = payload.pop("rest", None)
        self._payload = _parts(payload, "payload")
        self._key = mapping.get("key")
        self._null = set(mapping.get("null_values", []))
        self._check()

    @property
    def mark(self) -> str:
        """What `payload.origin.system` is in every record of this source."""
        return self._mapper.system

    def _check(self) -> None:
        unknown = sorted(set(self._map) - set(_FIELDS))
        if unknown:
            raise UnusableError(f"[map] has the unknown {', '.join(unknown)}; it may have {', '.join(_FIELDS)}")
        has_time = "created_at" in self._map or bool(self._given.options.get("created_at"))
        missing = [name for name in _NEEDED if name not in self._map and not (name == "created_at" and has_time)]
        if missing:
            raise UnusableError(f"[map] needs {', '.join(missing)}")
        if self._key is not None and not (isinstance(self._key, list) and all(isinstance(n, str) for n in self._key)):
            raise UnusableError('key is a list of columns: key = ["answer_id", "metric"]')
        if not self._key and "id" not in self._map and not self._given.options.get("derived_ids"):
            raise UnusableError(
                "without ids a second import would store all rows again: name the columns that make a row unique, "
                'key = ["…"], or its [map] id; --derived-ids makes ids of whole rows'
            )
        self._used = {name for part in (*self._map.values(), *self._payload.values()) for name in part.columns}

    @property
    def lossy(self) -> Sequence[str]:
        """Nothing is known of it."""
        return ()

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records, in the order of the rows."""
        seen = Kept()
        for row in table(self._given.path) if is_table(self._given.path) else rows(self._given.path):
            if row.wrong or not isinstance(row.value, Mapping):
                yield Refusal(row.place, row.wrong or "is no JSON object")
                continue
            try:
                made = self._row(row)
            except RowError as error:
                yield Refusal(row.place, str(error))
                continue
            if self._key and not seen.add(*made.key):
                yield Refusal(row.place, f"has the same {', '.join(self._key)} as a row before it")
                continue
            yield self._mapper.record(made, row.place)

    def _row(self, read: Read) -> Row:
        row = {name: value for name, value in read.value.items() if not self._is_null(value)}
        found = {name: part.read(row) for name, part in self._map.items()}
        for name in _NEEDED:
            if name in self._map and found[name] in (None, ""):
                raise RowError(f"has no {name}")
        payload = {}
        for name, part in self._payload.items():
            value = part.read(row)
            if value is not None:
                payload[name] = value
        rest = {name: value for name, value in row.items() if name not in self._used} if self._rest else {}
        if self._rest and self._rest != "origin":
            payload[self._rest] = rest
            rest = {}
        if self._key:
            missing = [name for name in self._key if text_of(_at(row, name)) == ""]
            if missing:
                raise RowError(f"has no {', '.join(missing)}")
            key = [text_of(_at(row, name)) for name in self._key]
        else:
            key = [dumps(_written(row))]
        return Row(
            (),
            text_of(found["type"]),
            key,
            found.get("created_at"),
            origin=_written(rest),
            payload=_written(payload),
            updated_at=found.get("updated_at"),
            id=text_of(found.get("id")),
            creator=text_of(found.get("creator")) or None,
            user=text_of(found.get("user_id")),
            trace=text_of(found.get("trace")),
            session=text_of(found.get("session")),
            ref=text_of(found["ref"]),
        )

    def _is_null(self, value: Any) -> bool:
        return value is None or value == "" or (isinstance(value, str) and value in self._null) or value != value


def _parts(given: Any, where: str) -> dict[str, Part]:
    if not isinstance(given, dict):
        raise UnusableError(f"[{where}] is a table")
    return {name: Part.of(value, f"{where}.{name}") for name, value in given.items()}


def _checked(template: str, where: str) -> str:
    try:
        for _, name, format, conversion in string.Formatter().parse(template):
            if name == "" or format or conversion:
                raise ValueError("only names of columns may stand in braces")
    except ValueError as error:
        raise UnusableError(f"{where}: {error}") from None
    return template


def _at(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or of a path into nested objects where there is no column of this name."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _as(value: Any, kind: str) -> Any:
    match kind:
        case "number":
            return _number(value)
        case "boolean":
            text = text_of(value).strip().lower()
            if text in _TRUE or text in _FALSE:
                return text in _TRUE
            raise RowError(f"{text[:40]!r} is neither true nor false")
        case "json" if isinstance(value, str) and not isinstance(value, Number):
            try:
                return loads(value)
            except ValueError:
                raise RowError(f"{value[:40]!r} is no JSON") from None
        case "text":
            return text_of(value)
    return value


def _number(value: Any) -> Any:
    """A number as it is written."""
    if not isinstance(value, str) or isinstance(value, Number):
        return value
    try:
        read = loads(value.strip())
    except ValueError:
        read = None
    if not isinstance(read, Number):
        raise RowError(f"{value[:40]!r} is no number")
    return read


def _timed(value: Any, unit: str) -> str:
    """A time since 1970 in a unit, as text."""
    try:
        number = float(plain(_number(value)))
        return datetime.fromtimestamp(number / _UNITS[unit], UTC).isoformat()
    except (ValueError, OverflowError, OSError, TypeError):
        raise RowError(f"{text_of(value)[:40]!r} is no time in {unit}") from None


def _written(value: Any) -> Any:
    """A value of a Parquet file in a form that JSON has: times and other objects as their text."""
    if isinstance(value, Mapping):
        return {str(key): _written(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_written(member) for member in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
