"""What a project at ten times its quota costs another: `python -m tests.bench.fairness` prints a line of JSON.

The calls of a quiet project are timed in turns on one server, each round in another order: alone, alone once more,
beside a project that uses its quota, and beside the same project at ten times its quota. What the quota allows is that
project's right, commits included, so `p99_ratio` is what the calls beyond it cost: at ten times the quota compared with
at the quota. `against_alone` is the same compared with an idle server. `noise` compares alone with alone: the variation
of the machine itself, below which no other ratio means anything. Each is computed within a round, and reported as the
median (and quartiles) of the rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub
from tests.bench import percentile
from tests.service.process import server_process

QUOTA = 20
TIMES = 10
ROUNDS = 12
SECONDS = 2.5


def shout(target: str, seconds: float, rate: int) -> None:
    """Call at a rate, and print how many calls were admitted and refused."""
    # The caller's own work must not disturb what is measured on the same two cores.
    os.nice(10)
    outcomes: dict[str, int] = {}
    with grpc.insecure_channel(target) as channel:
        create = FeedbackServiceStub(channel).CreateFeedback
        start = time.monotonic()
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            try:
                create(_request("loud/project"))
                code = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code = error.code()
            outcomes[code.name] = outcomes.get(code.name, 0) + 1
    print(json.dumps(outcomes))


def listen(create: grpc.UnaryUnaryMultiCallable, seconds: float, start: int) -> list[float]:  # type: ignore[type-arg]
    """Seconds that each call of quiet projects takes, one after the other with a pause; many, to stay below quotas."""
    taken: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.perf_counter()
        create(_request(f"quiet/project-{(start + len(taken)) % 100}"))
        taken.append(time.perf_counter() - before)
        time.sleep(0.004)
    return taken


def _request(project: str) -> CreateFeedbackRequest:
    feedback = Feedback(ref=f"weave:///{project}/call/1", feedback_type="measured")
    return CreateFeedbackRequest(project=project, feedback=feedback)


def _ratios(rounds: dict[str, list[list[float]]], name: str, control: str) -> dict[str, float]:
    """p99 of one phase over that of another of the same round: the quartiles of all rounds."""
    pairs = zip(rounds[name], rounds[control], strict=True)
    low, median, high = statistics.quantiles([percentile(a, 0.99) / percentile(b, 0.99) for a, b in pairs], n=4)
    return {"median": round(median, 3), "low": round(low, 3), "high": round(high, 3)}


def main() -> None:
    """Run the rounds; times are in milliseconds."""
    rates = {"alone": 0, "alone again": 0, "at quota": QUOTA, "at ten times": TIMES * QUOTA}
    rounds: dict[str, list[list[float]]] = {name: [] for name in rates}
    loud: dict[str, int] = {}
    flags = ("--limits-calls-per-second", str(QUOTA))
    with (
        tempfile.TemporaryDirectory() as directory,
        server_process(Path(directory) / "plaudit.db", "127.0.0.1:0", *flags) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        create = FeedbackServiceStub(channel).CreateFeedback
        listen(create, 1.0, 0)
        for number in range(ROUNDS):
            names = list(rates)
            first = number % len(names)
            for place, name in enumerate(names[first:] + names[:first]):
                outcomes = _phase(server.target, create, rates[name], rounds[name], number + place)
                if name == "at ten times":
                    loud = {code: loud.get(code, 0) + outcomes.get(code, 0) for code in {*loud, *outcomes}}
    figures: dict[str, object] = {"loud": loud}
    for name, phases in rounds.items():
        taken = [seconds for phase in phases for seconds in phase]
        figures[name] = {"calls": len(taken), "p50_ms": percentile(taken, 0.5), "p99_ms": percentile(taken, 0.99)}
    figures["noise"] = _ratios(rounds, "alone again", "alone")
    figures["against_alone"] = _ratios(rounds, "at ten times", "alone")
    figures["p99_ratio"] = _ratios(rounds, "at ten times", "at quota")
    print(json.dumps(figures))


def _phase(
    target: str,
    create: grpc.UnaryUnaryMultiCallable,  # type: ignore[type-arg]
    rate: int,
    taken: list[list[float]],
    start: int,
) -> dict[str, int]:
    """Time quiet calls beside a loud project's, which begin before and end after; how the loud calls went."""
    if not rate:
        taken.append(listen(create, SECONDS, start))
        return {}
    shouting = [sys.executable, "-m", __spec__.name, target, str(SECONDS + 1.5), str(rate)]
    with subprocess.Popen(shouting, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(1.0)
        taken.append(listen(create, SECONDS, start))
        outcomes: dict[str, int] = json.loads(process.communicate()[0])
    return outcomes


if __name__ == "__main__":
    if len(sys.argv) > 1:
        shout(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
