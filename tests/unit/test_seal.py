"""What the store adds to a record's encoding is what the protobuf library would write."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plaudit.v1 import Feedback, GetFeedbackResponse
from plaudit_server.feedback.records import seal
from plaudit_server.rpc.wire import set_timestamp, varint

TIMES = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999) | st.integers(-2, 2).map(
    lambda seconds: seconds * 1_000_000
)
COUNTS = st.integers(1, 2**63 - 1)
OWNERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(created_at=TIMES, updated_at=TIMES | st.none(), version=COUNTS, revision=COUNTS, owner=OWNERS, size=COUNTS)
def test_a_sealed_record_is_what_protobuf_would_write(
    created_at: int, updated_at: int | None, version: int, revision: int, owner: str, size: int
) -> None:
    updated_at = created_at if updated_at is None else updated_at
    body = Feedback(id="i", ref="r", user_id="u").SerializeToString()
    payload = b"{" + b" " * (size % 70_000) + b"}"

    row = seal(body, payload, created_at, updated_at, version, revision, owner)

    stamp = Feedback(version=version, revision=revision, owner=owner)
    set_timestamp(stamp.created_at, created_at)
    set_timestamp(stamp.updated_at, updated_at)
    whole = body + stamp.SerializeToString() + Feedback(payload_json=payload.decode()).SerializeToString()
    assert row.head + row.payload == b"\x0a" + varint(len(whole)) + whole
    assert GetFeedbackResponse.FromString(row.head + row.payload).feedback == Feedback.FromString(whole)
