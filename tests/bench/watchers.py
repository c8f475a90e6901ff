"""What idle watchers cost: memory of the server per watcher, and the latency of creates beside them.

python -m tests.bench.watchers [--watchers 1000]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import grpc

from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub, WatchFeedbackRequest
from tests.service.process import server_process

_PER_CONNECTION = 100


def memory_kib(pid: int) -> int:
    """Resident memory of a process, in KiB."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def latencies_ms(stub: FeedbackServiceStub, project: str, count: int) -> list[float]:
    """The durations of so many creates, one at a time, in milliseconds."""
    took = []
    for _ in range(count):
        item = Feedback(ref="urn:x", feedback_type="t", payload_json="{}")
        started = time.perf_counter()
        stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=item))
        took.append(1000 * (time.perf_counter() - started))
    return took


def shown(took: list[float]) -> str:
    quantiles = statistics.quantiles(took, n=100)
    return f"p50 {statistics.median(took):.2f} ms, p99 {quantiles[98]:.2f} ms"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--creates", type=int, default=1000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        server_process(Path(directory) / "plaudit.db") as process,
        grpc.insecure_channel(process.target) as channel,
        contextlib.ExitStack() as stack,
    ):
        stub = FeedbackServiceStub(channel)
        latencies_ms(stub, "bench/other", 200)
        alone = latencies_ms(stub, "bench/other", options.creates)
        before = memory_kib(process.process.pid)
        streams = []
        for first in range(0, options.watchers, _PER_CONNECTION):
            arguments = [("plaudit.connection", first)]  # a connection of its own for each hundred
            watching = FeedbackServiceStub(stack.enter_context(grpc.insecure_channel(process.target, arguments)))
            for number in range(first, min(first + _PER_CONNECTION, options.watchers)):
                stream = watching.WatchFeedback(WatchFeedbackRequest(project=f"bench/p{number % 50}"))
                next(stream)
                streams.append(stream)
        after = memory_kib(process.process.pid)
        beside = latencies_ms(stub, "bench/other", options.creates)
        for stream in streams:
            stream.cancel()
    print(f"{options.watchers} idle watchers: {(after - before) / options.watchers:.1f} KiB each")
    print(f"creates alone:       {shown(alone)}")
    print(f"creates beside them: {shown(beside)}")


if __name__ == "__main__":
    main()
