"""What importing the client imports: little, and nothing of the server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_HEAVY = {"apsw", "grpc", "google.protobuf", "numpy", "pandas", "plaudit_server", "rich", "uvloop"}
_OF_THE_SERVER = {"apsw", "click", "emoji", "grpc_health", "grpc_reflection", "pandas", "plaudit_server", "uvloop"}


def _modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_import_plaudit_loads_nothing_heavy() -> None:
    assert _modules_after("import plaudit") & _HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["export", "--help"], ["context", "list"]])
def test_the_command_line_starts_with_little(arguments: list[str]) -> None:
    """Help, completion and contexts need the standard library and click: so they take less than 80 ms of CPU."""
    code = f"""
import sys
from plaudit._cli.main import main
sys.argv = ["plaudit", *{arguments!r}]
sys.stdout = open("/dev/null", "w")
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
sys.stdout = sys.__stdout__
"""
    modules = _modules_after(code)

    assert "click" in modules
    assert (
        modules & (_HEAVY | {"google", "plaudit._core", "plaudit._sync", "plaudit.v1", "subprocess", "asyncio"})
        == set()
    )
    ours = {name for name in modules if name.startswith("plaudit._cli.")}
    assert len(ours) < 8, "each command is imported when it runs"


def test_every_public_name_is_there_without_the_server_installed() -> None:
    code = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {_OF_THE_SERVER!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import plaudit, plaudit.v1
for name in plaudit.__all__:
    getattr(plaudit, name)
"""
    modules = _modules_after(code)

    assert "plaudit.v1" in modules
    assert modules & _OF_THE_SERVER == set()


def test_a_table_is_read_without_the_library_that_writes_it_and_written_without_grpc() -> None:
    """Together they would take twice the memory."""
    assert _modules_after("import plaudit._sync.export, plaudit._export.tables") & {"pyarrow", "numpy"} == set()
    heavy = {"grpc", "google.protobuf", "numpy", "pandas", "plaudit._core.model"}
    assert _modules_after("import plaudit._cli.finishing, plaudit._export.finish") & heavy == set()
