"""The HTTP port beside the gRPC port of the same server: processor time of the server for a create, and for a page."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from google.protobuf.json_format import MessageToJson

from plaudit.v1 import ComparisonOp, QueryFeedbackRequest
from tests.bench import rows
from tests.bench.creates import CREATE
from tests.bench.figures import Contender, Family, Figure, NotMeasured, Sample, Settings, Target, ratio
from tests.bench.load import Call, Shape, cpu_seconds
from tests.bench.places import store_directory
from tests.bench.serving import plaudit_server
from tests.bench.stores import PAGE, filled_store, page_refs

QUERY = "/plaudit.v1.FeedbackService/QueryFeedback"
FLYING = 64
PAGES = 8
_ROWS = 10_000
_CALLS_PER_SECOND = 2500
_PAGES_PER_SECOND = 150


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def pressed(address: str, pid: int, call: Call, shape: Shape, number: int, content_type: str) -> Sample:
    """Repeat a call the given number of times: microseconds of the server's processor time for each."""
    if shutil.which("h2load") is None:
        raise NotMeasured("h2load is not installed")
    grpc = content_type == "application/grpc"
    with tempfile.TemporaryDirectory(prefix="plaudit-load-") as directory:
        body = Path(directory) / "body"
        body.write_bytes(b"\0" + struct.pack(">I", len(call.request)) + call.request if grpc else call.request)
        flags = [f"-c{shape.connections}", f"-m{shape.streams}", "-t1", f"-d{body}", f"-n{number}"]
        flags += ["-Hte: trailers"] if grpc else ["--h1"]
        command = ["h2load", *flags, f"-Hcontent-type: {content_type}", f"http://{address}{call.path}"]
        before = cpu_seconds(pid)
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        used = cpu_seconds(pid) - before
    if f"{number} 2xx" not in run.stdout:
        raise RuntimeError(f"{call.path} was refused: {run.stdout}")
    micros = 1e6 * used / number
    return Sample(micros, micros)


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A server of both ports for creates, and one on a store with rows for pages."""
    creates = max(640, round(_CALLS_PER_SECOND * settings.seconds) // FLYING * FLYING)
    pages = max(40, round(_PAGES_PER_SECOND * settings.seconds))
    create = Call(CREATE, rows.create_request())
    asked = QueryFeedbackRequest(project=rows.PROJECT, page_size=PAGE)
    asked.query.expr.comparison.op = ComparisonOp.COMPARISON_OP_EQ
    asked.query.expr.comparison.left.field = "ref"
    asked.query.expr.comparison.right.literal.string_value = page_refs(_ROWS)[0]
    page, as_json = Call(QUERY, asked.SerializeToString()), Call(QUERY, MessageToJson(asked).encode())
    assert json.loads(as_json.request)["pageSize"] == PAGE
    ports = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with store_directory(settings) as directory:
        filled = filled_store(settings, _ROWS)
        with (
            plaudit_server(directory / "plaudit.db", "--http-listen", ports[0]) as (target, pid),
            plaudit_server(filled, "--http-listen", ports[1]) as (reading, reader),
            plaudit_server(directory / "alone.db") as (alone, without),
        ):
            over_grpc, over_http = Shape(4, FLYING // 4), Shape(FLYING, 1)
            few, eight = Shape(2, PAGES // 2), Shape(PAGES, 1)
            yield [
                Contender(name, "µs/call", partial(pressed, *arguments))
                for name, arguments in {
                    "gRPC, create": (target, pid, create, over_grpc, creates, "application/grpc"),
                    "gRPC alone, create": (alone, without, create, over_grpc, creates, "application/grpc"),
                    "Connect, create": (ports[0], pid, create, over_http, creates, "application/proto"),
                    "gRPC, page": (reading, reader, page, few, pages, "application/grpc"),
                    "Connect, page": (ports[1], reader, page, eight, pages, "application/proto"),
                    "JSON, page": (ports[1], reader, as_json, eight, pages, "application/json"),
                }.items()
            ]


def _figure(key: str, title: str, subject: str, control: str, limit: float, of: str = "of gRPC") -> Figure:
    return Figure(key, title, (subject, control), ratio(subject, control), Target(limit, of))


FAMILY = Family(
    "http",
    (
        _figure(
            "http-create", "CPU of a durable create by Connect, 64 in flight", "Connect, create", "gRPC, create", 0.7
        ),
        _figure(
            "http-beside",
            "CPU of a durable create by gRPC beside an HTTP port",
            "gRPC, create",
            "gRPC alone, create",
            1.1,
            "of one without",
        ),
        _figure("http-page", "CPU of a page of 1,000 by Connect, 8 in flight", "Connect, page", "gRPC, page", 1.0),
        _figure("http-page-json", "CPU of a page of 1,000 as JSON, 8 in flight", "JSON, page", "gRPC, page", 4.0),
    ),
    contenders,
)
