"""The requests of a paged read, one after the other; nothing here does I/O."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar


class PagedRequest(Protocol):
    """A request whose answer comes in pages."""

    page_token: str

    def CopyFrom(self, other: Any, /) -> None:  # noqa: N802
        ...


class PagedResponse(Protocol):
    """One page."""

    @property
    def next_page_token(self) -> str:
        """Where the next page starts; empty at the end."""


RequestT = TypeVar("RequestT", bound=PagedRequest)


class Pages(Generic[RequestT]):
    """Where a paged read stands: send `request`, give the answer to `advance`, until `request` is None.

    A request that failed may simply be sent again: the place is kept.
    """

    __slots__ = ("request",)

    def __init__(self, request: RequestT) -> None:
        self.request: RequestT | None = request

    def advance(self, response: PagedResponse) -> None:
        """Move on to the page after `response`."""
        if self.request is None:
            raise RuntimeError("the last page was read")
        if not response.next_page_token:
            self.request = None
            return
        following = type(self.request)()
        following.CopyFrom(self.request)
        following.page_token = response.next_page_token
        self.request = following
