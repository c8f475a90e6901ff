"""Changing and removing records that exist: what is asked for an edit of some fields, and for a purge; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final
from uuid import UUID

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.errors import AbortedError
from plaudit._core.expr import Query
from plaudit._core.model import Feedback
from plaudit._core.records import canonical_id, edited
from plaudit._steps.step import Call, Steps, all_pages
from plaudit._wire.methods import GET, PURGE, REPLACE

# Each attempt loses only against somebody else's edit, which was stored.
_ATTEMPTS: Final = 20

Doomed = str | UUID | Feedback
"""What names a record to purge: its id, or the record."""


def updated(
    project: str, id: str, payload: Mapping[str, Any] | None, changes: Mapping[str, Any], expected_version: int
) -> Steps[Feedback]:
    """Change some fields of a record, and leave the others as they are, to the character.

    An edit that somebody else made in between is kept, too: without an expected version, what it left is read again.
    """
    edited(v1.Feedback(), payload, changes)  # what is wrong with the changes costs no call
    for remaining in reversed(range(_ATTEMPTS)):
        read = yield from Call(GET, v1.GetFeedbackRequest(project=project, id=canonical_id(id)))
        request = v1.ReplaceFeedbackRequest(
            project=project,
            feedback=edited(read.feedback, payload, changes),
            expected_version=expected_version or read.feedback.version,
        )
        try:
            response = yield from Call(REPLACE, request)
        except AbortedError:
            if expected_version or not remaining:
                raise
        else:
            return Feedback(response.feedback)
    raise AssertionError("the last attempt returns or raises")


def purged(doomed: Iterable[Doomed], dry_run: bool, project: str | None, default: Callable[[], str]) -> Steps[int]:
    """Remove records by their ids, which are of `project`, else of the default one; records are of their own."""
    by_project: dict[str, dict[str, None]] = {}
    for one in doomed:
        if isinstance(one, Feedback):
            if project is not None and one.project != project:
                raise ValueError(f"{one.id} is a record of {one.project}, not of {project}: nothing was purged")
            by_project.setdefault(one.project, {})[one.id] = None
        else:
            by_project.setdefault(project or default(), {})[canonical_id(one)] = None
    count = 0
    for name, ids in by_project.items():
        for some in _chunks(ids, limits.PURGE_ROWS):
            response = yield from Call(PURGE, v1.PurgeFeedbackRequest(project=name, ids=some, dry_run=dry_run))
            count += response.purged_count
    return count


def purged_matching(query: Query, dry_run: bool, project: str) -> Steps[int]:
    """Remove all records that match."""
    # Each answer says where to go on, however few of the records match: so every purge ends.
    request = v1.PurgeFeedbackRequest(project=project, query=query.to_proto(), dry_run=dry_run)
    return sum(page.purged_count for page in (yield from all_pages(PURGE, request)))


def _chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, size)):
        yield chunk
