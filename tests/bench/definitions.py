"""What definitions cost a create and a row of a batch: processor time of the server, beside the same without one."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count as count_from
from typing import Any

import grpc

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    Definition,
    DefinitionServiceStub,
    JsonSchemaRule,
    NumericRule,
    OnRepeat,
    PutDefinitionRequest,
    Unique,
)
from tests.bench import rows
from tests.bench.batches import BATCH_CREATE
from tests.bench.creates import CREATE, SHAPES, anew, stored
from tests.bench.figures import Contender, Family, Figure, NotMeasured, Sample, Settings, Target, ratio
from tests.bench.load import Call, cpu_seconds
from tests.bench.places import store_directory
from tests.bench.serving import plaudit_server

_IN_FLIGHT = 16
_ROWS_PER_SECOND = 4_000  # of a window, one in each call; ten times as many in batches
_BATCH = 100

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


def defined(target: str, definition: Definition | None) -> None:
    """Define the type that is written, or nothing."""
    if definition is not None:
        with grpc.insecure_channel(target) as channel:
            request = PutDefinitionRequest(project=rows.PROJECT, definition=definition)
            DefinitionServiceStub(channel).PutDefinition(request)


def create_us(target: str, pid: int, definition: Definition | None, seconds: float) -> Sample:
    """Processor time of one create, in microseconds."""
    defined(target, definition)
    sample = stored(target, pid, [Call(CREATE, rows.create_request())], SHAPES[_IN_FLIGHT], seconds)
    assert sample.cpu_us is not None
    return Sample(sample.cpu_us)


def row_us(target: str, pid: int, definition: Definition | None, size: int, count: int) -> Sample:
    """Processor time of one row in calls of `size` records, each about a ref of its own, in microseconds."""
    defined(target, definition)
    requests = deque(
        BatchCreateFeedbackRequest(
            project=rows.PROJECT,
            feedback=[rows.feedback(n, id=uuid7(), ref=f"weave:///{rows.PROJECT}/call/{uuid7()}") for n in range(size)],
        ).SerializeToString()
        for _ in range(count // size)
    )
    calls = len(requests)
    with grpc.insecure_channel(target) as channel:
        create: Any = channel.unary_unary(BATCH_CREATE)
        before, started = cpu_seconds(pid), time.perf_counter()
        flying = deque(create.future(requests.popleft()) for _ in range(min(_IN_FLIGHT, calls)))
        while flying:
            flying.popleft().result()
            if requests:
                flying.append(create.future(requests.popleft()))
        used = cpu_seconds(pid) - before
    if not used:
        raise NotMeasured(f"{calls} calls took {time.perf_counter() - started:.3f} s, too little to be measured")
    return Sample(1e6 * used / (calls * size))


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A new server for each measurement, with or without a definition."""
    seconds = settings.seconds
    count = max(_BATCH * 10, round(_ROWS_PER_SECOND * seconds))
    with store_directory(settings) as directory:
        # A store for each: what is defined stays.
        names = (f"{number}.db" for number in count_from(0))
        warm = Call(CREATE, rows.create_request("bench/warm"))

        def creating(definition: Definition | None) -> Any:
            measure = partial(create_us, definition=definition, seconds=seconds)
            return partial(anew, partial(plaudit_server, directory / next(names)), warm, seconds, measure)

        def filling(definition: Definition | None, size: int, rows_written: int) -> Any:
            measure = partial(row_us, definition=definition, size=size, count=rows_written)
            return partial(anew, partial(plaudit_server, directory / next(names)), warm, seconds, measure)

        yield [
            Contender("create", "µs", creating(None)),
            Contender("create, another type defined", "µs", creating(_ELSEWHERE)),
            Contender("create, number", "µs", creating(_NUMBER)),
            Contender("create, schema", "µs", creating(_SCHEMA)),
            Contender("one in a call", "µs", filling(None, 1, count)),
            Contender("one in a call, unique", "µs", filling(_UNIQUE, 1, count)),
            Contender("row", "µs", filling(None, _BATCH, 10 * count)),
            Contender("row, schema", "µs", filling(_SCHEMA, _BATCH, 10 * count)),
            Contender("row, unique", "µs", filling(_UNIQUE, _BATCH, 10 * count)),
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
        _figure("unique-create", "create of a unique type, CPU", "one in a call, unique", "one in a call", 1.05),
        _figure("schema-row", "row of a batch by a schema, CPU", "row, schema", "row", 1.06),
        _figure("unique-row", "row of a batch of a unique type, CPU", "row, unique", "row", None),
    ),
    contenders,
)
