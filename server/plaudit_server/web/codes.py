"""Status codes: gRPC's numbers, Connect's names for them, and the HTTP status that goes with each."""

from __future__ import annotations

from typing import Final, NamedTuple


class Code(NamedTuple):
    """A status code as Connect writes it."""

    name: str
    http_status: int


CODES: Final[tuple[Code, ...]] = (
    Code("ok", 200),
    Code("canceled", 499),
    Code("unknown", 500),
    Code("invalid_argument", 400),
    Code("deadline_exceeded", 504),
    Code("not_found", 404),
    Code("already_exists", 409),
    Code("permission_denied", 403),
    Code("resource_exhausted", 429),
    Code("failed_precondition", 400),
    Code("aborted", 409),
    Code("out_of_range", 400),
    Code("unimplemented", 501),
    Code("internal", 500),
    Code("unavailable", 503),
    Code("data_loss", 500),
    Code("unauthenticated", 401),
)
"""By gRPC's number."""

OK: Final = 0
UNKNOWN: Final = 2
DEADLINE_EXCEEDED: Final = 4


def code_of(number: int) -> Code:
    """The code of a number of gRPC; `unknown` for any other number."""
    return CODES[number] if 0 <= number < len(CODES) else CODES[UNKNOWN]
