"""What definitions cost a create and a row of a batch: processor time of the server, beside the same without one.

Some of what is compared differs by one percent, which is less than two processes of the same code differ by, or one
process from minute to minute. So all is measured in one server process, in projects that differ in nothing but what is
defined in them, in short turns, and each turn is compared with the one without a definition beside it: what else the
machine does, and how fast it is, moves both. The median of these ratios differs from round to round by half as
much as what the cheap turns of each way come to.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import uvloop

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CreateFeedbackRequest,
    Definition,
    DefinitionServiceStub,
    Feedback,
    JsonSchemaRule,
    NumericRule,
    OnRepeat,
    PutDefinitionRequest,
    Unique,
)
from plaudit_server.feedback import servicer
from plaudit_server.feedback.judging import NoJudge
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.bench import rows
from tests.bench.batches import BATCH_CREATE
from tests.bench.creates import CREATE, count
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, ratio, shared, value
from tests.bench.load import thread_seconds
from tests.bench.places import measure_on, store_directory
from tests.bench.serving import serve, served

_CONNECTIONS, _STREAMS = 4, 4
_BATCH = 100
_CALLS = {1: 80, _BATCH: 6}
"""Calls of one turn, by the records of each."""
_TURNS_PER_SECOND = 24  # of a window

_FIVE = {
    "type": "object",
    "required": ["score"],
    "properties": {
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "reason": {"type": "string", "maxLength": 1_000},
        "model": {"enum": ["judge-large-1", "judge-large-2"]},
        "turn": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
}
_NUMBER = Definition(feedback_type=rows.TYPE, value_path="score", numeric=NumericRule(min=0, max=1))
_SCHEMA = Definition(feedback_type=rows.TYPE, value_path="", json_schema=JsonSchemaRule(schema_json=json.dumps(_FIVE)))
_UNIQUE = Definition(feedback_type=rows.TYPE, unique=Unique(by_rater=True, on_repeat=OnRepeat.ON_REPEAT_REPLACE))
_ELSEWHERE = Definition(feedback_type="other", numeric=NumericRule(min=0, max=1))


@dataclass(frozen=True, slots=True)
class Way:
    """Writing to one project: how many records a call has, what is defined, and whether the server asks at all."""

    size: int
    definition: Definition | None = None
    asks: bool = True


_WAYS: Mapping[str, Way] = {
    "create": Way(1),
    "create, again": Way(1),
    "create, nothing asked": Way(1, asks=False),
    "create, another type defined": Way(1, _ELSEWHERE),
    "create, number": Way(1, _NUMBER),
    "create, schema": Way(1, _SCHEMA),
    "create, unique": Way(1, _UNIQUE),
    "row": Way(_BATCH),
    "row, again": Way(_BATCH),
    "row, schema": Way(_BATCH, _SCHEMA),
    "row, unique": Way(_BATCH, _UNIQUE),
}

_CONTROLS = {1: ("create", "create, again"), _BATCH: ("row", "row, again")}
"""What each way is compared with, by the records of a call: two that are equal, which move less than one."""


def _project(name: str) -> str:
    """Of equal length for each way."""
    return f"bench/{list(_WAYS).index(name):02d}"


def _requests(name: str) -> list[bytes]:
    """The calls of one turn: records with ids of their own, each about a ref of its own."""
    project, size = _project(name), _WAYS[name].size

    def record(number: int) -> Feedback:
        return rows.feedback(number, id=uuid7(), ref=f"weave:///{rows.PROJECT}/call/{uuid7()}")

    if size == 1:
        return [
            CreateFeedbackRequest(project=project, feedback=record(number)).SerializeToString()
            for number in range(_CALLS[1])
        ]
    return [
        BatchCreateFeedbackRequest(project=project, feedback=map(record, range(size))).SerializeToString()
        for _ in range(_CALLS[size])
    ]


async def _send(methods: Sequence[Any], requests: list[bytes]) -> None:
    """Make the calls, as many in flight as there are methods."""

    async def one_after_another(method: Any) -> None:
        with suppress(IndexError):
            while True:
                await method(requests.pop())

    await asyncio.gather(*map(one_after_another, methods))


async def _turns(target: str, pid: int, turns: int) -> dict[str, list[float]]:
    """Processor time of a record in microseconds, turn by turn; creates and batches in a new order each time."""
    used: dict[str, list[float]] = defaultdict(list)
    channels = [grpc.aio.insecure_channel(target, [("plaudit.connection", n)]) for n in range(_CONNECTIONS)]
    methods: dict[str, list[Any]] = {
        path: [channel.unary_unary(path) for channel in channels for _ in range(_STREAMS)]
        for path in (CREATE, BATCH_CREATE)
    }
    chance = random.Random(turns)
    for turn in range(-1, turns):  # the first fills caches and is not counted
        for name in sorted(_WAYS, key=lambda name: (_WAYS[name].size, chance.random())):
            way, requests = _WAYS[name], _requests(name)
            os.kill(pid, signal.SIGUSR1 if way.asks else signal.SIGUSR2)
            before = thread_seconds(pid)
            await _send(methods[CREATE if way.size == 1 else BATCH_CREATE], requests)
            if turn >= 0:
                used[name].append(1e6 * (thread_seconds(pid) - before) / (_CALLS[way.size] * way.size))
    for channel in channels:
        await channel.close()
    return used


def _round(target: str, pid: int, turns: int) -> dict[str, Sample]:
    """Each way's processor time of a record: the control's, times the median of what it took more, turn by turn."""
    projects = [_project(name) for name in _WAYS]
    before = count(target, projects)
    used = measure_on(min(os.sched_getaffinity(0)), pid, lambda: uvloop.run(_turns(target, pid, turns)))
    sent = (1 + turns) * sum(_CALLS[way.size] * way.size for way in _WAYS.values())
    if count(target, projects) - before != sent:
        raise RuntimeError("creates were answered that are not stored")
    return {
        name: Sample(_beside(used[name], [used[control] for control in _CONTROLS[way.size]]))
        for name, way in _WAYS.items()
    }


def _beside(way: Sequence[float], controls: Sequence[Sequence[float]]) -> float:
    """The first control's time, times the median ratio of turns that were made one soon after the other.

    It is the ratio to each control by itself: that to a mean of them would be too small, since a turn that something
    disturbs weighs more in a mean than in a median.
    """
    if way is controls[0]:
        return median(way)
    return median(controls[0]) * median(
        mine / other for control in controls for mine, other in zip(way, control, strict=True) if way is not control
    )


_BROKEN = "bench/defined"
_MANY = Definition(
    feedback_type=rows.TYPE,
    json_schema=JsonSchemaRule(schema_json=json.dumps({"items": {"anyOf": [{"const": f"v{n}"} for n in range(900)]}})),
)
_BREAKING: Mapping[str, tuple[str, int, int]] = {
    "value, all broken": (_BROKEN, 1, 1_000),
    "1,000 values, all broken": (_BROKEN, 1_000, 500),
    "1,000 small values, broken": (_BROKEN, 1_000, 1),
    "1,000 small values, undefined": (_BROKEN.replace("defined", "without"), 1_000, 1),
}
"""The project, the records of a batch, and the elements of the value of each, all of which break the schema there."""


def _refused_ms(target: str, pid: int, name: str) -> Sample:
    """Processor time of a batch of records that break a schema of 900 branches, in milliseconds."""
    project, size, elements = _BREAKING[name]
    payload = json.dumps({"value": ["x"] * elements})
    records = [Feedback(ref=f"urn:{number}", feedback_type=rows.TYPE, payload_json=payload) for number in range(size)]
    request = BatchCreateFeedbackRequest(project=project, feedback=records, partial=True).SerializeToString()
    with grpc.insecure_channel(target) as channel:
        before = thread_seconds(pid)
        with suppress(grpc.RpcError):  # those that would cost too much are refused as a whole
            create: Any = channel.unary_unary(BATCH_CREATE)
            create(request)
        return Sample(1_000 * (thread_seconds(pid) - before))


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """One server, with a project for each way to write."""
    turns = max(2, round(_TURNS_PER_SECOND * settings.seconds))
    with store_directory(settings) as directory, served(__name__, str(directory / "plaudit.db")) as (target, pid):
        with grpc.insecure_channel(target) as channel:
            for name, way in _WAYS.items():
                if way.definition is not None:
                    request = PutDefinitionRequest(project=_project(name), definition=way.definition)
                    DefinitionServiceStub(channel).PutDefinition(request)
            for project in (_BROKEN, _BROKEN.replace("defined", "without")):
                definition = _MANY if project == _BROKEN else _ELSEWHERE
                DefinitionServiceStub(channel).PutDefinition(
                    PutDefinitionRequest(project=project, definition=definition)
                )
        yield [
            *shared("µs", list(_WAYS), partial(_round, target, pid, turns)),
            *(Contender(name, "ms", partial(_refused_ms, target, pid, name)) for name in _BREAKING),
        ]


def _figure(key: str, title: str, subject: str, control: str, limit: float | None) -> Figure:
    target = None if limit is None else Target(limit, f"of a {control}")
    return Figure(key, title, (subject, control), ratio(subject, control), target)


FAMILY = Family(
    "definitions",
    (
        _figure("defined-number", "create of a defined number, CPU", "create, number", "create", 1.02),
        _figure("defined-schema", "create by a schema of five fields, CPU", "create, schema", "create", 1.03),
        _figure("defined-other", "create beside a defined type, CPU", "create, another type defined", "create", 1.02),
        _figure("unique-create", "create of a unique type, CPU", "create, unique", "create", 1.05),
        _figure("undefined", "create without asking what is defined, CPU", "create, nothing asked", "create", None),
        _figure("undefined-again", "create, the same once more, CPU", "create, again", "create", None),
        _figure("schema-row", "row of a batch by a schema, CPU", "row, schema", "row", 1.06),
        _figure("unique-row", "row of a batch of a unique type, CPU", "row, unique", "row", None),
        *(
            Figure(key, f"{name}: the call, CPU", (name,), value(name), Target(100, "ms"))
            for key, name in (("breaking-value", "value, all broken"), ("breaking-batch", "1,000 values, all broken"))
        ),
        Figure(
            "breaking-small",
            "judging 1,000 small values that break a schema, CPU",
            ("1,000 small values, broken", "1,000 small values, undefined"),
            lambda samples: samples["1,000 small values, broken"] - samples["1,000 small values, undefined"],
            Target(100, "ms"),
        ),
    ),
    contenders,
)


async def _serve(path: Path) -> None:
    """A server that asks what is defined after SIGUSR1, as all servers do, and never asks after SIGUSR2."""
    made: list[Any] = []
    changed: Any = servicer
    original = changed.Writing

    def writing(writer: Any, judge: Any) -> Any:
        made.append((original(writer, judge), judge))
        return made[-1][0]

    changed.Writing = writing

    def ask(whom: Any) -> None:
        for one, judge in made:
            one._judge = whom or judge

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, ask, None)
    loop.add_signal_handler(signal.SIGUSR2, ask, NoJudge())
    await serve(SqliteEngine(path))


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
