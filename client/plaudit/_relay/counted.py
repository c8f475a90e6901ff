"""What a relay has done, as metrics in Prometheus' text form, on a port of its own."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from plaudit._relay.relaying import Counts


def text_of(counts: Counts) -> str:
    """The metrics."""
    found = (
        ("delivered_total", "counter", "Changes that have arrived.", counts.delivered),
        ("failed_deliveries_total", "counter", "Deliveries that failed, each try.", counts.failed),
        ("dead_letters_total", "counter", "Changes that were given up.", counts.dead),
        ("revision", "gauge", "All changes up to this revision are done with.", counts.revision),
        ("lag_revisions", "gauge", "Revisions that were read and are not done with.", counts.lag_revisions),
        ("lag_seconds", "gauge", "How long ago the oldest of these happened.", counts.lag_seconds),
    )
    lines = []
    for name, kind, help, value in found:
        full = f"plaudit_relay_{name}"
        lines += [f"# HELP {full} {help}", f"# TYPE {full} {kind}", f"{full} {value}"]
    return "\n".join(lines) + "\n"


def serve(counts: Counts, host: str, port: int) -> ThreadingHTTPServer:
    """Answer `/metrics` until `shutdown`; with port 0 the system chooses one. Raises OSError."""

    class Handler(BaseHTTPRequestHandler):
        """Answers with the counts."""

        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            body = text_of(counts).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: each scrape would be a line."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="plaudit-relay-metrics", daemon=True).start()
    return server
