"""What can be wrong with a request before it is a message; not the errors of methods."""

from __future__ import annotations

from typing import Final

INVALID_ARGUMENT: Final = 3
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13


class WebFault(Exception):
    """A request that its protocol does not allow; `code` is the number of its gRPC status, `message` a sentence of ours
    that the caller may read.
    """

    code: int = INVALID_ARGUMENT

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(WebFault):
    """A header, parameter, envelope or JSON text that cannot be read; `field` names what, as far as that is known."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TooLarge(WebFault):
    """A message that is larger than the server accepts; sizes in bytes, `size` is a lower bound."""

    code = RESOURCE_EXHAUSTED

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the request has at least {size} bytes, the limit is {limit}")
        self.size = size
        self.limit = limit


class UnknownCompression(WebFault):
    """A message compressed in a way that the server does not read."""

    code = UNIMPLEMENTED

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown compression {name[:40]!r}; use gzip or identity")
        self.name = name


class UnexpectedCompression(WebFault):
    """A message that is marked as compressed where the request's head named no compression: a defect of its sender."""

    code = INTERNAL

    def __init__(self) -> None:
        super().__init__("a message is compressed, but the request's head names no compression")


class WrongCount(WebFault):
    """More or fewer messages than one, for a method that takes exactly one."""

    code = UNIMPLEMENTED

    def __init__(self, count: int) -> None:
        super().__init__(f"the method takes exactly one message, and {'none' if count == 0 else 'more'} came")
        self.count = count


class HttpRefusal(Exception):
    """A request that is answered by HTTP alone, since it speaks no protocol of ours: status, headers, and a line of
    text.
    """

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers
