"""The README's blocks and the demo, run as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from plaudit_server.testing import RunningServer, server

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def _block(language: str, holding: str) -> str:
    [block] = [code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in code]
    return str(block)


def _run(command: list[str], running: RunningServer | None = None) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"PLAUDIT_TARGET": running.target} if running else {}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_shows_the_two_commands_and_ten_lines_of_python() -> None:
    first_screen = README[: README.index("\n## ")]

    assert first_screen.index("make run") < first_screen.index("make test") < first_screen.index("import plaudit")
    assert len([line for line in _block("python", "plaudit.init").splitlines() if line]) <= 11
    assert len(README.splitlines()) < 130


def test_readme_python_stores_and_finds_feedback() -> None:
    with server() as running:
        out = _run([sys.executable, "-W", "error", "-c", _block("python", "plaudit.init")], running).splitlines()

    assert re.fullmatch(r"[\d :.+-]+ wandb\.reaction\.1 \{'emoji': '👍'.*\}", out[0])
    assert "'note': 'Right, and short.'" in out[1]
    assert "{'score': 0.9}" in out[2]
    assert out[3] == "1 weave:///acme/chat/call/0192"
    assert len(out) == 4


def test_readme_python_in_an_event_loop_runs_as_it_stands(running: RunningServer) -> None:
    out = _run([sys.executable, "-W", "error", "-c", _block("python", "AsyncClient(")], running)

    assert out == "weave:///acme/chat/call/0193 🎉\n"


def test_readme_shell_stores_and_finds_feedback() -> None:
    with server() as running:
        out = _run(["bash", "-euc", _block("sh", "buf curl").replace("127.0.0.1:50051", running.target)])
        stored = running.client(project="acme/chat").get_feedback()

        assert [(item.feedback_type, item.payload) for item in stored] == [("correctness", {"score": 0.8})]
    # Once as the answer to the create, once as a row of the query.
    assert out.count('"payloadJson": "{\\"score\\": 0.8}"') == 2


def test_readme_command_line_finds_feedback() -> None:
    [command] = re.findall(r"`plaudit (query [^`]*)`", README)
    with server() as running:
        running.client("acme/chat").create({"ref": "urn:x", "feedback_type": "t", "payload": {"score": 0.8}})
        found = _run(["bash", "-euc", f"{sys.executable} -m plaudit {command}"], running)

    assert '"payload":{"score":0.8}' in found


def test_demo_tells_what_both_creators_said() -> None:
    out = _run([sys.executable, "-W", "error", "examples/demo.py"])

    assert out.count("  ana ") == 6
    assert out.count("judge-2") == 3
    assert "The judge's mean score: 0.57" in out
    assert "To look at first: weave:///acme/chat/call/0192-lawyer\n" in out
    assert "Liked: weave:///acme/chat/call/0192-capital\n" in out
