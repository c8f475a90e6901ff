"""The servers that plaudit is compared with: MLflow and Phoenix with default settings, feedback stored by REST."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import plaudit
from tests.bench import rows
from tests.bench.figures import NotMeasured
from tests.postgres.cluster import free_port
from tests.service.process import server_process

REQUIREMENTS = Path(__file__).with_name("peers.txt")
PAGE = 1000
SUMMED = "summed"
"""The name, or type, of the records whose mean score is asked for: as many as a page has."""
SUBJECTS = 20
"""The number of traces or calls that writes are about, in turn."""

_START_SECONDS = 180.0
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that has given its first answer, `seconds` after its command."""

    port: int
    pid: int
    seconds: float


class Session(ABC):
    """A client of one thread; its calls raise an error when the answer is not a success."""

    @abstractmethod
    def write(self, number: int) -> None:
        """Store one piece of feedback, durably as far as the server promises that."""

    @abstractmethod
    def read_page(self) -> int:
        """Read the feedback on the one object that has a page of it; return its number of records."""

    @abstractmethod
    def mean(self) -> float:
        """The mean score of the records that are `SUMMED`, computed by the server."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the objects of the feedback, the page, and what is summed."""


class RestSession(Session):
    """What both peers share: one connection, JSON in both directions."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """An answer's JSON. Raises RuntimeError for a status that is not a success."""
        self._connection.request(method, path, None if body is None else json.dumps(body), _JSON)
        response = self._connection.getresponse()
        text = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:200]!r}")
        return json.loads(text)


class PlauditSession(Session):
    """plaudit's own client."""

    _page_ref = f"weave:///{rows.PROJECT}/call/page"

    def __init__(self, port: int) -> None:
        self._client = plaudit.Client(rows.PROJECT, target=f"127.0.0.1:{port}")

    def write(self, number: int) -> None:
        self._client.create(_record(f"weave:///{rows.PROJECT}/call/{number % SUBJECTS}", number))

    def read_page(self) -> int:
        return len(self._client.ref(self._page_ref).execute())

    def mean(self) -> float:
        found = self._client.get_feedback(plaudit.field("feedback_type") == SUMMED).mean("payload.score")
        assert isinstance(found, float)
        return found

    def prepare(self) -> None:
        self._client.create_batch([_record(self._page_ref, number) for number in range(PAGE)])
        refs = [f"weave:///{rows.PROJECT}/call/{number % SUBJECTS}" for number in range(PAGE)]
        summed = [_record(ref, number) | {"feedback_type": SUMMED} for number, ref in enumerate(refs)]
        self._client.create_batch(summed)


class MlflowSession(RestSession):
    """Assessments of traces."""

    def write(self, number: int) -> None:
        self._assess(f"tr-{number % SUBJECTS}", number)

    def read_page(self) -> int:
        return len(self.call("GET", "/api/3.0/mlflow/traces/tr-page")["trace"]["trace_info"]["assessments"])

    def mean(self) -> float:
        asked: dict[str, Any] = {"experiment_ids": ["0"], "view_type": "ASSESSMENTS", "metric_name": "assessment_value"}
        asked |= {"aggregations": [{"aggregation_type": "AVG"}], "filters": [f'assessment.name = "{SUMMED}"']}
        [point] = self.call("POST", "/api/3.0/mlflow/traces/metrics", asked)["data_points"]
        return float(point["values"]["AVG"])

    def prepare(self) -> None:
        for trace in ("page", *range(SUBJECTS)):
            place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
            info = {"trace_id": f"tr-{trace}", "trace_location": place, "state": "OK", "execution_duration": "1s"}
            info["request_time"] = "2026-01-01T00:00:00Z"
            self.call("POST", "/api/3.0/mlflow/traces", {"trace": {"trace_info": info}})
        for number in range(PAGE):
            self._assess("tr-page", number)
            self._assess(f"tr-{number % SUBJECTS}", number, SUMMED)

    def _assess(self, trace: str, number: int, name: str = rows.TYPE) -> None:
        payload = json.loads(rows.feedback(number).payload_json)
        assessment = {
            "assessment_name": name,
            "source": {"source_type": "LLM_JUDGE", "source_id": f"judge-{number % 20}"},
            "feedback": {"value": payload["score"]},
            "rationale": payload["reason"],
            "metadata": {"model": payload["model"]},
        }
        self.call("POST", f"/api/3.0/mlflow/traces/{trace}/assessments", {"assessment": assessment})


class PhoenixSession(RestSession):
    """Annotations of spans; `sync`, so that the answer comes when they are stored, as with the others."""

    def write(self, number: int) -> None:
        # A new identifier each time: an identifier that exists would replace its annotation.
        self._annotate([_annotation(number % SUBJECTS, number, uuid4().hex)])

    def read_page(self) -> int:
        span = _span_id(SUBJECTS)
        return len(self.call("GET", f"/v1/projects/default/span_annotations?span_ids={span}&limit={PAGE}")["data"])

    def mean(self) -> float:
        project = (
            f'getProjectByName(name: "default") {{ spanAnnotationSummary(annotationName: "{SUMMED}") {{ meanScore }} }}'
        )
        answer = self.call("POST", "/graphql", {"query": f"{{ {project} }}"})
        return float(answer["data"]["getProjectByName"]["spanAnnotationSummary"]["meanScore"])

    def prepare(self) -> None:
        spans = [
            {
                "name": "call",
                "context": {"trace_id": f"{number + 1:032x}", "span_id": _span_id(number)},
                "span_kind": "LLM",
                "start_time": "2026-01-01T00:00:00Z",
                "end_time": "2026-01-01T00:00:01Z",
                "status_code": "OK",
            }
            for number in range(SUBJECTS + 1)
        ]
        self.call("POST", "/v1/projects/default/spans", {"data": spans})
        page = [_annotation(SUBJECTS, number, str(number)) for number in range(PAGE)]
        until = time.monotonic() + 30
        while True:  # spans are stored through a queue
            try:
                self._annotate(page)
                break
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        summed = [_annotation(number % SUBJECTS, number, f"summed-{number}") for number in range(PAGE)]
        self._annotate([annotation | {"name": SUMMED} for annotation in summed])

    def _annotate(self, annotations: list[dict[str, Any]]) -> None:
        self.call("POST", "/v1/span_annotations?sync=true", {"data": annotations})


def _record(ref: str, number: int) -> dict[str, Any]:
    message = rows.feedback(number)
    payload = json.loads(message.payload_json)
    return {"ref": ref, "feedback_type": rows.TYPE, "creator": message.creator, "payload": payload}


def _span_id(number: int) -> str:
    return f"{number + 1:016x}"


def _annotation(span: int, number: int, identifier: str) -> dict[str, Any]:
    payload = json.loads(rows.feedback(number).payload_json)
    return {
        "span_id": _span_id(span),
        "name": rows.TYPE,
        "annotator_kind": "LLM",
        "identifier": identifier,
        "result": {"score": payload["score"], "explanation": payload["reason"]},
        "metadata": {"model": payload["model"], "judge": f"judge-{number % 20}"},
    }


class Server(ABC):
    """A server that is measured: how it is started, and its clients."""

    name: ClassVar[str]
    session: ClassVar[type[Any]]

    @abstractmethod
    def run(self, directory: Path) -> Any:
        """Start it on a new store in a directory; a context manager of Running."""


class PlauditServer(Server):
    """plaudit, from this checkout."""

    name = "plaudit"
    session = PlauditSession

    @contextmanager
    def run(self, directory: Path) -> Iterator[Running]:
        started = time.perf_counter()
        with server_process(directory / "plaudit.db") as server:
            port = int(server.target.rpartition(":")[2])
            with plaudit.Client(rows.PROJECT, target=server.target) as client:
                client.server_info()
            yield Running(port, server.process.pid, time.perf_counter() - started)


class RestServer(Server):
    """A peer in an environment of its own."""

    package: ClassVar[str]
    first_path: ClassVar[str]

    def __init__(self, environments: Path) -> None:
        self._environment = environments / self.package

    def install(self) -> None:
        """Make the environment, unless it already has the required versions. Raises NotMeasured."""
        [line] = [line for line in REQUIREMENTS.read_text().splitlines() if line.startswith(self.package + "==")]
        stamp = self._environment / "installed"
        if stamp.exists() and stamp.read_text() == line:
            return
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(self._environment)],
            [str(self._environment / "bin" / "pip"), "install", "--quiet", line],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["?"])[-1]
                raise NotMeasured(f"{line} cannot be installed: {why}")
        stamp.write_text(line)

    @abstractmethod
    def command(self, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
        """Arguments, and variables in addition to ours."""

    @contextmanager
    def run(self, directory: Path) -> Iterator[Running]:
        port = free_port()
        command, variables = self.command(directory, port)
        command[0] = str(self._environment / "bin" / command[0])
        environment = {**os.environ, "DO_NOT_TRACK": "1", **variables}
        started = time.perf_counter()
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            while not self._answers(port):
                if process.poll() is not None or time.perf_counter() - started > _START_SECONDS:
                    raise RuntimeError(f"{self.name} did not start: {(directory / 'log').read_text()[-500:]}")
                time.sleep(0.02)
            yield Running(port, process.pid, time.perf_counter() - started)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _answers(self, port: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", self.first_path)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class Mlflow(RestServer):
    """`mlflow server` with default settings, on SQLite."""

    name = "MLflow"
    session = MlflowSession
    package = "mlflow"
    first_path = "/health"

    def command(self, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
        flags = ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--host", "127.0.0.1", "--port", str(port)]
        return ["mlflow", "server", *flags], {"MLFLOW_DISABLE_TELEMETRY": "true"}


class Phoenix(RestServer):
    """`phoenix serve` with default settings, on its SQLite."""

    name = "Phoenix"
    session = PhoenixSession
    package = "arize-phoenix"
    first_path = "/healthz"

    def command(self, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
        return ["phoenix", "serve"], {
            "PHOENIX_WORKING_DIR": str(directory),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }


def servers(directory: Path) -> Sequence[Server]:
    """All three; installs what is missing. Raises NotMeasured."""
    peers = (Mlflow(directory / "peers"), Phoenix(directory / "peers"))
    for peer in peers:
        peer.install()
    return (PlauditServer(), *peers)
