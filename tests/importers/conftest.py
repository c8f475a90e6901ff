"""A server for the importers' tests, and the command line on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click
import grpc
import pytest
from click.testing import CliRunner

import plaudit
import plaudit_server.testing
from plaudit._cli.main import cli
from plaudit.v1 import FeedbackServiceStub, QueryFeedbackRequest
from tests.importers.reverse import stored


class Done(NamedTuple):
    """How a command ended, and all that it wrote."""

    exit_code: int
    output: str


class Store(NamedTuple):
    """A project of a server."""

    target: str
    project: str

    def run(self, *arguments: str) -> Done:
        """`plaudit import` with these arguments, into the project."""
        variables = {"PLAUDIT_TARGET": self.target, "PLAUDIT_PROJECT": self.project, "PLAUDIT_CONFIG_FILE": os.devnull}
        done = CliRunner().invoke(cli, ["import", *arguments], env=variables, standalone_mode=False)
        if isinstance(done.exception, click.UsageError):
            return Done(2, done.exception.message)
        if done.exception is not None:
            raise done.exception
        return Done(int(done.return_value or 0), done.output)

    @property
    def records(self) -> list[Any]:
        """What is stored."""
        with plaudit.Client(self.project, target=self.target) as client:
            return [stored(record.payload_json, record.to_dict()) for record in client.get_feedback()]

    @property
    def revision(self) -> int:
        """How often the project has changed."""
        with grpc.insecure_channel(self.target) as channel:
            request = QueryFeedbackRequest(project=self.project, page_size=1)
            return FeedbackServiceStub(channel).QueryFeedback(request).revision


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """A server for the tests of a module, each of which has a project of its own."""
    with plaudit_server.testing.server() as running:
        yield running.target


@pytest.fixture
def new_store(target: str) -> Callable[[str], Store]:
    """A project, by its name."""
    return lambda project: Store(target, project)
