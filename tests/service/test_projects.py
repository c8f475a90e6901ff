"""ListProjects and GetCaller: what a caller may read, page by page, and what it is told of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from plaudit_server.auth.keys import new_key
from plaudit_server.auth.keystore import StoredKeys
from plaudit_server.config import Auth, Config
from plaudit_server.config.grants import Role
from plaudit_server.store.base import SqlEngine
from plaudit_server.testing import RunningServer
from tests.service.web import call, until, web_server

SERVICE = "/plaudit.v1.ProjectService/"
NAMES = ["acme/a", "acme/b", "acme/zé", "acme2/a", "b/Chat", "b/chat-2", "élan/x"]


def fill(running: RunningServer, **headers: str) -> None:
    for name in NAMES:
        feedback = {"ref": "urn:x", "feedbackType": "a"}
        stored = call(running, "CreateFeedback", {"project": name, "feedback": feedback}, **headers)
        assert stored.status == 200


def listed(running: RunningServer, request: dict[str, Any], **headers: str) -> list[str]:
    """The names, by all pages of a size."""
    names: list[str] = []
    token = ""
    while True:
        answer = call(running, SERVICE + "ListProjects", {**request, "pageToken": token}, **headers).json
        names += [project["name"] for project in answer.get("projects", [])]
        token = answer.get("nextPageToken", "")
        if not token:
            return names


@pytest.fixture(scope="module")
def secured() -> Iterator[tuple[RunningServer, dict[str, str]]]:
    grants = {"all": ["*"], "acme": ["acme/*"], "odd": ["*/a", "b/chat-2"], "none": []}
    with web_server(Config(auth=Auth(api_keys=True, key_refresh_seconds=0.05))) as running:
        assert isinstance(running.server.store, SqlEngine)
        texts = {}
        for name, projects in grants.items():
            role = Role.WRITER if name == "all" else Role.READER
            text, key = new_key(name, role, projects or ["nothing/here"], 1, 4_000_000_000_000_000)
            running.run(StoredKeys(running.server.store).add(key))
            texts[name] = f"Bearer {text}"
        until(lambda: call(running, SERVICE + "GetCaller", {}, authorization=texts["none"]).status == 200)
        fill(running, authorization=texts["all"])
        yield running, texts


@pytest.mark.parametrize(("who", "names"), [
    ("all", NAMES), ("acme", NAMES[:3]), ("odd", ["acme/a", "acme2/a", "b/chat-2"]), ("none", []),
])  # fmt: skip
@pytest.mark.parametrize("size", [0, 1, 2, 3, 8])
def test_what_a_caller_may_read(secured: Any, who: str, names: list[str], size: int) -> None:
    running, keys = secured
    assert listed(running, {"pageSize": size}, authorization=keys[who]) == names


def test_names_that_contain_a_text_in_any_case(secured: Any) -> None:
    running, keys = secured
    assert listed(running, {"nameContains": "CHAT"}, authorization=keys["all"]) == ["b/Chat", "b/chat-2"]
    assert listed(running, {"nameContains": "É", "pageSize": 1}, authorization=keys["all"]) == ["acme/zé", "élan/x"]
    assert listed(running, {"nameContains": "%"}, authorization=keys["all"]) == []


def test_a_token_is_of_one_caller_and_one_question(secured: Any) -> None:
    running, keys = secured
    path = SERVICE + "ListProjects"
    token = call(running, path, {"pageSize": 1}, authorization=keys["all"]).json["nextPageToken"]
    for who, request in (("acme", {}), ("all", {"nameContains": "a"})):
        answer = call(running, path, {**request, "pageToken": token}, authorization=keys[who])
        assert answer.json["code"] == "invalid_argument"
    assert call(running, path, {"pageSize": -1}, authorization=keys["all"]).status == 400
    assert call(running, path, {"nameContains": "x" * 129}, authorization=keys["all"]).status == 400


def test_a_caller_and_its_grants(secured: Any) -> None:
    running, keys = secured
    answer = call(running, SERVICE + "GetCaller", {}, authorization=keys["acme"]).json
    assert answer == {
        "name": "acme", "credential": "api_key", "grants": [{"role": "reader", "projects": ["acme/*"]}],
        "expiresAt": "2096-10-02T07:06:40Z",
    }  # fmt: skip
    assert call(running, SERVICE + "GetCaller", {}).status == 401


def test_without_authentication_everything_is_listed_and_nobody_has_grants() -> None:
    with web_server() as running:
        assert listed(running, {}) == []
        fill(running)
        assert listed(running, {}) == NAMES
        [first] = call(running, SERVICE + "ListProjects", {"nameContains": "acme/a"}).json["projects"]
        assert first["revision"] == "1"
        assert first["lastChangedAt"] > "2020"
        assert call(running, SERVICE + "GetCaller", {}).json == {"name": "anonymous", "credential": "none"}
