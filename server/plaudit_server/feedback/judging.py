"""What feedback asks of the definitions above it: whether records may be written, and where; none is read here.

This is a hook: definitions provide a Judge, and a server without them writes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from plaudit._contract import jsontext
from plaudit_server.errors import DomainError, Violation
from plaudit_server.feedback.records import Record

_NOT_DECODED: Final[Mapping[str, Any]] = MappingProxyType({})


class Description(NamedTuple):
    """What is looked at where there is no Record, as of one that breaks rules; what of it cannot be read is empty.

    `payload` is JSON text.
    """

    feedback_type: str
    ref: str
    user_id: str
    creator: str | None
    annotation_ref: str | None
    payload: str


class Subject(NamedTuple):
    """A record to be judged, and its payload, decoded, perhaps without what the server adds to it.

    One that comes from another process is not decoded: unpickling many values takes as long as decoding them, and
    nothing interrupts it.
    """

    record: Record | Description
    payload: Mapping[str, Any]

    @property
    def is_decoded(self) -> bool:
        """Whether it has its payload."""
        return self.payload is not _NOT_DECODED

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.record,)


def _unpickled(record: Record | Description) -> Subject:
    return Subject(record, _NOT_DECODED)


def subject_of(record: Record | Description) -> Subject:
    """A record that keeps all other rules, with its payload."""
    return Subject(record, jsontext.decode(record.payload))


Seen: TypeAlias = Sequence[Subject | None]
"""What is looked at of each record of a request; None of one that has passed a glance."""


def all_seen(records: Sequence[Record | Description], subjects: Seen) -> Iterator[Subject]:
    """What is looked at of all of them, also of those that have passed."""
    for record, subject in zip(records, subjects, strict=True):
        yield subject or subject_of(record)


class Verdict(NamedTuple):
    """What is said of one record.

    `refused` is why it may not be written, unless it is stored already. `key` gives the place that it takes, of which
    there is one, by the record's owner; None where there may be any number. `replaces`: the last one there counts.
    `yields`: where its place is taken it is written without one.
    """

    refused: DomainError | None = None
    key: Callable[[str], str] | None = None
    replaces: bool = False
    yields: bool = False


class Judgement(NamedTuple):
    """What is said of the records of a request, by the definitions after `number` changes of them.

    `verdicts` are by record, or empty when nothing is said of any.
    """

    number: int = 0
    verdicts: Sequence[Verdict | None] = ()

    def of(self, index: int) -> Verdict | None:
        """What is said of one record."""
        return self.verdicts[index] if self.verdicts else None


NOTHING_SAID: Final = Judgement()


class Stale(DomainError):
    """The project's definitions have changed since the records were judged: the outcome is to judge them again."""

    def __init__(self, number: int) -> None:
        super().__init__(str(number))
        self.number = number


class Glance(Protocol):
    """A look at a record of one project while it is read: nothing of it is kept for later, nobody waits.

    It goes to no other process: pickled, it is None. `nothing` is what is said of any records that have passed, where
    no type has places.
    """

    nothing: Judgement | None

    def passes(self, record: Record, payload: Mapping[str, Any]) -> bool:
        """Whether a record is good; False also where finding that out would cost more than a little."""

    def judgement(self, records: Sequence[Record]) -> Judgement:
        """What is said of records all of which have passed."""


class Known(NamedTuple):
    """What is known of a project before its records are read: one of the two.

    `judgement` is that of any record, while nothing is known to be defined; else `glance` looks at single ones.
    """

    judgement: Judgement | None
    glance: Glance | None


NOTHING_KNOWN: Final = Known(NOTHING_SAID, None)


class Judge(Protocol):
    """Knows what is defined."""

    def known(self, project: str) -> Known:
        """What is known of any record of a project."""

    async def judge(
        self, project: str, records: Sequence[Record], subjects: Seen, at: Sequence[str], *, skip: bool = False
    ) -> Judgement:
        """Judge the records of one request. Those that have passed did so by the glance that is known; `at` is the path
        of each.

        With `skip` nothing is refused, and what takes a place that is taken is written without one.
        """

    async def violations(self, project: str, subjects: Sequence[Subject], at: Sequence[str]) -> list[Violation]:
        """What is wrong by definition with records of a request that is refused anyway."""

    async def refresh(self, project: str, number: int) -> None:
        """Read the definitions again: there have been this many changes of them."""


class NoJudge:
    """Where nothing is defined."""

    def known(self, project: str) -> Known:
        """Nothing, of any project."""
        return NOTHING_KNOWN

    async def judge(
        self, project: str, records: Sequence[Record], subjects: Seen, at: Sequence[str], *, skip: bool = False
    ) -> Judgement:
        """Nothing."""
        return NOTHING_SAID

    async def violations(self, project: str, subjects: Sequence[Subject], at: Sequence[str]) -> list[Violation]:
        """None."""
        return []

    async def refresh(self, project: str, number: int) -> None:
        """There is nothing to read."""
