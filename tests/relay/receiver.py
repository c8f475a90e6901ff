"""A webhook's receiver: keeps what has arrived, and fails as often as it is told to."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_cGxhdWRpdCByZWxheSBzZWNyZXQgb2YgdGVzdHM="


@dataclass(slots=True)
class Receiver:
    """What has arrived, in order; `fails` of 1 deliveries are answered with `status`."""

    url: str = ""
    fails: float = 0.0
    status: int = 503
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    unverified: int = 0
    refused: int = 0
    location: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def revisions(self) -> list[int]:
        """The revisions of the changes, each when it arrived first."""
        return list(dict.fromkeys(body["data"]["revision"] for body in self.bodies))


@contextmanager
def receiver(**options: Any) -> Iterator[Receiver]:
    """A receiver on loopback, until the block ends."""
    made = Receiver(**options)
    verifier = Webhook(SECRET)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):
                    return  # the sender was killed meanwhile
                with made.lock:
                    self._take(body)
                self.end_headers()
            except (ConnectionError, TimeoutError):
                return

        def _take(self, body: bytes) -> None:
            if random.random() < made.fails:
                made.refused += 1
                self.send_response(made.status)
                if made.location:
                    self.send_header("Location", made.location)
            else:
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    verifier.verify(body, headers)
                except Exception:
                    made.unverified += 1
                made.headers.append(headers)
                made.bodies.append(json.loads(body))
                self.send_response(204)
            self.send_header("Content-Length", "0")

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
