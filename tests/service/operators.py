"""Requests to a server's admin ports."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from plaudit_server.config import Admin, Config
from plaudit_server.testing import RunningServer

ADMIN = Admin(listen="127.0.0.1:0", grpc_listen="127.0.0.1:0")


def with_admin(config: Config | None = None) -> Config:
    """A configuration with admin ports on free port numbers."""
    return replace(config or Config(), admin=ADMIN)


class Answer(NamedTuple):
    status: int
    text: str


def page(address: str, path: str) -> Answer:
    """The answer of `http://address/path`."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as response:
            return Answer(response.status, response.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode())


class Scraped:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels, among others; KeyError when there is none."""
        found = [
            value
            for (other, pairs), value in self.samples.items()
            if other == name and labels.items() <= dict(pairs).items()
        ]
        if not found:
            raise KeyError(name)
        return sum(found)

    def rows(self, stage: str, command: str = "create") -> float:
        return self.value(f"plaudit_rows_{stage}_total", command=command)

    def calls(self, method: str, code: str = "OK") -> float:
        """The number of calls that ended with this code; 0 when none has."""
        labels: Mapping[str, str] = {"rpc_method": method, "rpc_response_status_code": code}
        try:
            return self.value("rpc_server_call_duration_seconds_count", **labels)
        except KeyError:
            return 0.0


def scrape(running: RunningServer) -> Scraped:
    """The text that Prometheus would read."""
    answer = page(running.server.admin.addresses["admin.listen"], "/metrics")
    assert answer.status == 200
    return Scraped(answer.text)
