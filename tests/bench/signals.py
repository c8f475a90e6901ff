"""What observing a server costs it: `python -m tests.bench.signals` prints a line of JSON for each way of observing.

Servers that differ in nothing else get the same creates in turns, 16 in flight, each round in another order. `ratio` is
the server's CPU time for a create divided by that of `bare`, a server without metrics and without request ids in
trailers, as the median (and quartiles) of the rounds; `again` is such a server once more: the variation of the machine
itself.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc

from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub
from tests.bench.load import thread_seconds
from tests.service.process import ServerProcess
from tests.service.test_tracing import collector

ROUNDS = 30
CALLS = 800
IN_FLIGHT = 16
BARE = (sys.executable, "-m", "tests.bench.signals")


def take_out() -> None:
    """Remove metrics and request ids from the server in this process."""
    from plaudit_server.ops.metrics import Metrics
    from plaudit_server.rpc.chain import Chain

    changed: Any = (Chain, Metrics)
    changed[0]._begun = lambda self, call: call
    for name in ("observe", "accepted", "committed", "acknowledged"):
        setattr(changed[1], name, lambda self, *args: None)


async def creates(target: str, metadata: tuple[tuple[str, str], ...]) -> None:
    """CALLS creates, IN_FLIGHT at a time."""
    async with grpc.aio.insecure_channel(target) as channel:
        create: Any = FeedbackServiceStub(channel).CreateFeedback
        feedback = Feedback(ref="weave:///acme/chat/call/1", feedback_type="custom", payload_json='{"score": 1}')
        request = CreateFeedbackRequest(project="acme/chat", feedback=feedback)
        waiting = iter(range(CALLS))

        async def one_after_another() -> None:
            for _ in waiting:
                await create(request, metadata=metadata)

        await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plaudit-")))
        _, endpoint = stack.enter_context(collector())
        ways: dict[str, tuple[str, ...]] = {
            "bare": (),
            "again": (),
            "as it is": (),
            "scraped": ("--admin-listen=127.0.0.1:0",),
            "log_calls=all": ("--log-calls=all",),
            "traced, 1 in 100": (f"--tracing-otlp-endpoint={endpoint}", "--tracing-sample-ratio=0.01"),
            "traced, all": (f"--tracing-otlp-endpoint={endpoint}",),
        }
        servers = {}
        for name, flags in ways.items():
            command = BARE if name in ("bare", "again") else (sys.executable, "-m", "plaudit_server")
            server = ServerProcess(folder / f"{name}.db", "127.0.0.1:0", *flags, command=command)
            stack.callback(server.stop)
            servers[name] = server
        metrics = f"http://{servers['scraped'].address('admin.listen')}/metrics"
        used: dict[str, list[float]] = {name: [] for name in ways}
        names = list(ways)
        for turn in range(ROUNDS + 1):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                before = thread_seconds(servers[name].process.pid)
                if name == "scraped":
                    urllib.request.urlopen(metrics, timeout=30).read()
                asyncio.run(creates(servers[name].target, ()))
                if turn:  # the first one warms up
                    used[name].append((thread_seconds(servers[name].process.pid) - before) / CALLS)
    for name, seconds in used.items():
        ratios = [one / bare for one, bare in zip(seconds, used["bare"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        microseconds = round(statistics.median(seconds) * 1e6)
        print(
            json.dumps(
                {"way": name, "ratio": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
                | {"cpu_microseconds": microseconds}
            )
        )


if __name__ == "__main__":
    if "serve" in sys.argv[1:2]:
        take_out()
        from plaudit_server.cli.main import cli

        cli()
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
