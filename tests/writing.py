"""Clients that write one record after another at a steady rate, and keep the answers."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import grpc

import plaudit
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub

WRITES_PER_SECOND = 50


class SteadyWriter(threading.Thread):
    """Writes with the Python client until it is stopped, or a call fails."""

    def __init__(self, target: str, project: str) -> None:
        super().__init__(daemon=True)
        self.ids: list[str] = []
        self.failure: BaseException | None = None
        self.running = True
        self.target = target
        self.project = project

    def write_more(self, count: int) -> None:
        """Wait until the given number of further records is stored, or writing has failed."""
        end, target = time.monotonic() + 30, len(self.ids) + count
        while len(self.ids) < target and self.failure is None and time.monotonic() < end:
            time.sleep(0.01)

    def stop(self) -> None:
        """Wait for the last call."""
        self.running = False
        self.join(30)

    def run(self) -> None:
        try:
            self.write()
        except BaseException as error:
            self.failure = error

    def write(self) -> None:
        with plaudit.Client(self.project, target=self.target) as client:
            while self.running:
                self.ids.append(client.create(self.record()).id)
                time.sleep(1 / WRITES_PER_SECOND)

    def record(self) -> dict[str, Any]:
        payload = {"n": len(self.ids)}
        return {"ref": f"weave:///{self.project}/call/1", "feedback_type": "t", "payload": payload}


class BareWriter(SteadyWriter):
    """Writes with a plain stub: no call is retried, neither by the test nor by grpc."""

    def write(self) -> None:
        with grpc.insecure_channel(self.target, [("grpc.enable_retries", 0)]) as channel:
            create = FeedbackServiceStub(channel).CreateFeedback
            while self.running:
                record = self.record()
                payload = json.dumps(record["payload"])
                feedback = Feedback(id=uuid7(), ref=record["ref"], feedback_type="t", payload_json=payload)
                request = CreateFeedbackRequest(project=self.project, feedback=feedback)
                self.ids.append(create(request, timeout=10).feedback.id)
                time.sleep(1 / WRITES_PER_SECOND)
