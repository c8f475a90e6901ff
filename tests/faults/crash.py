"""Kill a server again and again under load, and compare what it kept with what it had acknowledged.

The ledger is kept by the writers, outside the server. Every kill has a project of its own, so that each check
reads only what that kill could have hurt; at the end all of them are checked once more.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    ChangeKind,
    CreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    PurgeFeedbackRequest,
    QueryFeedbackRequest,
    ReplaceFeedbackRequest,
    WatchFeedbackRequest,
    WatchFeedbackResponse,
)

WRITERS = 16
_CALL_SECONDS = 10.0
# Errors after which a write may or may not have been stored.
_UNCLEAR = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class Killable(Protocol):
    """A server that can be started anew on the same store."""

    target: str

    def stop(self, number: signal.Signals) -> int: ...


@dataclass
class Ledger:
    """What one writer knows. `content` by id: acknowledged; `unclear`: sent, never answered; `gone`: purged."""

    content: dict[str, str] = field(default_factory=dict)
    unclear: dict[str, set[str | None]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    acknowledged: int = 0


@dataclass
class Report:
    """The figures of a campaign."""

    kills: int = 0
    kills_in_flight: int = 0
    acknowledged: int = 0
    unclear: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    phantoms: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        figures = (
            f"{self.kills} kills, {self.kills_in_flight} with writes in flight",
            f"{self.acknowledged} acknowledged writes, {self.unclear} unclear",
            f"lost {len(self.lost)}, doubled {len(self.doubled)}, phantoms {len(self.phantoms)}",
        )
        return ", ".join(figures)


class Writer(threading.Thread):
    """Creates, batches, replaces and at times purges records of its own, one call after another."""

    def __init__(self, target: str, project: str, seed: int, *, purges: bool) -> None:
        super().__init__(daemon=True)
        self.ledger = Ledger()
        self.in_flight = False
        self._target = target
        self._project = project
        self._random = random.Random(seed)
        self._purges = purges
        self._running = True
        self._number = 0

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        with grpc.insecure_channel(self._target) as channel:
            stub = FeedbackServiceStub(channel)
            while self._running:
                kind = self._random.random()
                own = [id for id in self.ledger.content if id not in self.ledger.unclear]
                if kind < 0.6 or not own:
                    self._create(stub, 1)
                elif kind < 0.8:
                    self._create(stub, self._random.randint(2, 20))
                elif kind < 0.95 or not self._purges:
                    self._replace(stub, self._random.choice(own))
                else:
                    self._purge(stub, self._random.choice(own))

    def _feedback(self, id: str) -> Feedback:
        self._number += 1
        payload = json.dumps({"writer": self.name, "n": self._number, "text": "x" * self._random.randint(0, 2000)})
        return Feedback(id=id, ref=f"weave:///{self._project}/call/1", feedback_type="crash", payload_json=payload)

    def _create(self, stub: FeedbackServiceStub, count: int) -> None:
        items = [self._feedback(uuid7()) for _ in range(count)]
        contents: dict[str, str | None] = {item.id: item.payload_json for item in items}
        if count == 1:
            request = CreateFeedbackRequest(project=self._project, feedback=items[0])
            self._write(lambda: stub.CreateFeedback(request, timeout=_CALL_SECONDS), contents)
        else:
            batch = BatchCreateFeedbackRequest(project=self._project, feedback=items)
            self._write(lambda: stub.BatchCreateFeedback(batch, timeout=_CALL_SECONDS), contents)

    def _replace(self, stub: FeedbackServiceStub, id: str) -> None:
        new = self._feedback(id)
        request = ReplaceFeedbackRequest(project=self._project, feedback=new)
        self._write(lambda: stub.ReplaceFeedback(request, timeout=_CALL_SECONDS), {id: new.payload_json})

    def _purge(self, stub: FeedbackServiceStub, id: str) -> None:
        request = PurgeFeedbackRequest(project=self._project, ids=[id])
        self._write(lambda: stub.PurgeFeedback(request, timeout=_CALL_SECONDS), {id: None})

    def _write(self, call: Callable[[], object], contents: dict[str, str | None]) -> None:
        self.in_flight = True
        try:
            call()
        except grpc.RpcError as error:
            if error.code() not in _UNCLEAR:
                raise
            for id, content in contents.items():
                self.ledger.unclear.setdefault(id, set()).add(content)
            time.sleep(0.01)
            return
        finally:
            self.in_flight = False
        self.ledger.acknowledged += 1
        for id, content in contents.items():
            if content is None:
                del self.ledger.content[id]
                self.ledger.gone.add(id)
            else:
                self.ledger.content[id] = content


@dataclass
class Round:
    """One kill: its project, and what its writers know."""

    project: str
    ledgers: list[Ledger]
    purges: bool


def campaign(start: Callable[[], Killable], kills: int, seed: int) -> Report:
    """Kill `kills` times; report records that were lost, stored twice, or never sent."""
    chance = random.Random(seed)
    report = Report()
    rounds: list[Round] = []
    server = start()
    for number in range(kills):
        project = f"crash/{seed}-{number}"
        purges = number % 4 == 3
        writers = [Writer(server.target, project, chance.randrange(1 << 30), purges=purges) for _ in range(WRITERS)]
        for writer in writers:
            writer.start()
        time.sleep(chance.uniform(0.1, 0.6))
        report.kills_in_flight += any(writer.in_flight for writer in writers)
        server.stop(signal.SIGKILL)
        report.kills += 1
        for writer in writers:
            writer.stop()
        for writer in writers:
            writer.join(2 * _CALL_SECONDS)
            assert not writer.is_alive()
        rounds.append(Round(project, [writer.ledger for writer in writers], purges))
        server = start()
        _check(server.target, rounds[-1], report)
    for told in rounds:
        _check(server.target, told, report)
        report.acknowledged += sum(ledger.acknowledged for ledger in told.ledgers)
        report.unclear += sum(len(ledger.unclear) for ledger in told.ledgers)
    server.stop(signal.SIGTERM)
    return report


def _check(target: str, told: Round, report: Report) -> None:
    with grpc.insecure_channel(target) as channel:
        stub = FeedbackServiceStub(channel)
        rows, revision = _rows(stub, told.project)
        replayed, revisions = _replay(stub, told.project, revision)
    stored: dict[str, str] = {}
    for row in rows:
        if row.id in stored:
            report.doubled.append(row.id)
        stored[row.id] = row.payload_json
    assert replayed == stored, "Watch from 0 does not replay what is there"
    if not told.purges:
        assert revisions == list(range(1, revision + 1)), "the revisions have a gap"
    sent: set[str] = set()
    for ledger in told.ledgers:
        for id in ledger.content.keys() | ledger.unclear.keys() | ledger.gone:
            sent.add(id)
            possible: set[str | None] = set(ledger.unclear.get(id, ()))
            if id in ledger.content:
                possible.add(ledger.content[id])
            elif id in ledger.gone:
                possible = {None}
            else:
                possible.add(None)
            if stored.get(id) not in possible:
                report.lost.append(id)
    report.phantoms += stored.keys() - sent


def _rows(stub: FeedbackServiceStub, project: str) -> tuple[list[Feedback], int]:
    request = QueryFeedbackRequest(project=project)
    rows: list[Feedback] = []
    while True:
        page = stub.QueryFeedback(request, timeout=60)
        rows += page.feedback
        if not page.next_page_token:
            return rows, page.revision
        request.page_token = page.next_page_token


def _replay(stub: FeedbackServiceStub, project: str, until: int) -> tuple[dict[str, str], list[int]]:
    """The content by id, and the revisions, that a watch from 0 yields up to revision `until`."""
    content: dict[str, str] = {}
    revisions: list[int] = []
    with _watch(stub, project) as responses:
        for response in responses:
            for change in response.changes:
                revisions.append(change.revision)
                if change.kind == ChangeKind.CHANGE_KIND_PURGED:
                    content.pop(change.tombstone.id, None)
                else:
                    content[change.feedback.id] = change.feedback.payload_json
            if response.revision >= until:
                break
    assert revisions == sorted(set(revisions))
    return content, revisions


@contextmanager
def _watch(stub: FeedbackServiceStub, project: str) -> Iterator[Iterator[WatchFeedbackResponse]]:
    stream = stub.WatchFeedback(WatchFeedbackRequest(project=project, after_revision=0), timeout=60)
    try:
        yield stream
    finally:
        stream.cancel()
