"""Every attack, declared: which row of the table of issue B2 it stands for, what it sends, how that may end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from plaudit import v1 as wire
from tests.attacks.bombs import PROJECT, REF, SERVICE
from tests.neighbours import queries
from tests.neighbours.budget import Expected

SQLITE: Final = "sqlite"
POSTGRES: Final = "postgresql"
BOTH: Final = (SQLITE, POSTGRES)

EXPENSIVE: Final = "RESOURCE_EXHAUSTED QUERY_TOO_EXPENSIVE"
OWN_DEADLINE: Final = "its own deadline"
CUT: Final = "no status"
"""The stream or its connection was cut."""
# Where there is no place, or a caller does not read, it is told to come back.
_BUSY: Final = frozenset(
    f"RESOURCE_EXHAUSTED {reason}, come back" for reason in ("OVERLOADED", "QUOTA_EXCEEDED", "WATCHER_TOO_SLOW")
)
_ANY: Final = _BUSY | {"OK", EXPENSIVE, OWN_DEADLINE, "DEADLINE_EXCEEDED"}

# A write that did not begin in its time.
_NO_TURN: Final = "UNAVAILABLE STORE_UNAVAILABLE, come back"

_LEGAL: Final = Expected(_ANY)
_LARGE: Final = Expected(_ANY | {"RESOURCE_EXHAUSTED AGGREGATE_TOO_LARGE"})
_ANALYTICS: Final = "plaudit.v1.AnalyticsService"
_DEFINITIONS: Final = "plaudit.v1.DefinitionService"

LARGE_PAYLOAD_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of a method of the service: each attacker makes one after the other, at most `per_second`."""

    rpc: str
    request: Callable[[int], Message]
    """The request of the attacker with this number."""
    per_second: float = 10.0
    bounded: bool = True
    """Whether the server owes an end within its limit; a long stream that is read may go on."""
    service: str = SERVICE

    @property
    def path(self) -> str:
        """As in HTTP."""
        return f"/{self.service}/{self.rpc}"


@dataclass(frozen=True, slots=True)
class Streams:
    """Calls that are opened and kept: each attacker holds as many as `each` says, and opens others when some end."""

    path: str
    each: int
    request: Callable[[int], Message] | None = None
    """The request of the stream with this number; without one nothing is sent."""
    ends: bool = True
    """Whether the attacker says that no more requests come."""
    reads: bool = True
    credential: bool = True


@dataclass(frozen=True, slots=True)
class Attack:
    """What a few callers do at the same time, and on which engines."""

    row: str
    """Of the table, where one request is several rows: on SQLite, on PostgreSQL, with a deadline there."""
    name: str
    sends: tuple[Calls | Streams, ...]
    expected: Expected = _LEGAL
    engines: tuple[str, ...] = BOTH
    deadlines: bool = True
    """Whether it makes sense to send it with a deadline, too."""
    one_caller: bool = False
    """Whether all attackers have the same principal (or address), and not one of its own each."""
    locks: bool = False
    """Whether the row of the attackers' project is locked in the database all the time."""
    statement_timeout: str = ""
    """The database's own limit, as a managed one has it."""
    http: bool = False
    """Whether the attackers come by the HTTP port, with Connect's protocol."""


def _every(expected: str, *others: str) -> Expected:
    return Expected(_ANY | {expected, *others}, frozenset({expected, *others}))


_TOO_EXPENSIVE: Final = _every(EXPENSIVE)


def _reading(kind: Any, query: wire.Query | None = None, **fields: Any) -> Callable[[int], Message]:
    """The same request for everybody."""
    request: Message = kind(project=PROJECT, query=query, **fields)
    return lambda _: request


def _feedback(payload: str, **fields: Any) -> wire.Feedback:
    return wire.Feedback(ref=REF, feedback_type="attack", payload_json=payload, **fields)


def _creating(_: int) -> Message:
    return wire.CreateFeedbackRequest(project=PROJECT, feedback=_feedback('{"n":1,"text":"a change"}'))


@cache
def nested_arrays() -> str:
    """Legal JSON of 1 MB, of as many values as fit."""
    return '{"a":[' + ",".join(["[[[]]]"] * (LARGE_PAYLOAD_BYTES // 7)) + "]}"


@cache
def duplicate_keys() -> str:
    """JSON of 1 MB that has one key again and again."""
    return "{" + ",".join(['"a":1'] * (LARGE_PAYLOAD_BYTES // 6)) + "}"


def _two_of(payload: Callable[[], str]) -> Callable[[int], Message]:
    return lambda _: wire.BatchCreateFeedbackRequest(project=PROJECT, feedback=[_feedback(payload())] * 2)


def _ingesting(_: int) -> Message:
    # An id that is not one: what is refused has been read as well, and nothing of it fills the disk.
    return wire.IngestFeedbackRequest(project=PROJECT, feedback=[_feedback(nested_arrays(), id="none")] * 2)


def _watching(number: int) -> Message:
    return wire.WatchFeedbackRequest(project=PROJECT, query=queries.leaves(number))


_ONE, _MANY = queries.one_term(), queries.many_terms()
_ALMOST_AS_MANY: Final = queries.many_terms(fewer=10)
"""For a request that has expressions beside its query."""
_PAYLOADS: Final = Expected(
    _ANY
    | {"INVALID_ARGUMENT INVALID_FIELD", "INVALID_ARGUMENT MALFORMED_MESSAGE", "RESOURCE_EXHAUSTED MESSAGE_TOO_LARGE"}
)
# grpc itself refuses some streams, without a reason of ours.
_PLACES: Final = Expected(_ANY | {"RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED, come back", CUT})


def _scans() -> Iterator[Attack]:
    """Every RPC that takes a filter, with a costly one, and what is costly without."""
    many = {
        "count": Calls("CountFeedback", _reading(wire.CountFeedbackRequest, _MANY)),
        "page": Calls("QueryFeedback", _reading(wire.QueryFeedbackRequest, _MANY, page_size=100)),
        "refs": Calls("ListRefs", _reading(wire.ListRefsRequest, _MANY)),
        "stream": Calls("StreamFeedback", _reading(wire.StreamFeedbackRequest, _MANY)),
    }
    for name, calls in many.items():
        yield Attack("2, 3, 4", f"{name}-many-terms", (calls,), _TOO_EXPENSIVE)
    watch = _reading(wire.WatchFeedbackRequest, _MANY, after_revision=0)
    yield Attack("2, 3, 10", "watch-many-terms", (Calls("WatchFeedback", watch, bounded=False),))
    page = wire.QueryFeedbackRequest
    by_text = [wire.OrderBy(field="payload.text", descending=True)]
    few = {
        "count-one-term": Calls("CountFeedback", _reading(wire.CountFeedbackRequest, _ONE)),
        "page-total": Calls("QueryFeedback", _reading(page, _ONE, page_size=10, include_total_count=True)),
        "page-by-payload": Calls("QueryFeedback", _reading(page, page_size=10, order_by=by_text)),
        "page-offset": Calls("QueryFeedback", _reading(page, page_size=10, offset=190_000)),
        "refs-all": Calls("ListRefs", _reading(wire.ListRefsRequest)),
        "stream-all": Calls("StreamFeedback", _reading(wire.StreamFeedbackRequest), bounded=False),
    }
    for name, calls in few.items():
        yield Attack("2, 3, 4", name, (calls,))


def _analytics() -> Iterator[Attack]:
    """Questions about all records of a large project, and those that a costly filter is for."""

    def calls(rpc: str, kind: Any, query: wire.Query | None, **fields: Any) -> Calls:
        return Calls(rpc, _reading(kind, query, **fields), service=_ANALYTICS)

    number, text = (wire.Expression(field=f"payload.{name}") for name in ("n", "text"))
    mean = wire.Measure(name="mean", function=wire.MeasureFunction.MEASURE_FUNCTION_MEAN, value=number)
    by_text = [wire.Grouping(name="text", value=text)]
    rated = {"value": number, "rater": text}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "AggregateFeedback": (wire.AggregateFeedbackRequest, {"measures": [mean]}),
        "DescribeFeedback": (wire.DescribeFeedbackRequest, {"all": True}),
        "MeasureAgreement": (wire.MeasureAgreementRequest, rated),
    }
    for rpc, (kind, fields) in kinds.items():
        name = rpc.removesuffix("Feedback").removeprefix("Measure").lower()
        filtered = calls(rpc, kind, _ALMOST_AS_MANY, **fields)
        yield Attack("2, 3, 4", f"{name}-many-terms", (filtered,), _TOO_EXPENSIVE)
        yield Attack("2, 3, 4", f"{name}-all", (calls(rpc, kind, None, **fields),), _LARGE)
    grouped = calls("AggregateFeedback", wire.AggregateFeedbackRequest, _ONE, group_by=by_text, measures=[mean])
    yield Attack("2, 3, 4", "aggregate-by-payload", (grouped,), _LARGE)
    refs = [f"weave:///{PROJECT}/call/{number:08d}" for number in range(1000)]
    summary = calls("SummarizeRefs", wire.SummarizeRefsRequest, _MANY, refs=refs, include_newest=True)
    yield Attack("2, 3, 4", "summarize-many-terms", (summary,))
    shown = calls("SummarizeRefs", wire.SummarizeRefsRequest, None, refs=refs[:500])
    yield Attack("2, 3, 4", "summarize-refs", (shown,))
    defined = wire.Definition(feedback_type="attack", value_path="n", numeric=wire.NumericRule())
    check = _reading(wire.CheckDefinitionRequest, _MANY, definition=defined)
    checked = Calls("CheckDefinition", check, service=_DEFINITIONS)
    yield Attack("2, 3, 4", "check-definition-many-terms", (checked,), _TOO_EXPENSIVE)


def _http() -> Iterator[Attack]:
    """What costs most, by the other port."""
    count = Calls("CountFeedback", _reading(wire.CountFeedbackRequest, _MANY))
    page = Calls("QueryFeedback", _reading(wire.QueryFeedbackRequest))
    yield Attack("2, 3, 4", "http-count-many-terms", (count,), _TOO_EXPENSIVE, http=True)
    yield Attack("2, 3, 4", "http-pages", (page,), http=True)
    nested = Calls("BatchCreateFeedback", _two_of(nested_arrays), per_second=1.0)
    yield Attack("11", "http-nested-arrays", (nested,), _PAYLOADS, deadlines=False, http=True)


def _purges() -> Iterator[Attack]:
    purge = wire.PurgeFeedbackRequest
    dry = Calls("PurgeFeedback", _reading(purge, _MANY, dry_run=True))
    # It goes on from a token, like the purge itself.
    yield Attack("1, 6", "purge-dry-run", (dry,), _every("OK", EXPENSIVE))
    yield Attack("1, 6", "purge-many-terms", (Calls("PurgeFeedback", _reading(purge, _MANY)),), _every("OK", EXPENSIVE))
    # What is purged has to be erased from the file, too, after the answer.
    erased = Expected(_ANY | {_NO_TURN}, frozenset({"OK"}), leaves=False)
    yield Attack("1, 6", "purge-everything", (Calls("PurgeFeedback", _reading(purge, _ONE)),), erased)


def _held() -> Iterator[Attack]:
    """What takes places, and gives nothing back."""

    def attack(row: str, name: str, *sends: Calls | Streams) -> Attack:
        return Attack(row, name, sends, _PLACES, deadlines=False, one_caller=True)

    health = Streams("/grpc.health.v1.Health/Watch", 320, lambda _: health_pb2.HealthCheckRequest(), credential=False)
    yield attack("8", "health-watch", health)
    reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    yield attack("8", "reflection", Streams(reflection, 320, ends=False, credential=False))
    stream = _reading(wire.StreamFeedbackRequest)
    yield attack("9", "unread-streams", Streams(f"/{SERVICE}/StreamFeedback", 80, stream, reads=False))
    page = _reading(wire.QueryFeedbackRequest)
    yield attack("9", "unread-pages", Streams(f"/{SERVICE}/QueryFeedback", 40, page, reads=False))
    watch = _reading(wire.WatchFeedbackRequest, after_revision=0)
    yield attack("9", "unread-watches", Streams(f"/{SERVICE}/WatchFeedback", 80, watch, reads=False))
    yield attack("9", "silent-ingest", Streams(f"/{SERVICE}/IngestFeedback", 80, ends=False))
    yield attack("9", "silent-import", Streams(f"/{SERVICE}/ImportFeedback", 80, ends=False))
    changes = Calls("CreateFeedback", _creating, per_second=2.0)
    yield attack("10", "watch-20-leaves", Streams(f"/{SERVICE}/WatchFeedback", 16, _watching), changes)
    yield attack("10", "idle-watches", Streams(f"/{SERVICE}/WatchFeedback", 96, _watching))


def _others() -> Iterator[Attack]:
    # What costs nobody anything keeps to the budget on any server: so that a budget that is broken says something.
    info = Calls("GetServerInfo", lambda _: wire.GetServerInfoRequest())
    yield Attack("none", "control", (info,), Expected(frozenset({"OK"}), frozenset({"OK"})), deadlines=False)
    creates = Calls("CreateFeedback", _creating)
    waiting = Expected(_ANY | {_NO_TURN})
    yield Attack("5", "locked-project", (creates,), waiting, engines=(POSTGRES,), locks=True)
    count = Calls("CountFeedback", _reading(wire.CountFeedbackRequest, _MANY))
    yield Attack("7", "statement-timeout", (count,), _TOO_EXPENSIVE, engines=(POSTGRES,), statement_timeout="300ms")
    payloads = {
        "nested-arrays": Calls("BatchCreateFeedback", _two_of(nested_arrays), per_second=1.0),
        "duplicate-keys": Calls("BatchCreateFeedback", _two_of(duplicate_keys), per_second=1.0),
        "ingest-nested-arrays": Calls("IngestFeedback", _ingesting, per_second=1.0),
    }
    for name, calls in payloads.items():
        yield Attack("11", name, (calls,), _PAYLOADS, deadlines=False)


ATTACKS: Final = {
    attack.name: attack for attack in (*_purges(), *_scans(), *_analytics(), *_others(), *_http(), *_held())
}


@dataclass(frozen=True, slots=True)
class Case:
    """An attack by a number of attackers on an engine; `deadline` in seconds, None for callers without one."""

    attack: Attack
    engine: str
    attackers: int
    deadline: float | None = None
    authenticated: bool = True

    @property
    def id(self) -> str:
        """Fit for `-k` and for a file's name."""
        deadline = "patient" if self.deadline is None else "deadline"
        keys = "keys" if self.authenticated else "open"
        return f"{self.attack.name}-{self.engine}-{self.attackers}-{deadline}-{keys}"

    @property
    def callers(self) -> int:
        """How many principals, or addresses, the attackers have."""
        return 1 if self.attack.one_caller else self.attackers


DEADLINE_SECONDS: Final = 0.5
COUNTS: Final = (1, 4, 16)


def _cases() -> Iterator[Case]:
    for attack in ATTACKS.values():
        for engine in attack.engines:
            for attackers in COUNTS:
                for deadline in (None, DEADLINE_SECONDS) if attack.deadlines else (None,):
                    yield Case(attack, engine, attackers, deadline)
        # Without authentication the owner of work is the peer's address.
        yield Case(attack, attack.engines[0], 4, authenticated=False)


CASES: Final = tuple(_cases())

_SHORT: Final = ("count-many-terms", "nested-arrays", "unread-streams")
SHORT: Final = tuple(Case(ATTACKS[name], SQLITE, 4, authenticated=False) for name in _SHORT)
"""Those of `make test`, on one server, and without keys, which take a second to make."""
