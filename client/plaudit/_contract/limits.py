"""Every numeric limit of the API; the server enforces them, and GetServerInfo returns them."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# Text of a record, in bytes as UTF-8.
PROJECT_PART_BYTES: Final = 128
REF_BYTES: Final = 2048
FEEDBACK_TYPE_BYTES: Final = 128
CREATOR_BYTES: Final = 256
USER_ID_BYTES: Final = 256
QUEUE_ID_BYTES: Final = 128
LOOKUP_ID_BYTES: Final = 128
SPAN_TEXT_BYTES: Final = 256

# The payload.
PAYLOAD_BYTES: Final = MIB
PAYLOAD_DEPTH: Final = 32
NOTE_CHARACTERS: Final = 10_000

# The highest version of an imported record: replaces count on from it.
IMPORTED_VERSION: Final = 2**31

# The scorer_* fields.
SCORER_ENTRIES: Final = 100
SCORER_KEY_BYTES: Final = 128
SCORER_TAG_BYTES: Final = 256
SCORER_REASON_CHARACTERS: Final = 10_000

# Messages, in encoded bytes. gRPC's own receive limit is higher, so that ours is met first, and answers with a reason.
REQUEST_BYTES: Final = 3 * MIB
RESPONSE_BYTES: Final = 4 * MIB
GRPC_RECEIVE_BYTES: Final = 8 * MIB

# Elements of one message: fields that are set, and each entry of its lists and maps. The other limits allow fewer; the
# ids of a purge are counted on top. So only a message that would be refused anyway exceeds this limit, and is refused
# before it is parsed.
MESSAGE_ELEMENTS: Final = 2_000

# Requests.
BATCH_ITEMS: Final = 1000
PAGE_ROWS: Final = 1000
PURGE_ROWS: Final = 10_000
ORDER_BY_KEYS: Final = 8

# The query language.
QUERY_DEPTH: Final = 32
QUERY_NODES: Final = 512
QUERY_MEMBERS: Final = 1000
QUERY_MEMBERS_TOGETHER: Final = 4000
NUMERIC_TEXT_CHARACTERS: Final = 40
SORT_TEXT_CHARACTERS: Final = 256

# Questions about many records.
AGGREGATE_GROUPINGS: Final = 4
AGGREGATE_NEWEST_OF: Final = 3
AGGREGATE_MEASURES: Final = 20
AGGREGATE_PERCENTS: Final = 20
AGGREGATE_TOP: Final = 100
AGGREGATE_EDGES: Final = 101
AGGREGATE_NAME_BYTES: Final = 128
AGGREGATE_FILLED_GROUPS: Final = 10_000
AGGREGATE_SORTED_GROUPS: Final = 50_000
DESCRIBE_ROWS: Final = 10_000
DESCRIBE_PATHS: Final = 10_000
SUMMARY_REFS: Final = 1000
SUMMARY_MEASURES: Final = 5
AGREEMENT_VALUES: Final = 200_000
AGREEMENT_PAIRED_RATERS: Final = 100
AGREEMENT_RATIO_VALUES: Final = 2000


def as_mapping() -> dict[str, int]:
    """Every limit by its lower-case name, as GetServerInfo returns them (bytes, characters or counts)."""
    return {
        name.lower(): value
        for name, value in globals().items()
        if name.isupper() and isinstance(value, int) and name not in ("KIB", "MIB")
    }
