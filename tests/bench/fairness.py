"""What a project at ten times its quota costs another: `python -m tests.bench.fairness` prints a line of JSON.

A quiet project's calls are timed in turns on one server, so that what the machine does meanwhile falls on all of them:
alone, beside a project that uses its quota, and beside the same project at ten times its quota. What the quota allows
is that project's due, commits included; the figure is what the calls beyond it cost, the third against the second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub
from tests.service.process import server_process

QUOTA = 20
TIMES = 10
ROUNDS = 12
SECONDS = 2.5


def shout(target: str, seconds: float, rate: int) -> None:
    """Call so often a second, and print how many calls were admitted and refused."""
    # The caller's own work must not stand in the way of what is measured on the same two cores.
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


def _percentile(taken: list[float], share: float) -> float:
    return round(sorted(taken)[int(len(taken) * share)] * 1000, 3)


def main() -> None:
    """Run the rounds; times are in milliseconds."""
    taken: dict[str, list[float]] = {"alone": [], "at quota": [], "at ten times": []}
    loud: dict[str, int] = {}
    flags = ("--limits-calls-per-second", str(QUOTA))
    with (
        tempfile.TemporaryDirectory() as directory,
        server_process(Path(directory) / "plaudit.db", "127.0.0.1:0", *flags) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        create = FeedbackServiceStub(channel).CreateFeedback
        listen(create, 1.0, 0)
        for _ in range(ROUNDS):
            taken["alone"] += listen(create, SECONDS, len(taken["alone"]))
            for name, rate in (("at quota", QUOTA), ("at ten times", TIMES * QUOTA)):
                arguments = [server.target, str(SECONDS + 1.5), str(rate)]
                shouting = [sys.executable, "-m", __spec__.name, *arguments]
                with subprocess.Popen(shouting, stdout=subprocess.PIPE, text=True) as process:
                    time.sleep(1.0)
                    taken[name] += listen(create, SECONDS, len(taken[name]))
                    outcomes = json.loads(process.communicate()[0])
                if rate > QUOTA:
                    loud = {code: loud.get(code, 0) + outcomes.get(code, 0) for code in {*loud, *outcomes}}
    figures: dict[str, object] = {"loud": loud}
    for name, seconds in taken.items():
        p50, p99 = _percentile(seconds, 0.5), _percentile(seconds, 0.99)
        figures[name] = {"calls": len(seconds), "p50_ms": p50, "p99_ms": p99}
    ratio = _percentile(taken["at ten times"], 0.99) / _percentile(taken["at quota"], 0.99)
    print(json.dumps({**figures, "p99_ratio": round(ratio, 3)}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        shout(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
