"""Raw values, as texts or as TOML gives them, read as the types of their settings."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from plaudit_server.config.catalogue import Setting
from plaudit_server.config.errors import ConfigError
from plaudit_server.config.grants import NamedGrant, known_role
from plaudit_server.config.redaction import without_password


class Given(NamedTuple):
    """A raw value, and where it comes from, in the words of messages."""

    value: Any
    origin: str


def read_value(setting: Setting, given: Given) -> Any:
    """A raw value, text or TOML's, as the setting's type. Raises ConfigError."""
    raw, origin = given
    try:
        if setting.type is str:
            return _expect(raw, str, "text")
        if setting.type is bool:
            return _read_bool(raw)
        if setting.type is int:
            return int(raw) if isinstance(raw, str) else _expect(raw, int, "a whole number")
        if setting.type is float:
            return float(raw) if isinstance(raw, str | int) and not isinstance(raw, bool) else _expect(raw, float, "")
        if setting.name == "grants":
            grants = [_read_grant(table) for table in _read_tables(raw)]
            return tuple(grant for grant in grants if grant is not None)
        return _read_list(raw)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{origin}: {_shown(raw)} is not what {setting.key} takes: {error}") from error


def _shown(raw: object) -> str:
    text = without_password(str(raw))
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _expect(raw: Any, kind: type, words: str) -> Any:
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise TypeError(f"write {words or 'a number'}")
    return raw


def _read_bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    try:
        return {"true": True, "1": True, "false": False, "0": False}[raw.lower()]
    except (KeyError, AttributeError):
        raise ValueError("write true or false") from None


def _read_list(raw: Any) -> tuple[str, ...]:
    texts = raw.split(",") if isinstance(raw, str) else [part for item in raw for part in item.split(",")]
    return tuple(text.strip() for text in texts if text.strip())


def _read_tables(raw: Any) -> list[Any]:
    """Tables of the file; or JSON text of one table or a list of them, from a flag that may be repeated."""
    items = [raw] if isinstance(raw, str) else list(raw)
    tables: list[Any] = []
    for item in items:
        read = json.loads(item) if isinstance(item, str) else item
        tables += read if isinstance(read, list) else [read]
    return tables


def _read_grant(table: Any) -> NamedGrant | None:
    """A grant; None when its role is not known here, which is ignored with a warning."""
    if not isinstance(table, dict) or set(table) != {"principal", "role", "projects"}:
        raise ValueError("a grant is a table of principal, role and projects")
    projects = table["projects"]
    if isinstance(projects, str) or not all(isinstance(p, str) for p in projects):
        raise ValueError("projects is a list of patterns")
    name = _expect(table["principal"], str, "the principal as text")
    role = known_role(_expect(table["role"], str, "the role as text"), f"the grant of {name}")
    return None if role is None else NamedGrant(name, role, tuple(projects))
