"""The relay itself: takes changes in order, delivers each until it has arrived, and keeps how far it has come."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from plaudit._relay.cursor import Reached
from plaudit._relay.event import Event
from plaudit._relay.sinks import NotDelivered, Sink

logger = logging.getLogger("plaudit")

_FIRST_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 300.0
_WAITING: Final = 100  # changes for each lane that are read ahead


class Keeps(Protocol):
    """Where it is kept how far the relay has come."""

    def write(self, reached: Reached) -> None:
        """Keep it."""


@dataclass(slots=True)
class Counts:
    """What a relay has done so far."""

    delivered: int = 0
    failed: int = 0
    """Deliveries that failed, and were tried again or given up."""
    dead: int = 0
    """Changes that were given up."""
    revision: int = 0
    """All changes up to this one are done with."""
    read: int = 0
    """The newest revision that was read."""
    waiting_since: float | None = None
    """When the oldest change that is not done with happened, in Unix seconds; None when there is none."""

    @property
    def lag_revisions(self) -> int:
        """How many revisions were read and are not done with."""
        return max(self.read - self.revision, 0)

    @property
    def lag_seconds(self) -> float:
        """How long ago the oldest of them happened."""
        return 0.0 if self.waiting_since is None else max(time.time() - self.waiting_since, 0.0)


@dataclass(slots=True)
class _Lane:
    """Changes that are delivered one after the other."""

    events: queue.Queue[Event | None] = field(default_factory=lambda: queue.Queue(_WAITING))


class Relay:
    """Delivers each change at least once; those of one ref in order, and with one lane all of them."""

    def __init__(
        self,
        sink: Sink,
        keeps: Keeps,
        *,
        lanes: int = 1,
        give_up_after: float | None = None,
        on_dead: Callable[[Event, str], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """After `give_up_after` seconds of trying, a change goes to `on_dead` instead; None: it is tried for ever.

        `on_end` is called when no more deliveries begin, so that whoever waits for changes can stop to.
        """
        self._sink = sink
        self._keeps = keeps
        self._give_up_after = give_up_after
        self._on_dead = on_dead
        self._on_end = on_end
        self._lanes = [_Lane() for _ in range(lanes)]
        self._unfinished: dict[int, Event] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self.counts = Counts()

    def run(self, events: Iterator[Event]) -> None:
        """Deliver the changes until they end, or `stop` is called; then those that were begun are waited for.

        Raises Stopped when the receiver wants no more, and what `keeps` raises.
        """
        threads = [
            threading.Thread(target=self._work, args=(lane,), name=f"plaudit-relay-{number}", daemon=True)
            for number, lane in enumerate(self._lanes)
        ]
        for thread in threads:
            thread.start()
        try:
            for event in events:
                self._put(event)
                if self._ended.is_set():
                    break
        finally:
            for lane in self._lanes:
                self._give(lane, None)
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begin no more deliveries; what was not delivered is, the next time."""
        self._ended.set()
        if self._on_end is not None:
            self._on_end()

    @property
    def has_ended(self) -> bool:
        """Whether no more deliveries begin."""
        return self._ended.is_set()

    def _put(self, event: Event) -> None:
        revision = event.change.revision
        with self._lock:
            self.counts.read = revision
            self._unfinished[revision] = event
            self._note_lag()
        # Not `hash`, which is another one in each process; it does not matter here, but it is easier to follow.
        self._give(self._lanes[zlib.crc32(event.ref.encode()) % len(self._lanes)], event)

    def _give(self, lane: _Lane, event: Event | None) -> None:
        while True:
            with suppress(queue.Full):
                lane.events.put(event, timeout=0.2)
                return
            if self._ended.is_set():
                with suppress(queue.Empty):
                    lane.events.get_nowait()

    def _work(self, lane: _Lane) -> None:
        while (event := lane.events.get()) is not None:
            if self._ended.is_set():
                continue
            try:
                if self._deliver(event):
                    self._done(event)
            except Exception as error:
                self._failure = self._failure or error
                self.stop()

    def _deliver(self, event: Event) -> bool:
        """Try until the change has arrived, or is given up; False when the relay ends before."""
        started = time.monotonic()
        delay = _FIRST_SECONDS
        while True:
            try:
                self._sink.deliver(event)
            except NotDelivered as error:
                with self._lock:
                    self.counts.failed += 1
                if self._give_up_after is not None and time.monotonic() - started >= self._give_up_after:
                    self._bury(event, str(error))
                    return True
                wait = max(random.uniform(delay / 2, delay), error.retry_after or 0.0)
                logger.warning(
                    "change %d was not delivered, tried again in %.1f s: %s", event.change.revision, wait, error
                )
                delay = min(2 * delay, _LONGEST_SECONDS)
                if self._ended.wait(min(wait, _LONGEST_SECONDS)):
                    return False
            else:
                with self._lock:
                    self.counts.delivered += 1
                return True

    def _bury(self, event: Event, reason: str) -> None:
        logger.error("change %d is given up: %s", event.change.revision, reason)
        if self._on_dead is not None:
            self._on_dead(event, reason)
        with self._lock:
            self.counts.dead += 1

    def _done(self, event: Event) -> None:
        """Keep the revision before which nothing is unfinished."""
        with self._lock:
            del self._unfinished[event.change.revision]
            reached = min(self._unfinished, default=self.counts.read + 1) - 1
            self._note_lag()
            if reached > self.counts.revision:
                self.counts.revision = reached
                self._keeps.write(Reached(event.store_id, event.project, reached))

    def _note_lag(self) -> None:
        oldest = self._unfinished.get(min(self._unfinished, default=0))
        self.counts.waiting_since = None if oldest is None else oldest.time.timestamp()
