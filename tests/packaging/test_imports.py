"""What importing the client imports: little, and nothing of the server."""

from __future__ import annotations

import json
import subprocess
import sys

_HEAVY = {"apsw", "grpc", "google.protobuf", "numpy", "pandas", "plaudit_server", "rich", "uvloop"}
_OF_THE_SERVER = {"apsw", "click", "emoji", "grpc_health", "grpc_reflection", "pandas", "plaudit_server", "uvloop"}


def _modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_import_plaudit_loads_nothing_heavy() -> None:
    assert _modules_after("import plaudit") & _HEAVY == set()


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
