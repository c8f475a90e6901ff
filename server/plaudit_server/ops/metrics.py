"""The metrics of a server for Prometheus: counted on its event loop, read at each scrape, without texts of callers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

import grpc
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from plaudit_server.errors import DomainError, Overloaded, QueryTooExpensive, QuotaExceeded, StoreUnavailable
from plaudit_server.ops.health import SERVING, StoreHealth
from plaudit_server.rpc.admission import Admission
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.declare import OTHER, Registry
from plaudit_server.rpc.resource import Number
from plaudit_server.store.base import Command, Engine, WriteFailed, Written
from plaudit_server.store.writer import Writer

SERVER_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""The codes that OpenTelemetry's conventions count as a failure of the server."""

# The conventions' own bounds, and two below them: a create takes a few milliseconds.
_CALL_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_COMMIT_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_GROUP_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_QUOTAS: Final = (
    "calls_per_second",
    "rows_per_second",
    "bytes_per_second",
    "token_per_minute",
    "address_per_minute",
    "signing_key_per_minute",
)
_QUEUES: Final = {"writes": "writer_queue", "reads": "read_lanes"}

_FAILURES: Final = (WriteFailed, StoreUnavailable)


@dataclass(slots=True)
class Rows:
    """How many rows of one kind of command reached each stage; `accepted` minus the others still wait."""

    accepted: int = 0
    stored: int = 0
    acknowledged: int = 0
    refused: int = 0
    failed: int = 0


_ROWS_HELP: Final = {
    "accepted": "Rows of valid requests that were handed to the writer; what validation refused is not among them.",
    "stored": "Accepted rows that a commit made durable, or that were already stored, as after a retry.",
    "acknowledged": "Stored rows whose answer was handed to gRPC; less than stored when callers left before it.",
    "refused": "Accepted rows that a rule of the store refused: a taken or purged id, a version, an owner.",
    "failed": "Accepted rows that were not stored because the store failed.",
}
assert list(_ROWS_HELP) == [part.name for part in fields(Rows)]


class Sources(NamedTuple):
    """The parts of a server that count by themselves."""

    admission: Admission
    writer: Writer
    numbers: Sequence[Number]
    health: StoreHealth
    store: Engine


class Metrics:
    """The metrics of one server. It is an observer of calls, and the Meter of a writer."""

    def __init__(
        self,
        version: str,
        store: str,
        registry: Registry,
        commands: Iterable[type[Command[Any]]],
        refusals: Iterable[str] = (),
    ) -> None:
        """`version` of the server and the `store`'s kind are shown as they are; rows are counted by kind of command.

        `refusals` are what resources' own errors are counted as.
        """
        self._rpcs = registry
        self.rows = {command.kind: Rows() for command in commands if command.adds}
        self.calls = 0
        self.repeated = 0
        self.purged = 0
        self.refusals = dict.fromkeys((*_QUOTAS, *_QUEUES.values(), *refusals, QueryTooExpensive.counted_as), 0)
        self.failed_writes = 0
        self.failed_reads = 0
        self._registry = CollectorRegistry()
        self._durations = Histogram(
            "rpc_server_call_duration_seconds",
            "Duration of calls by method and code; all methods that the server does not have count as one, _OTHER.",
            ("rpc_system_name", "rpc_method", "rpc_response_status_code", "error_type"),
            buckets=_CALL_SECONDS,
            registry=self._registry,
        )
        self._by_call: dict[tuple[str, str, grpc.StatusCode], Histogram] = {}
        for method in registry.rpcs:
            self._of("grpc", method, grpc.StatusCode.OK)
        self._commits = self._histogram(
            "plaudit_commit_duration_seconds",
            "How long the store took for a group, until its commit was on disk or failed.",
            _COMMIT_SECONDS,
        )
        self._group_rows = self._histogram(
            "plaudit_group_rows", "Rows to create or replace in a group that was committed.", _GROUP_SIZES
        )
        self._group_commands = self._histogram(
            "plaudit_group_commands", "Commands (requests to write) in a group that was committed.", _GROUP_SIZES
        )
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_Info(version, store))

    def _histogram(self, name: str, help: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, help, buckets=buckets, registry=self._registry)

    def follow(self, sources: Sources) -> None:
        """From now on, also report what these parts of the server count."""
        self.refusals = dict.fromkeys(sources.admission.limits, 0) | self.refusals
        self._registry.register(_Counted(self, sources))

    def text(self) -> bytes:
        """Everything in Prometheus' text format. May be called on any thread."""
        return generate_latest(_WithoutTimes(self._registry))

    # Calls

    def observe(self, call: Call, code: grpc.StatusCode) -> None:
        """A call has ended."""
        self.calls += 1
        protocol = call.protocol
        child = self._by_call.get((protocol, call.method, code)) or self._of(protocol, call.method, code)
        child.observe(time.monotonic() - call.started)
        if call.error is not None:
            self._count(call.method, call.error)

    def _of(self, protocol: str, method: str, code: grpc.StatusCode) -> Histogram:
        """The child for a call, made at the first one: looking its labels up costs as much as observing."""
        name = OTHER if method == OTHER else f"{self._rpcs.service_of[method]}/{method}"
        child = self._durations.labels(protocol, name, code.name, code.name if code in SERVER_FAULTS else "")
        self._by_call[protocol, method, code] = child
        return child

    def _count(self, method: str, error: Exception) -> None:
        match error:
            case QuotaExceeded():
                self.refusals[error.quota] = self.refusals.get(error.quota, 0) + 1
            case Overloaded():
                self.refusals[_QUEUES[error.waiting]] += 1
            case DomainError() if error.counted_as:
                self.refusals[error.counted_as] += 1
            case StoreUnavailable() if not self._rpcs.rpcs[method].writes:
                self.failed_reads += 1

    # Writes

    def accepted(self, command: Command[Any]) -> None:
        """A command is in line."""
        if command.adds:
            self.rows[command.kind].accepted += command.rows

    def committed(self, commands: Sequence[Command[Any]], written: Written, seconds: float) -> None:
        """A group is durable, except single commands whose outcomes are failures."""
        sizes = 0
        for command, outcome in zip(commands, written.outcomes, strict=True):
            failed = isinstance(outcome, _FAILURES)
            self.failed_writes += failed
            if not command.adds:
                self.purged += 0 if failed else command.removed(outcome)
                continue
            size, rows = command.rows, self.rows[command.kind]
            sizes += size
            if failed:
                rows.failed += size
            else:
                stored = command.stored(outcome)
                rows.stored += stored
                rows.refused += size - stored
        self.repeated += written.repeated
        self._commits.observe(seconds)
        self._group_rows.observe(sizes)
        self._group_commands.observe(len(commands))

    def failed(self, commands: Sequence[Command[Any]], seconds: float) -> None:
        """Nothing of a group was stored."""
        self.failed_writes += len(commands)
        for command in commands:
            if command.adds:
                self.rows[command.kind].failed += command.rows
        self._commits.observe(seconds)

    def acknowledged(self, kind: str, rows: int) -> None:
        """An answer with the given number of stored rows goes to its caller."""
        self.rows[kind].acknowledged += rows


class _Info(Collector):
    """Which server this is."""

    def __init__(self, version: str, store: str) -> None:
        self._labels = {"version": version, "store": store}

    def collect(self) -> Iterable[Metric]:
        """One metric, with the facts as labels."""
        info = GaugeMetricFamily("plaudit_build_info", "Always 1; the labels are the version and the store.", labels=[])
        info.add_sample("plaudit_build_info", self._labels, 1)
        yield info


class _Counted(Collector):
    """Metrics of what is kept as plain numbers, because counting must cost almost nothing."""

    def __init__(self, metrics: Metrics, sources: Sources) -> None:
        self._metrics = metrics
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """The numbers as they are now."""
        metrics, sources = self._metrics, self._sources
        families: dict[str, list[Number]] = {}
        for number in sources.numbers:
            families.setdefault(number.name, []).append(number)
        yield _gauge(
            "plaudit_serving",
            "1 when health is SERVING; 0 without the store, and from the drain on.",
            int(sources.health.state == SERVING),
        )
        flights = sources.admission.places
        yield _gauges(
            "plaudit_calls_in_flight",
            "Calls that run now, by what they are.",
            "kind",
            {kind: flight.running for kind, flight in flights.items()},
        )
        yield _gauges(
            "plaudit_calls_in_flight_limit",
            "How many calls may run: limits.in_flight_calls and in_flight_watches.",
            "kind",
            {kind: flight.limit for kind, flight in flights.items()},
        )
        yield _counters(
            "plaudit_refusals_total", "Calls refused for a limit, by the limit's name.", "reason", metrics.refusals
        )
        for stage, help in _ROWS_HELP.items():
            yield _counters(
                f"plaudit_rows_{stage}_total",
                help,
                "command",
                {kind: getattr(rows, stage) for kind, rows in metrics.rows.items()},
            )
        yield _counter(
            "plaudit_rows_repeated_total",
            "Stored rows that were there before: retries, which wrote nothing.",
            metrics.repeated,
        )
        yield _counter("plaudit_rows_purged_total", "Rows that were purged.", metrics.purged)
        yield _counters(
            "plaudit_store_errors_total",
            "What the store failed at: commands to write, calls that read, reads for watches, probes for health.",
            "operation",
            {
                "write": metrics.failed_writes,
                "read": metrics.failed_reads,
                "check": sources.health.failed_checks,
                **{label: int(value) for label, value in _labelled(families.pop("plaudit_store_errors_total", []))},
            },
        )
        yield _gauge(
            "plaudit_writer_pending_commands", "Commands in line or being committed.", sources.writer.pending_commands
        )
        yield _gauge("plaudit_writer_pending_bytes", "Bytes of these commands.", sources.writer.pending_bytes)
        lanes = sources.store.lanes
        yield _gauges(
            "plaudit_reads_running",
            "Reads of the store that run now, by lane.",
            "lane",
            {lane: use.running for lane, use in lanes.items()},
        )
        yield _gauges(
            "plaudit_reads_waiting",
            "Reads of the store that wait for their turn, by lane.",
            "lane",
            {lane: use.waiting for lane, use in lanes.items()},
        )
        yield _gauge(
            "plaudit_store_nodes_unreachable",
            "Machines of a store that is spread over several which could not be reached of late: their projects stand.",
            sources.store.nodes_unreachable,
        )
        yield _gauge(
            "plaudit_clock_ahead_seconds",
            "By how much a project's clock was ahead of this server's in the last minute, at most; 0 below a second.",
            sources.writer.clock.seconds,
        )
        for family in families.values():
            yield _family(family)


class _WithoutTimes(Collector):
    """A registry without the series of the times at which other series began, which nobody reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """The registry's metrics."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def _labelled(numbers: Iterable[Number]) -> Iterator[tuple[str, float]]:
    """The value of each number's label, with the number."""
    return ((number.label[1], number.read()) for number in numbers if number.label is not None)


def _family(numbers: Sequence[Number]) -> Metric:
    """Numbers of one name, as the first of them says; without a label, there is only one."""
    first = numbers[0]
    make = GaugeMetricFamily if first.kind == "gauge" else CounterMetricFamily
    if first.label is None:
        return make(first.name, first.help, value=first.read())
    family = make(first.name, first.help, labels=[first.label[0]])
    for label, value in _labelled(numbers):
        family.add_metric([label], value)
    return family


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _gauges(name: str, help: str, label: str, values: dict[str, int]) -> Metric:
    return _filled(GaugeMetricFamily(name, help, labels=[label]), values)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(name, help, value=value)


def _counters(name: str, help: str, label: str, values: dict[str, int]) -> Metric:
    return _filled(CounterMetricFamily(name, help, labels=[label]), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: dict[str, int]) -> Metric:
    for text, value in values.items():
        family.add_metric([text], value)
    return family
