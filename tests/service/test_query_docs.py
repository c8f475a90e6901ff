"""Every example of docs/query.md gives the records that the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import plaudit
from plaudit_server.testing import RunningServer

PAGE = (Path(__file__).parents[2] / "docs" / "query.md").read_text()
PROJECT = "acme/query-docs"


class Example(NamedTuple):
    language: str
    kind: str
    order_by: tuple[str, ...]
    names: list[str]
    text: str


def examples() -> list[Example]:
    found = []
    for language, info, text in re.findall(
        r"^```(json|python|text) ([^\n]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    ):
        kind, _, names = info.partition(":")
        order_by: tuple[str, ...] = ()
        if kind.startswith("order_by"):
            order_by = tuple(re.findall(r'"([^"]+)"', kind))
            kind = "order_by"
        found.append(Example(language, kind, order_by, [n.strip() for n in names.split(",") if n.strip()], text))
    return found


EXAMPLES = [example for example in examples() if example.kind != "records"]


@pytest.fixture(scope="module")
def names(running: RunningServer) -> dict[str, str]:
    """The name of each stored record, by its id."""
    [records] = [json.loads(example.text) for example in examples() if example.kind == "records"]
    client = running.client(PROJECT)
    return {client.create({k: v for k, v in r.items() if k != "name"}).id: r["name"] for r in records}


def query_of(example: Example) -> Any:
    if example.language == "json":
        return json.loads(example.text)
    if example.language == "text":
        return plaudit.Query.from_text(example.text)
    return eval(example.text, {"field": plaudit.field})


def test_the_page_has_examples_of_every_kind() -> None:
    assert {(example.language, example.kind) for example in EXAMPLES} == {
        ("json", "query"),
        ("python", "query"),
        ("json", "refused"),
        ("python", "order_by"),
        ("text", "query"),
        ("text", "refused"),
    }
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: " ".join(example.text.split())[:60])
def test_example(example: Example, running: RunningServer, names: dict[str, str]) -> None:
    client = running.client(PROJECT)
    if example.kind == "refused":
        with pytest.raises(plaudit.InvalidArgumentError):
            client.get_feedback(query_of(example)).execute()
        return
    query = query_of(example)
    rows = client.get_feedback(query, order_by=example.order_by or None)
    assert [names[row.id] for row in rows] == example.names
