"""The server process: ready line, clean stop, clear errors, health and reflection."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from plaudit.v1 import (
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    WatchFeedbackRequest,
)
from plaudit_server.ops.workers import LISTEN_VARIABLE
from tests.service.process import ServerProcess, server_process

REF = "weave:///acme/chat/call/1"


def serve(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plaudit_server", "serve", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly_and_nothing_is_lost(tmp_path: Path, number: signal.Signals) -> None:
    store = tmp_path / "plaudit.db"
    process = ServerProcess(store)
    with grpc.insecure_channel(process.target) as channel:
        feedback = Feedback(ref=REF, feedback_type="custom")
        FeedbackServiceStub(channel).CreateFeedback(CreateFeedbackRequest(project="acme/chat", feedback=feedback))
    assert process.stop(number) == 0
    with server_process(store) as restarted, grpc.insecure_channel(restarted.target) as channel:
        request = CountFeedbackRequest(project="acme/chat")
        assert FeedbackServiceStub(channel).CountFeedback(request).count == 1


def test_the_environment_names_store_and_address(tmp_path: Path) -> None:
    store = tmp_path / "from-env.db"
    env = {"PLAUDIT_STORE": f"sqlite:{store}", "PLAUDIT_LISTEN": "127.0.0.1:0", "PATH": ""}
    command = [sys.executable, "-m", "plaudit_server", "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        assert "ready on 127.0.0.1:" in process.stderr.readline()
        process.terminate()
        assert process.wait(20) == 0
    assert store.exists()


def test_a_second_server_on_the_same_port_says_so(tmp_path: Path) -> None:
    with server_process(tmp_path / "one.db") as first:
        second = serve("--store", f"sqlite:{tmp_path / 'two.db'}", "--listen", first.target)
    assert second.returncode == 1
    assert first.target in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert "Traceback" not in second.stderr


def refused_untouched(store: Path) -> str:
    before = store.read_bytes()
    refused = serve("--store", f"sqlite:{store}", "--listen", "127.0.0.1:0")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert str(store) in refused.stderr
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == [store.name]
    return refused.stderr


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "plaudit.db"
    store.write_bytes(b"shopping list\n" * 100)
    refused_untouched(store)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "plaudit.db"
    other = apsw.Connection(str(store))
    other.execute("create table shopping (item)")
    other.close()
    refused_untouched(store)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "plaudit.db"
    with server_process(store):
        pass
    newer = apsw.Connection(str(store))
    newer.execute("pragma user_version = 9999")
    newer.execute("pragma wal_checkpoint(truncate)")
    newer.close()
    assert "newer" in refused_untouched(store)


def test_a_read_only_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "plaudit.db"
    with server_process(store):
        pass
    store.chmod(0o444)
    # The superuser may write to any file, so only the file's mode can be checked.
    assert "read-only" in refused_untouched(store)


def test_health_and_reflection_answer(tmp_path: Path) -> None:
    with server_process(tmp_path / "plaudit.db") as process, grpc.insecure_channel(process.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "plaudit.v1.FeedbackService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        for version in ("v1", "v1alpha"):
            method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            ask = channel.stream_stream(
                method,
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            [answer] = ask(iter([request]))
            names = {service.name for service in answer.list_services_response.service}
            assert "plaudit.v1.FeedbackService" in names
        assert reflection_pb2_grpc.ServerReflectionStub(channel)


def health(target: str, *flags: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "plaudit_server", "health", "--target", target, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.strip()


def test_health_is_asked_on_the_command_line(tmp_path: Path) -> None:
    with server_process(tmp_path / "plaudit.db") as running:
        target = running.target
        assert health(target) == (0, f"{target}: SERVING")
        assert health(target, "--service", "plaudit.v1.FeedbackService") == (0, f"{target}: SERVING")
        assert health(target, "--service", "no.Such") == (1, f"{target}: SERVICE_UNKNOWN")
    code, said = health(target, "--timeout", "0.5")
    assert code == 1
    assert said.startswith(f"{target}: no answer")


def test_a_server_that_stops_takes_calls_until_balancers_have_looked_away(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path / "plaudit.db", "127.0.0.1:0", "--connections-drain-delay-seconds", "3")
    with grpc.insecure_channel(process.target) as channel:
        service = FeedbackServiceStub(channel)
        watch = service.WatchFeedback(WatchFeedbackRequest(project="acme/chat", after_revision=0))
        next(watch)
        process.process.send_signal(signal.SIGTERM)
        while health(process.target) != (1, f"{process.target}: NOT_SERVING"):
            assert process.process.poll() is None
        request = CreateFeedbackRequest(project="acme/chat", feedback=Feedback(ref=REF, feedback_type="custom"))
        stored = service.CreateFeedback(request).feedback
        told = list(watch)
        assert stored.id in [change.feedback.id for response in told for change in response.changes]
        assert told[-1].revision == stored.revision
    assert process.process.wait(20) == 0
    process.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, number: signal.Signals) -> None:
    store = tmp_path / "plaudit.db"
    process = ServerProcess(store, "127.0.0.1:0", "--connections-drain-delay-seconds", "3600")
    with grpc.insecure_channel(process.target) as channel:
        request = CreateFeedbackRequest(project="acme/chat", feedback=Feedback(ref=REF, feedback_type="custom"))
        FeedbackServiceStub(channel).CreateFeedback(request)
    process.process.send_signal(number)
    process.logged(re.compile("(stopping)"))
    assert process.process.poll() is None
    assert process.stop(number) == 128 + number
    with server_process(store) as restarted, grpc.insecure_channel(restarted.target) as channel:
        assert FeedbackServiceStub(channel).CountFeedback(CountFeedbackRequest(project="acme/chat")).count == 1


def test_a_worker_whose_parent_has_gone_still_drains_at_its_first_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "plaudit_server", "serve", "--store", f"sqlite:{tmp_path / 'plaudit.db'}"]
    with subprocess.Popen(
        [*command, "--connections-drain-delay-seconds", "3600"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={LISTEN_VARIABLE: "127.0.0.1:0"},
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdout.readline()  # ready
        worker.stdin.close()
        assert b"stopping" in worker.stderr.readline()
        # A signal that the parent sent before it closed its end may be handled after that; it is still the first one.
        worker.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(1)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 128 + signal.SIGTERM


def test_reflection_is_off_when_told(tmp_path: Path) -> None:
    with server_process(tmp_path / "plaudit.db", "127.0.0.1:0", "--no-reflection") as running:
        with grpc.insecure_channel(running.target) as channel:
            call: Any = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            with pytest.raises(grpc.RpcError) as raised:
                list(call(iter([b""])))
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
