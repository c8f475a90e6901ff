"""Arguments come before the environment, the environment before the defaults; and the default client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import plaudit
from plaudit import _default
from plaudit._settings import Settings


@pytest.fixture(autouse=True)
def no_default_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    _default.reset()
    for name in ("PLAUDIT_TARGET", "PLAUDIT_PROJECT", "PLAUDIT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield
    _default.reset()


def test_defaults() -> None:
    assert Settings.resolve(environment={}) == Settings("localhost:50051", None, None, 10.0)


def test_environment_fills_what_is_left_out() -> None:
    environment = {"PLAUDIT_TARGET": "h:1", "PLAUDIT_PROJECT": "a/b", "PLAUDIT_API_KEY": " key\n"}

    assert Settings.resolve(environment=environment) == Settings("h:1", "a/b", "key")
    assert Settings.resolve("c/d", "i:2", "other", 3.0, environment) == Settings("i:2", "c/d", "other", 3.0)


def test_empty_variable_is_not_set() -> None:
    assert Settings.resolve(environment={"PLAUDIT_TARGET": "", "PLAUDIT_PROJECT": " "}) == Settings()


def test_key_is_never_shown() -> None:
    assert "secret" not in repr(Settings(api_key="secret"))
    with pytest.raises(ValueError, match="printable ASCII") as raised:
        Settings(api_key="secret\n")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("project", ["", "chat", "/chat", "acme/", "a/b/c", "/"])
def test_malformed_project(project: str) -> None:
    with pytest.raises(ValueError, match="entity/project"):
        plaudit.init(project)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
def test_malformed_timeout(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        plaudit.init("acme/chat", timeout=timeout)


def test_init_makes_the_client_of_everything() -> None:
    client = plaudit.init("acme/chat", target="localhost:1")

    assert plaudit.FeedbackQuery("acme", "chat", None).client is client
    assert plaudit.RefFeedbackQuery("urn:x").client is client
    assert plaudit.RefFeedbackQuery("urn:x").project_id == "acme/chat"
    assert client.target == "localhost:1"


def test_client_of_the_environment_is_made_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    query = plaudit.RefFeedbackQuery("urn:x")
    monkeypatch.setenv("PLAUDIT_TARGET", "localhost:2")
    monkeypatch.setenv("PLAUDIT_PROJECT", "e/p")

    assert (query.client.target, query.project_id) == ("localhost:2", "e/p")
    assert plaudit.FeedbackQuery("a", "b", None).client is query.client


def test_clients_given_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    default = plaudit.init("acme/chat")
    own = plaudit.Client("x/y")

    assert plaudit.FeedbackQuery("a", "b", None, client=own).client is own
    assert plaudit.init("x/y") is not default


@pytest.mark.parametrize("client", [plaudit.Client, plaudit.AsyncClient, plaudit.init])
@pytest.mark.parametrize("target", ["", "https://host/path", "localhost"])
def test_malformed_target(client: Any, target: str) -> None:
    with pytest.raises(ValueError, match=r"address|empty"):
        client(target=target)
