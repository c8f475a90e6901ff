"""Calls that are small to send and costly to process: what each sends, and the codes that may answer it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass

from plaudit._contract import limits
from plaudit.v1 import (
    Comparison,
    ComparisonOp,
    Contains,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Expression,
    ExpressionList,
    Feedback,
    Literal,
    Membership,
    Query,
)
from plaudit_server.rpc.wire import varint
from tests.attacks.frames import Headers, envelope

OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 0, 3, 8

PROJECT = "acme/attacked"
REF = "weave:///acme/attacked/call/1"
SERVICE = "plaudit.v1.FeedbackService"


@dataclass(frozen=True, slots=True)
class Bomb:
    """A call: its RPC, body and metadata, and the codes that may answer it."""

    rpc: str
    body: bytes
    codes: tuple[int, ...]
    metadata: Headers = ()
    per_second: float = 1.0
    """How often an attacker sends it in the campaign."""


def inside(number: int, body: bytes) -> bytes:
    """A field of bytes or of a message."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def _text(value: str) -> Expression:
    return Expression(literal=Literal(string_value=value))


def _equal(value: str = "x") -> Expression:
    sides = {"left": Expression(field="payload.a"), "right": _text(value)}
    return Expression(comparison=Comparison(op=ComparisonOp.COMPARISON_OP_EQ, **sides))


def _any_of(expressions: Iterable[Expression]) -> Expression:
    return Expression(any_of=ExpressionList(expressions=expressions))


def of_depth(depth: int) -> Expression:
    """A comparison under negations; its operands add one level."""
    expression = _equal()
    for _ in range(depth - 2):
        expression = Expression(negation=expression)
    return expression


def of_nodes(count: int) -> Expression:
    """Comparisons of three nodes each, and negations for the remaining nodes."""
    comparisons, rest = divmod(count - 1, 3)
    expressions = [_equal(str(number)) for number in range(comparisons)]
    for index in range(rest):
        expressions[index] = Expression(negation=expressions[index])
    return _any_of(expressions)


def of_members(count: int) -> Expression:
    """`$in` with the given number of members."""
    members = [_text(str(number)) for number in range(count)]
    return Expression(membership=Membership(operand=Expression(field="payload.a"), members=members))


def _containing(length: int) -> Expression:
    contains = Contains(input=Expression(field="payload.a"), substring=_text("x" * length), case_insensitive=True)
    return Expression(contains=contains)


def _counting(expression: Expression, *codes: int, per_second: float = 1.0) -> Bomb:
    request = CountFeedbackRequest(project=PROJECT, query=Query(expr=expression))
    return Bomb("CountFeedback", envelope(request.SerializeToString()), codes, per_second=per_second)


def _creating(payload: str) -> Bomb:
    feedback = Feedback(ref=REF, feedback_type="attack", payload_json=payload)
    request = CreateFeedbackRequest(project=PROJECT, feedback=feedback)
    return Bomb("CreateFeedback", envelope(request.SerializeToString()), (INVALID_ARGUMENT,))


def _with(feedback: bytes) -> bytes:
    return CreateFeedbackRequest(project=PROJECT).SerializeToString() + inside(2, feedback)


def _entries(count: int) -> bytes:
    """A record with a map of the given number of entries, with different keys and no values."""
    keys = (bytes(33 + number // 90**place % 90 for place in range(3)) for number in range(count))
    return Feedback(ref=REF, feedback_type="attack").SerializeToString() + b"".join(
        inside(20, inside(1, key)) for key in keys
    )


def _zeros(mebibytes: int) -> Bomb:
    message = gzip.compress(bytes(mebibytes * limits.MIB), mtime=0)
    body = envelope(message, compressed=True)
    return Bomb("CreateFeedback", body, (RESOURCE_EXHAUSTED,), [("grpc-encoding", "gzip")])


def bombs() -> dict[str, Bomb]:
    """All of them, by name."""
    # grpc itself refuses metadata: at random between 8 and 16 KiB, always above.
    metadata = [("x-noise", "x" * 16 * limits.KIB)]
    return {
        "350,000 map entries": Bomb("CreateFeedback", envelope(_with(_entries(350_000))), (INVALID_ARGUMENT,)),
        "1,500,000 empty records": Bomb(
            "BatchCreateFeedback",
            envelope(CreateFeedbackRequest(project=PROJECT).SerializeToString() + b"\x12\x00" * 1_500_000),
            (INVALID_ARGUMENT,),
        ),
        "a message of 5 MB": Bomb("CreateFeedback", envelope(bytes(5_000_000)), (RESOURCE_EXHAUSTED,)),
        "gzip, 7 MiB": _zeros(7),
        "gzip, 512 MiB": _zeros(512),
        "metadata of 16 KiB": Bomb("GetServerInfo", envelope(b""), (OK, RESOURCE_EXHAUSTED), metadata, per_second=200),
        "JSON, 1 MiB of [": _creating('{"a":' + "[" * (limits.PAYLOAD_BYTES - 5)),
        "JSON, 200,000 levels": _creating('{"a":' * 200_000 + "1" + "}" * 200_000),
        "a query of depth 32": _counting(of_depth(limits.QUERY_DEPTH), OK),
        "a query of depth 33": _counting(of_depth(limits.QUERY_DEPTH + 1), INVALID_ARGUMENT),
        "a query of depth 90": _counting(of_depth(90), INVALID_ARGUMENT),
        "512 nodes": _counting(of_nodes(limits.QUERY_NODES), OK),
        "513 nodes": _counting(of_nodes(limits.QUERY_NODES + 1), INVALID_ARGUMENT),
        "100,000 nodes": _counting(of_nodes(100_000), INVALID_ARGUMENT),
        "$in of 1,000": _counting(of_members(limits.QUERY_MEMBERS), OK),
        "$in of 1,001": _counting(of_members(limits.QUERY_MEMBERS + 1), INVALID_ARGUMENT),
        "$in of 100,000": _counting(of_members(100_000), INVALID_ARGUMENT),
        "four $in of 1,000": _counting(_any_of([of_members(limits.QUERY_MEMBERS)] * 4), OK),
        "170 $in of 1,000": _counting(_any_of([of_members(limits.QUERY_MEMBERS)] * 170), INVALID_ARGUMENT),
        "a text of 1 MiB, folded": _counting(_containing(limits.MIB), OK),
    }
