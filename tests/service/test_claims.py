"""One server at a time serves a SQLite file; and a key that is revoked ends the streams that were opened with it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

import plaudit_server.testing
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub, WatchFeedbackRequest
from plaudit_server.auth.keys import new_key
from plaudit_server.config import Config
from plaudit_server.config.grants import Role
from plaudit_server.config.sections import Auth
from plaudit_server.store.base import StoreError
from tests.keys import opened_keys

PROJECT = "acme/chat"


def test_a_second_server_on_one_file_says_so_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "plaudit.db"
    with plaudit_server.testing.server(path) as first:
        with pytest.raises(StoreError, match="is served by another process"), plaudit_server.testing.server(path):
            pass
        assert first.client(PROJECT).ref("urn:x").add("t")
        # The commands beside a server go on.
        command = [sys.executable, "-m", "plaudit_server", "keys", "list", "--store", f"sqlite:{path}"]
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    with plaudit_server.testing.server(path) as again:
        assert again.client(PROJECT).count() == 1


def test_a_revoked_key_ends_a_watch_that_was_opened_with_it(tmp_path: Path) -> None:
    path = tmp_path / "plaudit.db"
    now = time.time_ns() // 1000
    (text, key), (other_text, other) = (new_key(name, Role.WRITER, ("*",), now) for name in ("ana", "ben"))
    with opened_keys(f"sqlite:{path}") as keys:
        keys.add(key)
        keys.add(other)
    config = Config(auth=Auth(api_keys=True, key_refresh_seconds=0.1))
    with plaudit_server.testing.server(path, config) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        watch = stub.WatchFeedback(
            WatchFeedbackRequest(project=PROJECT), metadata=(("authorization", f"Bearer {text}"),)
        )
        next(watch)
        with opened_keys(f"sqlite:{path}") as keys:
            keys.revoke(key.id, now)
        time.sleep(1.2)  # a stream is asked at most once a second

        def create() -> None:
            stub.CreateFeedback(
                CreateFeedbackRequest(project=PROJECT, feedback=Feedback(ref="urn:x", feedback_type="t")),
                metadata=(("authorization", f"Bearer {other_text}"),),
            )

        create()
        with pytest.raises(grpc.RpcError) as caught:
            list(watch)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
