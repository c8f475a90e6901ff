"""What a project at ten times its quota costs another: `python -m tests.bench.fairness` prints a line of JSON.

A quiet project's calls are timed in turns, alone and beside the loud one, on one server; so what the machine does
meanwhile falls on both.
"""

from __future__ import annotations

import json
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
ROUNDS = 6
SECONDS = 2.5


def shout(target: str, seconds: float) -> None:
    """Call at ten times the quota, and print how many calls were admitted and refused."""
    outcomes: dict[str, int] = {}
    with grpc.insecure_channel(target) as channel:
        create = FeedbackServiceStub(channel).CreateFeedback
        start = time.monotonic()
        for number in range(int(QUOTA * TIMES * seconds)):
            time.sleep(max(0.0, start + number / (QUOTA * TIMES) - time.monotonic()))
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
    alone: list[float] = []
    beside: list[float] = []
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
            alone += listen(create, SECONDS, len(alone))
            shouting = [sys.executable, "-m", __spec__.name, server.target, str(SECONDS + 1.5)]
            with subprocess.Popen(shouting, stdout=subprocess.PIPE, text=True) as process:
                time.sleep(1.0)
                beside += listen(create, SECONDS, len(beside))
                outcomes = json.loads(process.communicate()[0])
            loud = {code: loud.get(code, 0) + outcomes.get(code, 0) for code in {*loud, *outcomes}}
    medians = {"alone_p50_ms": _percentile(alone, 0.5), "beside_p50_ms": _percentile(beside, 0.5)}
    tails = {"alone_p99_ms": _percentile(alone, 0.99), "beside_p99_ms": _percentile(beside, 0.99)}
    ratio = round(tails["beside_p99_ms"] / tails["alone_p99_ms"], 3)
    print(json.dumps({"loud": loud, "calls": [len(alone), len(beside)], **medians, **tails, "p99_ratio": ratio}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        shout(sys.argv[1], float(sys.argv[2]))
    else:
        main()
