"""The rows of a large project, as the store's own code writes them, made without a request for each.

Ten types, 400 days; four rows in five are of ordinary refs, 40 rows each, the others of twenty refs that grow with the
project.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from plaudit.v1 import Feedback
from plaudit_server.errors import Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.records import content_of, seal
from plaudit_server.rpc.wire import set_timestamp, varint

PROJECT: Final = "growth/rows"
DAYS: Final = 400
BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)
MIDDLE: Final = BEGIN + timedelta(days=DAYS / 2)
LARGE_TYPE: Final = "correctness"
"""The type of every second row."""
TYPES: Final = (LARGE_TYPE, *(f"judge.{number}" for number in range(9)))
CALLS: Final = f"weave:///{PROJECT}/call/"
LARGE_REFS: Final = f"{CALLS}large-"
"""How the twenty large refs begin; in the order of URIs they come after all others."""

_OF_A_REF: Final = 40
_LARGE: Final = 20
_DAY: Final = 86_400_000_000
_BEGIN: Final = round(BEGIN.timestamp()) * 1_000_000
_OWNER: Final = "anonymous"
_CREATORS: Final = 20
_ID: Final = "00000000-0000-7000-8000-000000000000"
_REF: Final = CALLS + "0" * 8
_TIME: Final = 1_700_000_000_123_456
_REVISION: Final = 0x7654_3210
# No divisor of any number of refs here, so that each has as many rows. They are spread, as they arrive over time.
_STEP: Final = 7_919
_SENTENCE: Final = (
    "the answer names the right cause but leaves out when it happened and cites no line of the source that a reader"
    " could look up; its tone is calm and its length fits the question"
)


def refs_in(count: int) -> int:
    """The number of ordinary refs of a project of the given number of rows."""
    return max(1, count * 4 // 5 // _OF_A_REF)


def ref_of(number: int, count: int) -> str:
    """The ref of a row; numbers begin with 0."""
    if number % 5 == 0:
        return f"{LARGE_REFS}{number // 5 % _LARGE:02d}"
    ordinary = number - 1 - number // 5  # of the rows of ordinary refs
    return f"{CALLS}{ordinary * _STEP % refs_in(count):08d}"


def ordinary_ref(part: float, count: int) -> str:
    """The ref at a place between the first, 0, and the last, 1, of the ordinary ones."""
    return f"{CALLS}{int((refs_in(count) - 1) * part):08d}"


def type_of(number: int) -> str:
    """The type of a row."""
    return LARGE_TYPE if number % 2 else TYPES[1 + number // 2 % 9]


def time_of(number: int, count: int) -> int:
    """When a row was created, in microseconds since 1970 UTC: each is later than the one before."""
    return _BEGIN + number * DAYS * _DAY // count


@cache
def _reasons() -> list[str]:
    chance, words = random.Random(1), _SENTENCE.split()
    return [" ".join(chance.choices(words, k=16)) for _ in range(256)]


class _Template(NamedTuple):
    """Rows of a type and a creator: what is between the values in which they differ."""

    pieces: tuple[bytes, ...]
    """Of the record's wire form: before the id, the ref, both times, the revision, and the payload's length."""
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    """The columns of the content before the ref, and after it."""


@cache
def _template(feedback_type: str, creator: str) -> _Template:
    """Taken apart from a row that the store's code has made."""
    out: list[Violation] = []
    message = Feedback(id=_ID, ref=_REF, feedback_type=feedback_type, creator=creator, payload_json="{}")
    made = rules.new_record(message, PROJECT, _OWNER, out)
    assert made is not None, out
    head = seal(made.body, b"{}", _TIME, _TIME, 1, _REVISION, _OWNER).head
    time = _time(_TIME)
    pieces, rest = [], head[1 + len(varint(len(head))) :]
    for value in (_ID.encode(), _REF.encode(), time, time, varint(_REVISION)):
        piece, _, rest = rest.partition(value)
        pieces.append(piece)
    content = content_of(made)
    place = content.index(_REF)
    return _Template((*pieces, rest[:-1]), content[:place], content[place + 1 :])


def _time(microseconds: int) -> bytes:
    """A Timestamp in wire form, after its length."""
    stamp = Timestamp()
    set_timestamp(stamp, microseconds)
    text = stamp.SerializeToString()
    return varint(len(text)) + text


def stored(numbers: range, count: int) -> Iterator[tuple[Any, ...]]:
    """Rows of a project that has `count` of them in all, with their values in the order of the store's columns."""
    reasons, chance = _reasons(), random.Random(numbers.start)
    for number in numbers:
        pieces, before, after = _template(type_of(number), f"judge-{number % _CREATORS}")
        created_at, ref, revision = time_of(number, count), ref_of(number, count), number + 1
        id = _id(created_at // 1000, chance.getrandbits(74))
        reason = reasons[number % len(reasons)]
        payload = f'{{"score":0.{number % 10_007:05d},"reason":"{reason}","model":"judge-large-2","turn":{number % 7}}}'
        time = _time(created_at)
        values = (id.encode(), ref.encode(), time, time, varint(revision), varint(len(payload)))
        fields = b"".join(chain.from_iterable(zip(pieces, values, strict=True)))
        head = b"".join((b"\x0a", varint(len(fields) + len(payload)), fields))
        made = (PROJECT, id, revision, 1, 1, created_at, created_at)
        yield (*made, *before, ref, *after, head, payload, None, _OWNER)


def _id(milliseconds: int, chance: int) -> str:
    """A UUIDv7 of that time, with 74 bits of chance."""
    high, low = chance >> 62, chance & (1 << 62) - 1 | 1 << 63
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{high:03x}-{low >> 48:04x}-{low & 0xFFFFFFFFFFFF:012x}"
    )
