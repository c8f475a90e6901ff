"""Random byte strings for every method, seeded: noise, and valid messages that were then broken."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, Feedback, feedback_service_pb2
from tests.attacks.frames import Connection, Outcome, block, envelope

SERVICE = feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"]
PROJECT = "acme/garbage"
TEXTS = (
    "",
    "x",
    PROJECT,
    "weave:///acme/garbage/call/1",
    "payload.a",
    "{}",
    '{"a":1}',
    "wandb.reaction.1",
    "\x00",
    "é" * 9,
)
NUMBERS = (0, 1, -1, 2, 7, 2**31 - 1, -(2**63), 2**63 - 1)

_AT_A_TIME = 64


def filled(message: Message, chance: random.Random, depth: int = 0) -> Message:
    """Fill a message at random with valid values, or nearly valid ones."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.5:
            continue
        many = field.default_value == []
        if field.message_type is not None:
            if field.message_type.GetOptions().map_entry or depth > 6:
                continue
            for _ in range(chance.randint(1, 3) if many else 1):
                inner = getattr(message, field.name)
                filled(inner.add() if many else inner, chance, depth + 1)
            continue
        value = _value(field, chance)
        if many:
            getattr(message, field.name).extend([value] * chance.randint(1, 3))
        else:
            setattr(message, field.name, value)
    return message


def _value(field: Any, chance: random.Random) -> object:
    if field.name == "project":
        return PROJECT
    if field.name == "id":
        return uuid7()
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.choice(TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return chance.choice((0.0, 0.5, -1.0, float("nan"), float("inf")))
        case FieldDescriptor.CPPTYPE_INT64:
            return chance.choice(NUMBERS)
        case _:
            return chance.choice(NUMBERS[:6])


def in_order(method: str, chance: random.Random) -> Message:
    """A request that the server accepts."""
    request = GetMessageClass(SERVICE.methods_by_name[method].input_type)()
    fields: dict[str, object] = {"project": PROJECT, "id": known_id(chance.randrange(100)), "page_size": 5}
    for name, value in fields.items():
        if name in request.DESCRIPTOR.fields_by_name:
            setattr(request, name, value)
    records = getattr(request, "feedback", None)
    for _ in range(1 if isinstance(records, Message) else chance.randint(1, 3)):
        if records is not None:
            record = records if isinstance(records, Message) else records.add()
            record.MergeFrom(_record(method, chance))
    if "query" in request.DESCRIPTOR.fields_by_name and method != "PurgeFeedback":
        comparison = request.query.expr.comparison  # type: ignore[attr-defined]
        comparison.op = chance.randint(1, 6)
        comparison.left.field = chance.choice(("payload.a", "creator", "ref"))
        comparison.right.literal.string_value = chance.choice(("1", "x", "2026-01-01"))
    if method == "SetReaction":
        for name, value in {"id": uuid7(), "ref": "weave:///acme/garbage/call/1", "emoji": "👍"}.items():
            setattr(request, name, value)
        request.reacted = chance.random() < 0.5  # type: ignore[attr-defined]
    if method == "PurgeFeedback":
        request.ids.append(known_id(chance.randrange(100, 200)))  # type: ignore[attr-defined]
    return request


def known_id(number: int) -> str:
    """The id of a record of `good`."""
    return f"0192f0c1-2345-7678-9abc-{number:012x}"


def _record(method: str, chance: random.Random) -> Feedback:
    id = known_id(chance.randrange(100)) if method == "ReplaceFeedback" else uuid7()
    record = Feedback(
        id=id,
        ref="weave:///acme/garbage/call/1",
        feedback_type="wandb.agent_user_feedback",
        payload_json='{"a":[1,{"b":null}]}',
    )
    record.scorer_tags.append("good")
    record.scorer_ratings["good"] = 0.5
    if method == "ImportFeedback":
        record.created_at.FromSeconds(chance.randrange(2**31))
    return record


def broken(raw: bytes, chance: random.Random) -> bytes:
    """Bytes with some of them changed, left out, repeated, or cut off."""
    match chance.randrange(4):
        case 0:
            return raw[: chance.randint(0, len(raw))]
        case 1:
            changed = bytearray(raw)
            for _ in range(chance.randint(1, 8)):
                if changed:
                    changed[chance.randrange(len(changed))] = chance.randrange(256)
            return bytes(changed)
        case 2:
            at, length = chance.randint(0, len(raw)), chance.randint(0, 16)
            return raw[:at] + raw[at + length :]
        case _:
            at, length = chance.randint(0, len(raw)), chance.randint(0, 64)
            return raw[:at] + raw[at : at + length] * chance.randint(2, 9) + raw[at:]


def strings(method: str, count: int, seed: int) -> Iterator[bytes]:
    """Byte strings for a method: noise, valid messages, random messages, and broken ones of both."""
    chance = random.Random(f"{seed} {method}")
    message_class = GetMessageClass(SERVICE.methods_by_name[method].input_type)
    for _ in range(count):
        match chance.randrange(8):
            case 0 | 1:
                yield chance.randbytes(chance.choice((0, 1, 2, 5, 20, 100, 1000)))
            case 2:
                yield in_order(method, chance).SerializeToString()
            case 3:
                yield filled(message_class(), chance).SerializeToString()
            case 4:
                yield broken(filled(message_class(), chance).SerializeToString(), chance)
            case _:
                yield broken(in_order(method, chance).SerializeToString(), chance)


def good(count: int) -> Iterator[bytes]:
    """Creates that are all valid."""
    for number in range(count):
        feedback = Feedback(
            id=known_id(number), ref="weave:///acme/garbage/call/1", feedback_type="t", payload_json=f'{{"a":{number}}}'
        )
        yield CreateFeedbackRequest(project=PROJECT, feedback=feedback).SerializeToString()


async def throw(target: str, method: str, bodies: Iterator[bytes]) -> Counter[int | None]:
    """Send all, several at a time on one connection. Returns how often each code came, None for a call that was cut."""
    connection = await Connection.to(target)
    codes: Counter[int | None] = Counter()
    headers = block(f"/{SERVICE.full_name}/{method}")

    async def one_by_one() -> None:
        for body in bodies:
            codes[await _code(connection, headers, body, goes_on=method == "WatchFeedback")] += 1

    try:
        await asyncio.gather(*(one_by_one() for _ in range(_AT_A_TIME)))
    finally:
        connection.close()
    return codes


async def _code(connection: Connection, headers: bytes, body: bytes, *, goes_on: bool) -> int | None:
    """The code of a call; one that does not end counts as OK, and is cancelled, after its first answer."""
    ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    stream = connection.call(headers, envelope(body), ended.set_result)
    async with asyncio.timeout(60):
        while goes_on and not ended.done():
            await asyncio.wait([ended], timeout=0.01)
            if stream in connection.open and connection.open[stream].answers:
                connection.reset(stream)
                return 0
        return (await ended).code
