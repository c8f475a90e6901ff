"""What a query asks: a value that can be compared, copied and pickled, and the requests that ask it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from plaudit import v1
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.expr import Query, QueryLike, as_query


@dataclass(frozen=True, slots=True)
class Question:
    """Which records of a project are asked for, and in which order."""

    project: str | None
    """`entity/project`; None for the project of the client."""
    query: Query | None
    """The filter; None for every record."""
    offset: int = 0
    """How many records to leave out at the start."""
    limit: int | None = None
    """How many records to return at most; None for all."""
    order: tuple[str, ...] = ()
    """Names of columns, keys of maps and payload paths, with a `-` before those that descend."""

    @classmethod
    def of(
        cls,
        project: str | None,
        query: QueryLike | None,
        offset: int | None = None,
        limit: int | None = None,
        order_by: str | Iterable[str] | None = None,
    ) -> Self:
        """The question of what a user gives.

        Raises TypeError for a value of another type, InvalidArgumentError for a query or number that cannot be sent.
        """
        order = (order_by,) if isinstance(order_by, str) else tuple(order_by or ())
        for name in order:
            if not isinstance(name, str):
                raise TypeError(f"order_by holds names of fields, not a {type(name).__name__}")
        return cls(
            project,
            None if query is None else as_query(query),
            _integer(offset, "offset") or 0,
            _integer(limit, "limit"),
            order,
        )

    def request(self, project: str) -> v1.QueryFeedbackRequest:
        """The request for the first page."""
        return v1.QueryFeedbackRequest(
            project=project,
            query=query_message(self.query),
            order_by=[v1.OrderBy(field=name.removeprefix("-"), descending=name.startswith("-")) for name in self.order],
            offset=self.offset,
            limit=self.limit,
        )

    def stream_request(self, project: str) -> v1.StreamFeedbackRequest:
        """The request for all of the result over one stream."""
        paged = self.request(project)
        return v1.StreamFeedbackRequest(
            project=paged.project,
            query=paged.query if paged.HasField("query") else None,
            order_by=paged.order_by,
            offset=paged.offset,
            limit=self.limit,
        )

    def count_request(self, project: str) -> v1.CountFeedbackRequest:
        """The request for the number of all that match; offset and limit do not count."""
        return v1.CountFeedbackRequest(project=project, query=query_message(self.query))


def query_message(query: QueryLike | None) -> v1.Query | None:
    """A query as its message; None for every record."""
    return None if query is None else as_query(query).to_proto()


def _integer(value: int | None, name: str) -> int | None:
    """An offset or a limit that a message can hold; a negative one is refused by the server."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{name} is an int or None, not {type(value).__name__}")
    if value is not None and not -(2**63) <= value < 2**63:
        raise InvalidArgumentError.of([Violation(name, "is an integer beyond 64 bits")])
    return value
