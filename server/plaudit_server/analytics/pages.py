"""Pages of groups and of fields: where one ends and the next begins, and how much fits; tokens are rpc's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from plaudit._contract import limits
from plaudit_server.analytics.groups import sort_values
from plaudit_server.analytics.records import Aggregate, Group
from plaudit_server.rpc.paging import Cursor

M = TypeVar("M", bound=Message)
T = TypeVar("T")

# Below the 4 MiB that a client of any language takes by default, with room for a token of long keys and a total.
BYTES: Final = limits.RESPONSE_BYTES - 512 * limits.KIB
"""How many bytes of groups, fields or records there are in an answer at most."""


def fitting(items: Iterable[T], message: Callable[[T], M]) -> list[M]:
    """The messages of as many items as fit a page in bytes, of one at least."""
    taken: list[M] = []
    size = 0
    for item in items:
        made = message(item)
        size += made.ByteSize()
        if size > BYTES and taken:
            break
        taken.append(made)
    return taken


def cursor_after(question: Aggregate, group: Group, remaining: int | None) -> Cursor:
    """The place after a group, the last of a page."""
    return Cursor(sort_values(question, group), remaining)


def after_fields(fields: Sequence[Any], cursor: Cursor) -> Sequence[Any]:
    """The fields that come after the last one of the page before."""
    if not cursor.after:
        return fields
    return [field for field in fields if (field.feedback_type, field.path) > cursor.after]
