"""The process that a command runs in: whether it is the command's own, and others that do a part of its work."""

from __future__ import annotations

import json
import os
import sys
from importlib.abc import MetaPathFinder
from typing import Final, NoReturn

# With the same path: neither less than the command has found its modules in, nor more.
_START: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from plaudit._cli.{module} import main
main(sys.argv[1:])
"""

# What pyarrow imports wherever it is installed, and no command needs: 70 MiB.
_UNUSED: Final = ("numpy", "pandas")

# Where one of them is there already, a program or a test has called the command line.
_LOADED: Final = (*_UNUSED, "grpc", "pyarrow")

_owned: list[str] = []


class _Absent(MetaPathFinder):
    """Finds nothing, and lets nobody else find what is not used."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname in _UNUSED:
            raise ModuleNotFoundError(f"{fullname} is of no use to a command", name=fullname)


def own() -> None:
    """Say that the command line runs in this process, which ends with it; unless others have loaded something here."""
    _owned[:] = [sys.executable] if sys.modules.keys().isdisjoint(_LOADED) else []


def is_own() -> bool:
    """Whether this process may be replaced by another."""
    return bool(_owned and _owned[0]) and os.name == "posix"


def spare_memory() -> None:
    """In a process of our own, keep what no command needs from being imported, and Arrow from keeping what it frees."""
    if is_own():
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
        sys.meta_path.insert(0, _Absent())


def become(module: str, *arguments: str) -> NoReturn:
    """Let `main` of a module beside this one go on, in a process that holds nothing else, with the same number."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, _command(module, *arguments))


def run(module: str, *arguments: str) -> bool:
    """Run `main` of a module beside this one in another process, until it ends; whether it has succeeded."""
    import subprocess

    return subprocess.run(_command(module, *arguments), check=False).returncode == 0


def _command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-c", _START.format(module=module), json.dumps(sys.path), *arguments]
