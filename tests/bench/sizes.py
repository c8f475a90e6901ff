"""How much disk an installation takes: the wheel with its dependencies, in an empty directory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.bench.echo import ROOT
from tests.bench.figures import Contender, Family, Figure, NotMeasured, Sample, Settings, Target, value
from tests.bench.places import store_directory


def installed_mb(wheel: Path, extra: str, directory: Path) -> Sample:
    """Megabytes (10⁶) on disk of the wheel and its dependencies, bytecode included; pip itself is not in it."""
    target = directory / (extra or "client")
    requirement = f"plaudit{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}"
    _run("-m", "pip", "install", "--quiet", "--target", str(target), "-c", str(ROOT / "constraints.txt"), requirement)
    return Sample(sum(path.lstat().st_blocks * 512 for path in target.rglob("*")) / 1e6)


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"{' '.join(command[:3])} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A wheel of this tree."""
    with store_directory(settings) as directory:
        _run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT))
        [wheel] = directory.glob("*.whl")
        yield [
            Contender("client", "MB", partial(installed_mb, wheel, "", directory)),
            Contender("server", "MB", partial(installed_mb, wheel, "server", directory)),
        ]


FAMILY = Family(
    "sizes",
    (
        Figure("size-client", "installed size of the client", ("client",), value("client"), Target(45, "MB")),
        Figure("size-server", "installed size of the server", ("server",), value("server"), Target(90, "MB")),
    ),
    contenders,
    rounds=1,
)
