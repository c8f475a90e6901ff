"""Fixtures of pytest: a real server for each test, and clients of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from plaudit import AsyncClient, Client
    from plaudit_server.testing import RunningServer


@pytest.fixture
def plaudit_server() -> Iterator[RunningServer]:
    """A real server on a free port of this machine, with an empty store, for one test; `target` is its address."""
    try:
        testing = import_module("plaudit_server.testing")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("plaudit"):
            raise
        pytest.fail(f"{error.name} is not installed, which a server needs: pip install 'plaudit[server]'", False)
    with testing.server() as running:
        yield running


@pytest.fixture
def plaudit_project() -> str:
    """The project of the clients: `entity/project`. Define a fixture with this name to choose another one."""
    return "test/project"


@pytest.fixture
def plaudit_environment(plaudit_server: RunningServer, plaudit_project: str) -> Iterator[None]:
    """What reaches the server and the project without a client: the default clients, and processes that are started.

    PLAUDIT_TARGET and PLAUDIT_PROJECT name them, and no other PLAUDIT_ variable is set. The default client is made
    anew, and forgotten after the test.
    """
    from plaudit._default import reset

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PLAUDIT_")]:
            patch.delenv(name)
        patch.setenv("PLAUDIT_TARGET", plaudit_server.target)
        patch.setenv("PLAUDIT_PROJECT", plaudit_project)
        reset()
        try:
            yield
        finally:
            reset()


@pytest.fixture
def plaudit_client(plaudit_environment: None) -> Iterator[Client]:
    """A client of the server, with the test's project."""
    from plaudit import Client

    with Client() as client:
        yield client


@pytest.fixture
def plaudit_async_client(plaudit_environment: None) -> AsyncClient:
    """An AsyncClient of the server, with the test's project, for the event loop that uses it first.

    Its connections end with that loop; `async with` closes them earlier.
    """
    from plaudit import AsyncClient

    return AsyncClient()
