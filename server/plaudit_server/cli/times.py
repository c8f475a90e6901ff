"""Times as commands show them."""

from __future__ import annotations

from datetime import UTC, datetime


def shown_time(microseconds: int) -> str:
    """A time in microseconds since 1970, in UTC to the second."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
