"""The path of a create, from the socket to the disk: the files that the documents name are entered in that order."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import pytest

import plaudit_server
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub, GetServerInfoRequest
from plaudit_server.auth.keys import new_key
from plaudit_server.auth.keystore import StoredKeys
from plaudit_server.config import Auth, Config
from plaudit_server.config.grants import Role
from plaudit_server.store.url import opened
from plaudit_server.testing import server
from tests.service.secured import bearer

PACKAGE = f"{Path(plaudit_server.__file__).parent}/"
ROOT = Path(__file__).parents[2]
DOCUMENTS = ("CONTRIBUTING.md", "docs/adr/0022-folders-by-resource-and-one-declaration-for-each-rpc.md")


class Entered:
    """The files of the server's package in which functions were called, in the order of their first call."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.recording = False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if self.recording and event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.files.setdefault(frame.f_code.co_filename.removeprefix(PACKAGE))


@contextmanager
def profiled() -> Iterator[Entered]:
    """Follow the threads that are started in the block."""
    entered = Entered()
    threading.setprofile(entered)
    try:
        yield entered
    finally:
        threading.setprofile(None)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files that one create enters, on SQLite with API keys."""
    file = tmp_path_factory.mktemp("path") / "plaudit.db"
    text, key = new_key("writer", Role.WRITER, ("*",), time.time_ns() // 1000)

    async def prepare() -> None:
        async with opened(f"sqlite:{file}") as store:
            await StoredKeys(store).add(key)

    asyncio.run(prepare())
    # Keys are not read again while the create runs.
    config = Config(auth=Auth(api_keys=True, key_refresh_seconds=3600), audit_log="off")
    feedback = Feedback(
        id="0190a0a0-0000-7000-8000-000000000001",
        ref="weave:///acme/chat/call/1",
        feedback_type="wandb.note.1",
        payload_json='{"note": "x"}',
    )
    with profiled() as entered, server(file, config) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        stub.GetServerInfo(GetServerInfoRequest(), metadata=bearer(text))
        entered.recording = True
        stub.CreateFeedback(CreateFeedbackRequest(project="acme/chat", feedback=feedback), metadata=bearer(text))
        entered.recording = False
    return list(entered.files)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_documented_path_is_the_one_that_is_taken(path: list[str], document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    found = re.search(r"from the socket to the disk[^:]*:\s+(.*?`)[.;]", text, re.DOTALL)
    assert found is not None
    documented = re.findall(r"`([\w/]+\.py)`", found[1])
    assert len(documented) >= 10
    names = [Path(file).name for file in documented]
    assert len(set(names)) == len(names), "a name twice"
    assert [file for file in path if file in documented] == documented
