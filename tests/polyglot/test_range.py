"""The range of dependencies is true: the installed wheel with the oldest and the newest versions that it allows;
and what they take on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plaudit_server.testing import server
from tests.bench.sizes import installed_mb

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
_ASK = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"

pytestmark = pytest.mark.timeout(600)


def _interpreter(version: str) -> str | None:
    """A Python of this version that can make virtual environments: this one, one on the PATH, or one of pyenv."""
    candidates = [sys.executable, shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], check=True, capture_output=True, text=True).stdout.strip()
        candidates += sorted(map(str, Path(root).glob(f"versions/{version}*/bin/python{version}")))
    for candidate in filter(None, candidates):
        asked = subprocess.run([candidate, "-c", _ASK], check=False, capture_output=True, text=True)
        if asked.stdout.strip() == version:
            return candidate
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=ROOT, check=True)
    [path] = out.glob("plaudit-*.whl")
    return path


@pytest.mark.parametrize("end", ["oldest", "newest"])
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_alone_talks_to_the_server(version: str, end: str, wheel: Path, tmp_path: Path) -> None:
    interpreter = _interpreter(version)
    if interpreter is None:
        pytest.skip(f"Python {version} is left out: there is none")
    subprocess.run([interpreter, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    constraints = ["--constraint", str(ROOT / "constraints-floor.txt")] if end == "oldest" else []
    # The constraints of the calling make must not pin what should be the newest.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_CON", "PYTHON"))}
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *constraints, wheel],
        check=True,
        env=environment,
    )
    with server() as running:
        said = subprocess.run(
            [python, "-I", "-W", "error", Path(__file__).with_name("talk.py"), running.target, "acme/range"],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
        )

    assert said.returncode == 0, said.stderr
    ran_on, grpcio, protobuf = said.stdout.split()
    assert ran_on == version
    floor = dict(line.split("==") for line in (ROOT / "constraints-floor.txt").read_text().splitlines()[1:])
    # The newest versions must not be the oldest by accident.
    assert ((grpcio, protobuf) == (floor["grpcio"], floor["protobuf"])) == (end == "oldest")


def test_the_installed_server_has_less_than_90_megabytes(wheel: Path, tmp_path: Path) -> None:
    assert installed_mb(wheel, "server", tmp_path).value < 90
