"""A server as users run it: a process of its own, started and stopped by the command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

READY = re.compile(r"ready on (\S+?)[,\s]")
_START_SECONDS = 30.0


class ServerProcess:
    """A running `plaudit-server serve`; `target` is the `host:port` in its ready line."""

    def __init__(
        self,
        store: Path | str,
        listen: str = "127.0.0.1:0",
        *flags: str,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "plaudit_server"),
    ) -> None:
        url = store if isinstance(store, str) else f"sqlite:{store}"
        self.process = subprocess.Popen(
            [*command, "serve", "--store", url, "--listen", listen, *flags],
            stderr=subprocess.PIPE,
            text=True,
            # Without our own settings of the tests, which the server would refuse as unknown.
            env={k: v for k, v in os.environ.items() if not k.startswith("PLAUDIT_")} | dict(env or {}),
        )
        self.log: list[str] = []
        self._drainer = threading.Thread(target=self._drain, daemon=True)
        self.target = self._wait_until_ready()

    def _wait_until_ready(self) -> str:
        stderr = self.process.stderr
        assert stderr is not None
        watchdog = threading.Timer(_START_SECONDS, self.process.kill)
        watchdog.start()
        try:
            for line in stderr:
                self.log.append(line)
                if found := READY.search(line):
                    self._drainer.start()
                    return found[1]
        finally:
            watchdog.cancel()
        code = self.process.wait()
        stderr.close()
        raise RuntimeError(f"the server did not start: exit code {code}, {''.join(self.log)}")

    def _drain(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)

    def logged(self, pattern: re.Pattern[str], seconds: float = 20.0) -> str:
        """The first group of the first match in the log, which is written by a thread of its own."""
        end = time.monotonic() + seconds
        while not (found := pattern.search("".join(self.log))):
            assert time.monotonic() < end, f"{pattern.pattern} is not in the log: {''.join(self.log)}"
            time.sleep(0.01)
        return found[1]

    def address(self, key: str) -> str:
        """Where the port of a setting listens, such as `http.listen`."""
        return self.logged(re.compile(rf"{re.escape(key)} on ([^\s\"]+)"))

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Send a signal, wait at most `timeout` seconds, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stderr is not None and self.process.poll() is not None:
                self._drainer.join()  # workers of a killed server keep its standard error open until they end
                self.process.stderr.close()


@contextmanager
def server_process(
    store: Path | str, listen: str = "127.0.0.1:0", *flags: str, env: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """A server process that is stopped at the end, cleanly."""
    process = ServerProcess(store, listen, *flags, env=env)
    try:
        yield process
    finally:
        code = process.stop()
    assert code == 0, "".join(process.log)


@contextmanager
def web_process(
    store: Path | str, *flags: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[ServerProcess, str]]:
    """A server process that has an HTTP port, too; and that port's address."""
    with server_process(store, "127.0.0.1:0", "--http-listen", "127.0.0.1:0", *flags, env=env) as process:
        yield process, process.address("http.listen")
