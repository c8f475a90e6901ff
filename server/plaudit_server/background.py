"""A process beside the server that makes calls for it, one at a time, at a low priority; it is no pool and no queue.

A thread shares the interpreter with the event loop: what holds it for long, as decoding a megabyte of JSON does, makes
every call wait, and a thread of low priority that loses the processor while it holds the interpreter makes them wait
longer still. A process of its own does neither: it gets what the server leaves of the processors.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, Final, TypeVar

T = TypeVar("T")

_NICENESS: Final = 10
_ENDING_SECONDS: Final = 2.0  # until a process that should end, and does not, is killed


class ProcessEnded(Exception):
    """The process has ended in the middle of a call: it was killed, or ran out of memory."""


class NotWanted(Exception):
    """Raised in the process, and by `call`, when `stop` ends a call."""


class Background:
    """The process, which is started by the first call, and again by the next one after it has ended.

    `call` is for one thread at a time; `stop` may be called from any.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._sending = threading.Lock()
        self._serial = 0
        self._stopped = 0
        """The serial number of the call that was stopped last."""

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        return None if self._process is None else self._process.pid

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function of a module returns or raises in the process; all that goes there and back is pickled.

        Raises ProcessEnded, and NotWanted.
        """
        try:
            channel = self._started()
            with self._sending:
                self._serial += 1
                channel.send_bytes(pickle.dumps((self._serial, function, arguments), pickle.HIGHEST_PROTOCOL))
            succeeded, answer = pickle.loads(channel.recv_bytes())
        except (EOFError, OSError) as error:
            self.close()
            raise ProcessEnded from error
        except TypeError as error:
            if self._channel is not None:
                raise
            raise ProcessEnded from error  # its end was closed in the middle of a read
        if succeeded:
            result: T = answer
            return result
        raise answer

    def stop(self) -> None:
        """End the call that runs, as soon as its function asks `stopped`."""
        with self._sending:
            channel, serial = self._channel, self._serial
            if channel is None or self._stopped == serial:
                return
            self._stopped = serial
            try:
                channel.send_bytes(pickle.dumps((serial, None, ())))
            except OSError:  # it has ended; so has the call
                return

    def close(self) -> None:
        """End the process, and wait for that. Safe to call twice."""
        with self._sending:
            channel, self._channel = self._channel, None
            process, self._process = self._process, None
        if channel is not None:
            channel.close()
        if process is not None:
            try:
                process.wait(_ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _started(self) -> Connection:
        if self._channel is None:
            ours, theirs = Pipe()
            with theirs:
                command = [sys.executable, "-c", f"from {__name__} import serve; serve({theirs.fileno()})"]
                environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment
                )
            self._channel = ours
        return self._channel


# ── In the process ───────────────────────────────────────────────────────────────────────────────────────


class _Here:
    """The call that this process makes, and where its end would come from."""

    channel: Connection
    arrivals: select.poll
    """Whether anything has come; a tenth of what the channel takes to look, and scans look every millisecond."""
    serial = 0


def stopped() -> bool:
    """For functions that run in the process: whether nobody waits for the present call any more.

    Raises EOFError when the server has ended.
    """
    while _Here.arrivals.poll(0):
        serial, _, _ = pickle.loads(_Here.channel.recv_bytes())
        if serial == _Here.serial:
            return True
    return False


def serve(number: int) -> None:
    """Make the calls that come over a file descriptor, until the server closes its end."""
    # The server ends this process; a terminal's Ctrl-C and a service manager's SIGTERM are for the server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _step_back()
    _Here.channel = channel = Connection(number)
    _Here.arrivals = select.poll()
    _Here.arrivals.register(number, select.POLLIN)
    while True:
        try:
            serial, function, arguments = pickle.loads(channel.recv_bytes())
            if function is None:  # the end of a call that has ended by itself
                continue
            _Here.serial = serial
            channel.send_bytes(_outcome(function, arguments))
        except (EOFError, OSError):
            return


def _step_back() -> None:
    """Let everything else that wants a processor go first.

    Of lower priority alone, a process keeps a processor for a millisecond or two before whoever wakes up has it, and a
    call wakes up several threads one after the other. Linux gives that up for processes that want idle time only.
    """
    os.nice(_NICENESS)
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    outcome: tuple[bool, Any]
    try:
        outcome = True, function(*arguments)
    except EOFError:
        raise
    except BaseException as error:
        outcome = False, error
    try:
        return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
