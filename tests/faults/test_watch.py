"""A watcher that reconnects at random while many write sees each change once, in order."""

from __future__ import annotations

import json
import os
import random
import threading
from pathlib import Path

import grpc
import pytest

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    ReplaceFeedbackRequest,
    WatchFeedbackRequest,
)
from tests.service.process import server_process

CHANGES = int(os.environ.get("PLAUDIT_TEST_CHANGES", "4000"))
RECONNECTS = int(os.environ.get("PLAUDIT_TEST_RECONNECTS", "40"))
SEED = int(os.environ.get("PLAUDIT_TEST_SEED", "1"))
WRITERS = 8
PROJECT = "acme/watched"


def feedback(id: str = "") -> Feedback:
    payload = json.dumps({"x": "x" * 100})
    return Feedback(id=id or uuid7(), ref=f"weave:///{PROJECT}/call/1", feedback_type="t", payload_json=payload)


def write(target: str, changes: int, seed: int) -> None:
    """Make exactly the given number of changes in the project: creates, batches and replaces."""
    chance = random.Random(seed)
    with grpc.insecure_channel(target) as channel:
        stub = FeedbackServiceStub(channel)
        ids: list[str] = []
        left = changes
        while left:
            kind = chance.random()
            if kind < 0.1 and ids:
                new = feedback(chance.choice(ids))
                new.payload_json = json.dumps({"n": left})
                stub.ReplaceFeedback(ReplaceFeedbackRequest(project=PROJECT, feedback=new))
                left -= 1
            elif kind < 0.5:
                stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback()))
                left -= 1
            else:
                items = [feedback() for _ in range(min(left, chance.randint(2, 40)))]
                stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=PROJECT, feedback=items))
                ids = [item.id for item in items]
                left -= len(items)


@pytest.mark.timeout(120 + CHANGES // 100)
def test_reconnects_at_random_show_each_change_once_in_order(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with server_process(tmp_path / "plaudit.db") as process, grpc.insecure_channel(process.target) as channel:
        arguments = [(process.target, CHANGES // WRITERS, SEED + n) for n in range(WRITERS)]
        writers = [threading.Thread(target=write, args=a, daemon=True) for a in arguments]
        for writer in writers:
            writer.start()
        seen: list[int] = []
        total = CHANGES // WRITERS * WRITERS
        connections = 0
        stub = FeedbackServiceStub(channel)
        while len(seen) < total:
            stream = stub.WatchFeedback(
                WatchFeedbackRequest(project=PROJECT, after_revision=seen[-1] if seen else 0), timeout=300
            )
            connections += 1
            until = len(seen) + chance.randint(0, total // RECONNECTS // 2)
            for response in stream:
                seen += [change.revision for change in response.changes]
                if len(seen) >= min(until, total):
                    break
            stream.cancel()
        for writer in writers:
            writer.join(60)
    assert seen == list(range(1, total + 1))
    assert connections > RECONNECTS
    print(f"{total} changes, {connections} connections, each change once, in order")
