"""Runs the command line in this process, as cheaply as a function, or in one of its own on a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from typing import NamedTuple

import pytest

from plaudit._cli import options
from plaudit._cli.main import main


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Plaudit:
    """The command line with an environment of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith("PLAUDIT_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str, stdin: str = "") -> Done:
        """Run a command whose output is a pipe."""
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["plaudit", *arguments])
            patch.setattr(options, "_GIVEN", [options.Flags()])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode("utf-8", "surrogateescape"))))
            out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True)
            err = io.StringIO()
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as ended:
                main()
            out.flush()
            text = out.buffer.getvalue().decode()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, text, err.getvalue())

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that succeeds; returns what it prints."""
        done = self(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done.out


def on_a_terminal(*arguments: str, typed: str = "", **environment: str) -> Done:
    """Run a command in a process whose input and output are a terminal of 100 columns; `err` is empty."""
    parent, child = pty.openpty()
    env = {**os.environ, "COLUMNS": "100", "TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "plaudit", *arguments], stdin=child, stdout=child, stderr=child, env=env, close_fds=True
    )
    os.close(child)
    os.write(parent, typed.encode())
    output = b""
    while process.poll() is None or select.select([parent], [], [], 0)[0]:
        if select.select([parent], [], [], 0.05)[0]:
            try:
                output += os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
    os.close(parent)
    return Done(process.wait(), output.decode(), "")
