"""Plays a conversation through the Python stubs: the reference for the programs in `examples/`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2

from plaudit import v1
from plaudit._contract.uuid7 import uuid7

DEADLINE_SECONDS = 20
SERVICE_CONFIG = Path(__file__).parents[2] / "proto/plaudit/v1/feedback_grpc_service_config.json"
_VARIABLE = re.compile(r"\$\{([\w.]+)\}")


class Mismatch(Exception):
    """An answer is not the one that the conversation expects."""


def difference(expected: Any, actual: Any, path: str = "answer") -> str | None:
    """Where an answer differs from what is expected: null means absent, "*" anything; other keys are allowed."""
    if expected is None or expected == "*":
        return None if (actual is None) == (expected is None) else f"{path}: expected {expected}, got {actual}"
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = (difference(value, actual.get(key), f"{path}.{key}") for key, value in expected.items())
        return next(filter(None, found), None)
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        found = (difference(value, actual[n], f"{path}.{n}") for n, value in enumerate(expected))
        return next(filter(None, found), None)
    return None if expected == actual else f"{path}: expected {expected!r}, got {actual!r}"


def explain(status: status_pb2.Status) -> dict[str, Any]:
    """The code, the reason, the fields and the delay of a refusal."""
    refusal: dict[str, Any] = {"code": code_pb2.Code.Name(status.code)}
    for packed in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            refusal |= {"reason": info.reason, "metadata": dict(info.metadata)}
        elif packed.Unpack(bad):
            refusal["fields"] = sorted(violation.field for violation in bad.field_violations)
        elif packed.Unpack(retry):
            refusal["retryDelay"] = retry.retry_delay.ToJsonString()
    return refusal


def _json(message: Any) -> Any:
    """A message in the JSON mapping; the statuses in it become refusals."""
    answer = json_format.MessageToDict(message)
    if isinstance(message, v1.BatchCreateFeedbackResponse):
        for n, result in enumerate(message.results):
            if result.HasField("status"):
                answer["results"][n]["status"] = explain(result.status)
    if isinstance(message, v1.IngestFeedbackResponse):
        for n, rejected in enumerate(message.rejected):
            answer["rejected"][n]["status"] = explain(rejected.status)
    return answer


def _trailers(error: Any) -> Any:
    """The trailing metadata of a call's error, as pairs; grpcio's stubs do not say that they are."""
    return error.trailing_metadata() or ()


class Player:
    """One conversation with a server, in a project that only it uses."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._variables = {"project": f"polyglot/python-{uuid7()}"}

    def play(self, step: dict[str, Any]) -> None:
        """Send the requests of a step. Raises Mismatch when the answer is not the expected one."""
        step = json.loads(_VARIABLE.sub(lambda found: self._variable(found[1]), json.dumps(step)))
        try:
            answer = self._call(step)
        except grpc.RpcError as error:
            trailers = dict(_trailers(error))
            details = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
            details.code = error.code().value[0]
            answer = {"refused": explain(details)}
        expected = {"refused": step["refused"]} if "refused" in step else step["expect"]
        if wrong := difference(expected, answer):
            raise Mismatch(f"{step['step']}: {wrong}")
        for name, path in step.get("keep", {}).items():
            value = answer
            for part in path.split("."):
                value = value[int(part)] if isinstance(value, list) else value[part]
            self._variables[name] = value

    def _variable(self, name: str) -> str:
        """The value of a variable; one named `id.…` is a new UUIDv7 at its first use."""
        if name.startswith("id.") and name not in self._variables:
            self._variables[name] = uuid7()
        return self._variables[name]

    def _call(self, step: dict[str, Any]) -> Any:
        stub = getattr(v1, step.get("service", "FeedbackService") + "Stub")(self._channel)
        method = getattr(stub, step["call"])
        request_type = getattr(v1, f"{step['call']}Request")
        if isinstance(step["send"], list):
            requests = [json_format.ParseDict(message, request_type()) for message in step["send"]]
            return [_json(message) for message in method(iter(requests), timeout=DEADLINE_SECONDS)]
        request = json_format.ParseDict(step["send"], request_type())
        if "collect" in step:
            stream = method(request, timeout=DEADLINE_SECONDS)
            return list(self._collect(stream, step["collect"], len(step.get("expect", []))))
        return _json(method(request, timeout=DEADLINE_SECONDS))

    @staticmethod
    def _collect(stream: Any, field: str, count: int) -> Iterator[Any]:
        """The first `count` elements that the stream's messages hold in `field`; then the call is cancelled."""
        for message in stream:
            for element in getattr(message, field):
                yield _json(element)
                count -= 1
            if count <= 0:
                stream.cancel()
                return


def main(target: str, conversation: str) -> None:
    """Play the conversation of a file, a line for each step."""
    options = [("grpc.service_config", SERVICE_CONFIG.read_text("utf-8"))]
    with grpc.insecure_channel(target, options) as channel:
        player = Player(channel)
        steps = json.loads(Path(conversation).read_text("utf-8"))["steps"]
        for step in steps:
            player.play(step)
            print(f"ok: {step['step']}")
    print(f"{len(steps)} steps, all as expected")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
