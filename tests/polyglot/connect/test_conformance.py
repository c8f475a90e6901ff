"""Connect's own conformance suite against the HTTP port: every case of HTTP/1.1, in both protocols, counted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.polyglot.connect import protos

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build/polyglot/connect"
MODULE = "connectrpc.com/conformance"
VERSION = "v1.0.7"
CASES = 1396

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def suite() -> Path:
    """The suite's program; built once, and kept."""
    program = BUILD / VERSION / "connectconformance"
    if not program.exists():
        environment = {**os.environ, "GOBIN": str(program.parent)}
        package = f"{MODULE}/cmd/connectconformance@{VERSION}"
        subprocess.run(["go", "install", package], env=environment, check=True)
    return program


@pytest.fixture(scope="module")
def descriptors() -> Path:
    """The suite's messages, as descriptors."""
    found = subprocess.run(
        ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"], capture_output=True, text=True, check=True
    )
    into = BUILD / "messages.binpb"
    into.parent.mkdir(parents=True, exist_ok=True)
    protos.build(Path(json.loads(found.stdout)["Dir"], "proto"), into)
    return into


def test_every_case(suite: Path, descriptors: Path) -> None:
    server = [sys.executable, "-m", "tests.polyglot.connect.server", str(descriptors)]
    command = [str(suite), "--conf", str(HERE / "features.yaml"), "--mode", "server", "--", *server]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    output = run.stdout + run.stderr
    assert run.returncode == 0, output[-5000:]
    passed = re.search(r"^(\d+) passed, 0 failed$", output, re.MULTILINE)
    assert passed is not None, output[-5000:]
    assert int(passed[1]) == CASES
