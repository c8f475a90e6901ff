"""Every command of docs/cli.md and docs/export.md runs, one after the other, against a server."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from plaudit._cli.main import COMMANDS
from plaudit_server.testing import server
from tests.client.commands import Done, Plaudit

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_line(run: Plaudit, line: str) -> None:
    """Run a line of a shell, of which this knows pipes, a file for the output, and what may fail."""
    line, _, may_be = line.partition(" || test $? -eq ")
    redirected = re.fullmatch(r"(.*) > ([\w.]+)", line)
    line, to = redirected.groups() if redirected else (line, None)
    done = Done(0, "", "")
    for command in line.split(" | "):
        name, *arguments = shlex.split(command)
        assert name == "plaudit", line
        done = run(*arguments, stdin=done.out)
        assert done.code == int(may_be or 0), (line, done)
    if to:
        Path(to).write_text(done.out, "utf-8")


@pytest.mark.parametrize("page", ["cli.md", "export.md"])
def test_commands_of_the_page(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with server() as running:
        run = Plaudit(
            monkeypatch,
            PLAUDIT_TARGET=running.target,
            PLAUDIT_PROJECT="acme/chat",
            PLAUDIT_CONFIG_FILE=str(tmp_path / "config.toml"),
        )
        if page == "export.md":
            for number in range(4):
                run.ok("add", f"urn:{number}", "correctness" if number else "other", f"score:=0.{number}")
        blocks = BLOCK.findall((DOCS / page).read_text("utf-8"))
        assert len(blocks) > 3
        for language, block in blocks:
            if language == "python":
                names: dict[str, Any] = {}
                exec(compile(block, page, "exec"), names)
                names["client"].close()
                continue
            for line in block.splitlines():
                run_line(run, line)


def test_the_page_names_every_command() -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"`{name}" not in text] == []
