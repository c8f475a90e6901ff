"""The filter of a command: its WHERE and its shortcuts as one query."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from plaudit._core.expr import Query

_AGE: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def query_of(
    where: str | None,
    since: str | None = None,
    until: str | None = None,
    ref: str | None = None,
    feedback_type: str | None = None,
    creator: str | None = None,
) -> Query | None:
    """The query of a command; None where it names no condition. Raises InvalidArgumentError for a bad text."""
    from plaudit._core.expr import Query, all_of, field

    conditions = [] if where is None or not where.strip() else [Query.from_text(where).expr]
    if since is not None:
        conditions.append(field("created_at") >= time_of(since, "--since"))
    if until is not None:
        conditions.append(field("created_at") < time_of(until, "--until"))
    for name, value in (("ref", ref), ("feedback_type", feedback_type), ("creator", creator)):
        if value is not None:
            conditions.append(field(name) == value)
    if not conditions:
        return None
    return Query(conditions[0] if len(conditions) == 1 else all_of(conditions))


def time_of(text: str, option: str) -> datetime:
    """A time that is written as such, or as an age. Raises UsageError for anything else."""
    if age := _AGE.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"{option} is a time such as 2026-03-01T12:00Z, or an age such as 24h, not {text!r}"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
