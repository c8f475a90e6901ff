"""A link that is cut without a word: `unshare -rn python -m tests.faults.cut_link USER_TIMEOUT WRITES WAIT`.

In a network namespace of its own it starts a server, and in a second one, at the other end of a pair of virtual
Ethernet devices, a process with open watches. Then it takes the other end down, so that no byte and no end of a
connection arrives any more, and prints after how many seconds the server has no watch and no connection. With WRITES it
creates a record meanwhile, which the server tries to send. It fails when WAIT seconds are not enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from dataclasses import replace
from typing import Final

from plaudit_server.config import Config
from tests.faults.web_watching import PROTOCOLS, Watch
from tests.service.web import until, web_server

_PROJECT: Final = "acme/cut"
_WATCHES: Final = 5
_HERE, _THERE = "10.77.0.1", "10.77.0.2"


def ip(*arguments: str, at: int | None = None) -> None:
    """Set up the network, of this namespace or of that of a process."""
    there = [] if at is None else ["nsenter", "--target", str(at), "--net"]
    subprocess.run([*there, "ip", *arguments], check=True)


async def watch(address: str) -> None:
    """Open the watches, say so, and keep them open."""

    async def one(number: int) -> None:
        async with Watch(address, _PROJECT, PROTOCOLS[number % len(PROTOCOLS)]) as watching:
            print("open", flush=True)
            async for _ in watching.messages():
                pass

    await asyncio.gather(*(one(number) for number in range(_WATCHES)))


def main(user_timeout: float, writes: bool, wait: float) -> None:
    # It inherits a pipe, which keeps it from beginning before its network is there.
    command = ["unshare", "--net", sys.executable, "-m", "tests.faults.cut_link", "watch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as there:
        assert there.stdin is not None
        assert there.stdout is not None
        try:
            assert there.stdout.readline() == "here\n"
            ip("link", "set", "lo", "up")
            ip("link", "add", "plaudit0", "type", "veth", "peer", "name", "plaudit1", "netns", str(there.pid))
            ip("address", "add", f"{_HERE}/30", "dev", "plaudit0")
            ip("link", "set", "plaudit0", "up")
            ip("address", "add", f"{_THERE}/30", "dev", "plaudit1", at=there.pid)
            ip("link", "set", "plaudit1", "up", at=there.pid)
            config = replace(Config(), insecure=True)
            with web_server(config, listen=f"{_HERE}:0", user_timeout_seconds=user_timeout) as running:
                http = running.server._http
                assert http is not None
                print(running.server.http_address, file=there.stdin, flush=True)
                for _ in range(_WATCHES):
                    assert there.stdout.readline() == "open\n"
                assert http.connections == _WATCHES
                ip("link", "set", "plaudit1", "down", at=there.pid)
                cut = time.monotonic()
                if writes:
                    running.client().create({"ref": "urn:x", "feedback_type": "a", "payload": {}}, project=_PROJECT)
                until(lambda: http.connections == 0 and b"plaudit_watchers 0.0" in running.server.metrics.text(), wait)
                print(f"{time.monotonic() - cut:.1f}")
                assert there.poll() is None  # it has its connections still, and waits
        finally:
            there.kill()


if __name__ == "__main__":
    if sys.argv[1:] == ["watch"]:
        print("here", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(watch(sys.stdin.readline().strip()))
    else:
        main(float(sys.argv[1]), sys.argv[2] == "yes", float(sys.argv[3]))
