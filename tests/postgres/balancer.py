"""A real HAProxy with the configuration of deploy/, in front of servers of a test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from plaudit_server.ops import health
from tests.postgres.cluster import free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy/haproxy.cfg"
_START_SECONDS = 30.0


def program() -> str | None:
    """The path of HAProxy, which distributions install where only root's PATH finds it."""
    return shutil.which("haproxy", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


class Balancer:
    """HAProxy over two servers; `target` is the `host:port` to call."""

    def __init__(self, log: Path, *servers: str) -> None:
        path = program()
        assert path is not None, "no HAProxy is installed"
        self.target = f"127.0.0.1:{free_port()}"
        self.http_target = f"127.0.0.1:{free_port()}"
        addresses = {f"PLAUDIT_SERVER_{letter}": server for letter, server in zip("AB", servers, strict=True)}
        self._log = log
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [path, "-db", "-f", CONFIGURATION],
                env={"PLAUDIT_BALANCER": self.target, "PLAUDIT_HTTP_BALANCER": self.http_target, **addresses},
                stdout=said,
                stderr=said,
            )
        until = time.monotonic() + _START_SECONDS
        while health.ask(self.target, "", 1.0) != "SERVING":
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"HAProxy does not serve:\n{self.said}")
            time.sleep(0.05)

    @property
    def said(self) -> str:
        """Its log about itself and its servers."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_START_SECONDS)
