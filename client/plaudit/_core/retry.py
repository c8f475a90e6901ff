"""When a failed call, or a broken stream, is tried again; state machines, which call nobody.

`Attempts` is one call within one deadline. `Retry` is what goes on for longer, such as a stream that is opened again
each time it breaks: its deadline starts again with each success. Clock and sleep are given to it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from plaudit._core.errors import DeadlineExceededError, PlauditError, ResourceExhaustedError, UnavailableError

if TYPE_CHECKING:
    import threading


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed call is sent again; times in seconds."""

    initial_delay: float = 0.05
    """Before the second attempt; doubled for each attempt after it."""
    max_delay: float = 1.0
    """The longest delay."""
    jitter: float = 0.5
    """The part of a delay that is random, from 0 to 1, so that clients do not all come back at the same time."""
    max_attempts: int | None = None
    """How often a request is sent at most, the first time included; None: as often as its deadline allows."""

    def __post_init__(self) -> None:
        if not (0 <= self.initial_delay < math.inf and 0 <= self.max_delay < math.inf and 0 <= self.jitter <= 1):
            raise ValueError("initial_delay and max_delay are seconds from 0, and jitter is from 0 to 1")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError("max_attempts is at least 1: the first attempt counts")

    def delay(self, error: PlauditError, attempt: int, chance: float) -> float | None:
        """Seconds to wait after the failed `attempt` (from 1), or None: do not send it again.

        `chance` is a random number from 0 to 1. The delay is never shorter than the server asks for.
        """
        if not is_retryable(error) or (self.max_attempts is not None and attempt >= self.max_attempts):
            return None
        full = min(self.max_delay, self.initial_delay * 2.0 ** min(attempt - 1, 30))
        backoff = full * (1 - self.jitter * chance)
        return backoff if error.retry_after is None else error.retry_after + backoff * self.jitter


def is_retryable(error: PlauditError) -> bool:
    """Whether the same request may succeed later; also a write, because the client chooses the ids.

    A call that ended with CANCELLED is an UnavailableError, too: a server that stops has dropped it. What its caller
    cancels does not come here, and what `close` has ended is a ClientClosedError.
    """
    return isinstance(error, UnavailableError) or (
        isinstance(error, ResourceExhaustedError) and error.retry_after is not None
    )


def is_passing(error: PlauditError) -> bool:
    """Whether the server is away or busy: what it may take later, or may have taken, must not be given up now."""
    away = UnavailableError | ResourceExhaustedError | DeadlineExceededError
    return isinstance(error, away) or error.code is grpc.StatusCode.CANCELLED


class Attempts:
    """The attempts of one call within one deadline; a state machine that neither waits nor calls."""

    __slots__ = ("_deadline", "_failed", "_policy")

    def __init__(self, policy: RetryPolicy, deadline: float) -> None:
        self._policy = policy
        self._deadline = deadline
        self._failed = 0

    def remaining(self, now: float) -> float:
        """Seconds that the next attempt may take."""
        return max(0.0, self._deadline - now)

    def delay_after(self, error: PlauditError, now: float, chance: float) -> float | None:
        """Seconds to wait after an attempt failed, or None: the error is final."""
        self._failed += 1
        delay = self._policy.delay(error, self._failed, chance)
        return None if delay is None or delay >= self.remaining(now) else delay


class Retry:
    """Attempts that go on as long as one succeeds within every `patience` seconds (inf: without end).

    The first success must come within that time from now. After a success the time counts from the next failure,
    because a stream may rightly be silent for longer. `notice` is called with each error that is not final, and the
    delay after it.
    """

    __slots__ = ("_attempts", "_clock", "_notice", "_patience", "_policy", "_sleep")

    def __init__(
        self,
        policy: RetryPolicy,
        patience: float,
        *,
        sleep: Callable[[float], Any],
        clock: Callable[[], float],
        notice: Callable[[PlauditError, float], None] | None = None,
    ) -> None:
        self._policy = policy
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._notice = notice
        self._attempts: Attempts | None = self._new_attempts()

    def _new_attempts(self) -> Attempts:
        return Attempts(self._policy, self._clock() + self._patience)

    def remaining(self) -> float:
        """Seconds within which a success must come; inf when nothing has failed since the last one."""
        return math.inf if self._attempts is None else self._attempts.remaining(self._clock())

    def succeeded(self) -> None:
        """An attempt has succeeded: delays and deadline start again."""
        self._attempts = None

    def delay(self, error: PlauditError) -> float | None:
        """Seconds to wait after an attempt failed, or None: the error is final."""
        if self._attempts is None:
            self._attempts = self._new_attempts()
        delay = self._attempts.delay_after(error, self._clock(), random.random())
        if delay is not None and self._notice is not None:
            self._notice(error, delay)
        return delay

    def wait(self, error: PlauditError, stopped: threading.Event | None = None) -> bool:
        """Wait until the next attempt, or until `stopped` is set; False when the error is final."""
        delay = self.delay(error)
        if delay is None:
            return False
        if stopped is None:
            self._sleep(delay)
        else:
            stopped.wait(delay)
        return True

    async def wait_async(self, error: PlauditError) -> bool:
        """As `wait`, for a `sleep` that is awaited."""
        delay = self.delay(error)
        if delay is None:
            return False
        await self._sleep(delay)
        return True
