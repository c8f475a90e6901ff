"""What the wheel contains, and what it requires."""

from __future__ import annotations

import re
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=ROOT, check=True)
    [path] = out.glob("plaudit-*.whl")
    return ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def test_every_module_contract_file_and_type_marker_is_in_the_wheel(wheel: ZipFile) -> None:
    expected = {f"plaudit/v1/{path.name}" for path in (ROOT / "proto/plaudit/v1").iterdir()}
    # The web components are kept beside the npm packages, and reached by a link.
    expected |= {f"plaudit_server/web/embed/{path.name}" for path in (ROOT / "client/elements/src").iterdir()}
    for package in (ROOT / "client/plaudit", ROOT / "server/plaudit_server"):
        expected |= {
            path.relative_to(package.parent).as_posix()
            for pattern in ("*.py", "*.pyi", "*.sql", "py.typed")
            for path in package.rglob(pattern)
        }
    packaged = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert {"plaudit/v1/feedback.proto", "plaudit/py.typed", "plaudit_server/py.typed"} <= expected
    assert packaged == expected


def test_contract_in_the_wheel_is_that_of_the_tree(wheel: ZipFile) -> None:
    for path in (ROOT / "proto/plaudit/v1").iterdir():
        assert wheel.read(f"plaudit/v1/{path.name}") == path.read_bytes()


def test_client_asks_for_nothing_of_the_server(metadata: Message) -> None:
    requirements: list[str] = metadata.get_all("Requires-Dist", [])
    base = {re.split(r"[^\w.-]", line)[0] for line in requirements if "extra ==" not in line}

    assert base == {"click", "grpcio", "grpcio-status", "googleapis-common-protos", "protobuf", "rich"}


def test_licence_and_oldest_python_are_declared(metadata: Message, wheel: ZipFile) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_command_is_an_entry_point(wheel: ZipFile) -> None:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]

    points = wheel.read(name).decode()
    assert "plaudit-server = plaudit_server.__main__:main" in points
    assert "plaudit = plaudit._cli.main:main" in points
    assert "[pytest11]\nplaudit.testing = plaudit.testing" in points


@pytest.mark.parametrize("missing", ["click", "apsw"])
def test_command_without_the_servers_packages_says_what_to_install(missing: str) -> None:
    # A module that is None in sys.modules is not found.
    code = f"import sys; sys.modules[{missing!r}] = None; from plaudit_server.__main__ import main; main()"
    arguments = ["serve", "--store", "sqlite::memory:", "--listen", "127.0.0.1:0"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr == f"plaudit-server needs {missing}, which is not installed: pip install 'plaudit[server]'\n"
