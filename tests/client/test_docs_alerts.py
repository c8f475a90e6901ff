"""The recipes of docs/alerts.md raise an alarm for a mean that falls and a share that drops, and none before that."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import plaudit
from plaudit_server.testing import server
from tests.client.commands import Plaudit

PROJECT = "acme/shop"
PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(cron|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[plaudit.Client]:
    with server() as running:
        monkeypatch.setenv("PLAUDIT_TARGET", running.target)
        yield running.client(project=PROJECT)


def scores(model: str, score: float, age: timedelta, count: int = 25) -> list[dict[str, Any]]:
    record = {"ref": "urn:x", "feedback_type": "score", "payload": {"model": model, "score": score}}
    return [record | {"created_at": datetime.now(UTC) - age} for _ in range(count)]


def give_thumbs(client: plaudit.Client, up: int, down: int) -> None:
    # Of many users, on many answers.
    emoji = ["👍"] * up + ["👎"] * down
    client.create_batch(
        {"ref": f"urn:{n}", "feedback_type": "wandb.reaction.1", "payload": {"emoji": each}}
        for n, each in enumerate(emoji)
    )


def commands(block: str) -> list[list[str]]:
    """The commands of a crontab."""
    lines = [line for line in block.splitlines() if "plaudit" in line and line[0] in "*0123456789"]
    return [shlex.split(line.split(None, 5)[5]) for line in lines]


def test_recipes(
    client: plaudit.Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (_, cron), (_, fallen), (_, watching) = BLOCKS
    here = {"PLAUDIT_TARGET": os.environ["PLAUDIT_TARGET"], "PLAUDIT_PROJECT": PROJECT}
    run = Plaudit(monkeypatch, **here, PLAUDIT_CONFIG_FILE=str(tmp_path / "none.toml"))
    client.import_records([*scores("a", 0.9, timedelta(days=3)), *scores("b", 0.9, timedelta(days=3))])
    client.import_records(scores("b", 0.85, timedelta(hours=1)))
    give_thumbs(client, 25, 0)

    assert [run.ok(*command[1:]) for command in commands(cron)] == ["", ""]
    names: dict[str, Any] = {}
    exec(compile(fallen, "docs/alerts.md", "exec"), names)
    assert capsys.readouterr().out == ""

    client.import_records(scores("a", 0.5, timedelta(hours=1)))
    give_thumbs(client, 0, 15)

    low, few = [run.ok(*command[1:]) for command in commands(cron)]
    assert (low.count("\n"), '"payload.model": "a"' in low, '"score": 0.5' in low) == (1, True, True)
    assert (few.count("\n"), '"up": 0.625' in few) == (1, True)
    capsys.readouterr()
    exec(compile(fallen, "docs/alerts.md", "exec"), names)
    assert capsys.readouterr().out == "a fell from 0.90 to 0.50\n"
    exec(compile(watching, "docs/alerts.md", "exec"), names)
    assert capsys.readouterr().out == "only 62% of 40 thumbs are up\n"
    names["client"].close()
