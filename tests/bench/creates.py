"""Durable creates, one for each call: how many a second in flight, and how long one takes alone."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import grpc

from plaudit.v1 import CountFeedbackRequest, CreateFeedbackRequest, FeedbackServiceStub
from tests.bench import raw, rows
from tests.bench.echo import METHOD, Address, echo_server
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, Target, ratio
from tests.bench.load import Call, Shape, latency, throughput
from tests.bench.places import Processes, store_directory
from tests.bench.serving import plaudit_server

CREATE = "/plaudit.v1.FeedbackService/CreateFeedback"
SHAPES = {16: Shape(4, 4), 64: Shape(4, 16)}


def count(target: str, projects: Sequence[str] = (rows.PROJECT,)) -> int:
    """The number of records in these projects."""
    with grpc.insecure_channel(target) as channel:
        stub = FeedbackServiceStub(channel)
        return sum(stub.CountFeedback(CountFeedbackRequest(project=project)).count for project in projects)


def stored(target: str, pid: int, calls: Sequence[Call], shape: Shape, seconds: float) -> Sample:
    """Creates a second, all of which are checked to be stored; each call is repeated in the same shape."""
    projects = [CreateFeedbackRequest.FromString(call.request).project for call in calls]
    before = count(target, projects)
    sample = throughput(target, pid, calls, shape, seconds)
    # A status that is not OK is an answer, too.
    if count(target, projects) - before < sample.value * seconds:
        raise RuntimeError("creates were answered that are not stored")
    return sample


def sync_ms(directory: Path, seconds: float) -> Sample:
    """The median time to write 4 KiB and have them on disk, in milliseconds."""
    path = directory / "sync"
    took = []
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            os.write(file, b"x" * 4096)
            os.fdatasync(file)
            took.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return Sample(1000 * statistics.median(took))


def anew(
    server: Callable[[], AbstractContextManager[Address]], call: Call, seconds: float, measure: Callable[..., Sample]
) -> Sample:
    """Measure a server that is started for it, and warm: `measure(target, pid)`.

    One process is up to 7 % faster than the next of the same code, as its memory happens to lie, and stays so: kept for
    all rounds, it would decide the figure.
    """
    with server() as (target, pid):
        # Until caches are filled and SQLite's log is as long as it gets: to write where it was not yet costs more.
        throughput(target, pid, [call], SHAPES[16], min(0.7, seconds))
        return measure(target, pid)


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """The server and its controls, each in a process of its own; the servers in a new one each time."""
    request = rows.create_request()
    create, echo = Call(CREATE, request), Call(METHOD, request)
    seconds = settings.seconds
    with echo_server("chain") as chain, grpc.insecure_channel(chain.target) as channel:
        # Raises when the control refuses a call that it should answer: a refusal is fast.
        FeedbackServiceStub(channel).CreateFeedback(CreateFeedbackRequest.FromString(request))
    with store_directory(settings) as directory, Processes(1) as control:
        raw.make(directory / "raw.db")
        plaudit = partial(anew, partial(plaudit_server, directory / "plaudit.db"), create, seconds)
        chained = partial(anew, partial(echo_server, "chain"), create, seconds)
        bare = partial(anew, partial(echo_server, "bare"), echo, seconds)
        found = []
        for flying, shape in SHAPES.items():
            storing = partial(stored, calls=[create], shape=shape, seconds=seconds)
            creating = partial(throughput, calls=[create], shape=shape, seconds=seconds)
            echoing = partial(throughput, calls=[echo], shape=shape, seconds=seconds)
            found += [
                Contender(f"plaudit, {flying}", "calls/s", partial(plaudit, storing)),
                Contender(f"echo, {flying}", "calls/s", partial(chained, creating)),
                Contender(f"bare echo, {flying}", "calls/s", partial(bare, echoing)),
            ]
        alone = partial(latency, call=create, seconds=seconds)
        yield [
            *found,
            Contender("plaudit, alone", "ms", partial(plaudit, alone)),
            Contender("echo, alone", "ms", partial(chained, alone)),
            Contender("commit", "ms", partial(control.call, raw.commit_ms, directory / "raw.db", seconds / 2)),
            Contender("fdatasync", "ms", partial(control.call, sync_ms, directory, seconds / 2)),
        ]


FAMILY = Family(
    "creates",
    (
        *(
            Figure(
                f"creates-{flying}",
                f"durable creates/s, {flying} in flight",
                (f"plaudit, {flying}", f"echo, {flying}", f"bare echo, {flying}"),
                ratio(f"plaudit, {flying}", f"echo, {flying}"),
                Target(0.75, "of echo", at_least=True),
            )
            for flying in SHAPES
        ),
        Figure(
            "create-alone",
            "create, one at a time, p50",
            ("plaudit, alone", "echo, alone", "commit", "fdatasync"),
            lambda samples: (samples["plaudit, alone"] - samples["echo, alone"]) / samples["commit"],
            Target(1.6, "commits above echo"),
        ),
    ),
    contenders,
)
