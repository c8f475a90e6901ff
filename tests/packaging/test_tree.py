"""What must not be in a public tree, and what its documents must get right."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from plaudit.v1 import ErrorReason

ROOT = Path(__file__).parents[2]
# What the tools create; used only for a tree that is not a git checkout.
_LEFT_BEHIND = re.compile(
    r"\.git|\.venv.*|build|dist|node_modules|target|\..*_cache|\.hypothesis|__pycache__|plaudit\.db.*"
)

# Written in pieces, so that this file passes its own test.
_MACHINE_PATH = re.compile(r"(?:^|[^\w.])/(?:work|farm|root|home|Users|tmp/(?:dev|gen))" + "/")
_REGISTRY_HOST = re.compile(
    "|".join(
        (
            r"pypi\.o" + "rg",
            r"pythonhosted\.o" + "rg",
            r"registry\.npmjs",
            r"rubygems\.o" + "rg",
            r"crates\.i" + "o",
            r"proxy\.golang",
            r"maven\.o" + "rg",
            r"deb\.debian",
        )
    )
)
_HOLE = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|XX" + r"X)\b|pytest\.mark\.xf" + "ail")


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if not _LEFT_BEHIND.fullmatch(path.name):
            yield from _walk(path) if path.is_dir() else (path,)


@cache
def _files() -> dict[str, str]:
    """The text of every file that is, or would be, in the repository, by its name in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.split("\0")[:-1] if listed.returncode == 0 else []
    paths = [ROOT / name for name in names] or list(_walk(ROOT))
    texts = {}
    for path in sorted(path for path in paths if path.is_file()):
        with suppress(UnicodeDecodeError):
            texts[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    return texts


def _hits(pattern: re.Pattern[str], *suffixes: str) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:200]}"
        for name, text in _files().items()
        if not suffixes or name.endswith(suffixes)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_files_are_found() -> None:
    assert {"Makefile", ".ci/run", "client/plaudit/__init__.py", "proto/plaudit/v1/query.proto"} <= _files().keys()


def test_no_file_names_a_machine() -> None:
    assert _hits(_MACHINE_PATH) == []


def test_no_file_names_the_host_of_a_registry() -> None:
    assert _hits(_REGISTRY_HOST) == []


def test_no_hole_is_left_for_later() -> None:
    assert _hits(_HOLE, ".py", ".proto", ".md") == []


def _pins(name: str) -> list[str]:
    return [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-floor.txt"])
def test_constraints_are_plain_versions_sorted_by_name(name: str) -> None:
    lines = _pins(name)

    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0].lower().replace("_", "-"))


def test_floor_is_what_the_distribution_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    users = [*project["dependencies"], *extras["server"], *extras["postgres"], *extras["tracing"]]
    declared = dict(re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)", line)[0] for line in users)
    floor = dict(line.split("==") for line in _pins("constraints-floor.txt"))

    assert {name: floor.get(name) for name in declared} == declared


def _anchors(document: str) -> set[str]:
    """What a link may name after `#`: each heading in lower case, without punctuation, with hyphens for blanks."""
    prose = re.sub(r"^```.*?^```$", "", _files()[document], flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [name for name in _files() if name.endswith(".md")])
def test_links_lead_somewhere(document: str) -> None:
    broken = []
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", _files()[document]):
        target = (ROOT / document).parent.joinpath(path).resolve() if path else ROOT / document
        if not target.exists():
            broken.append(path)
        elif anchor and anchor not in _anchors(target.relative_to(ROOT).as_posix()):
            broken.append(f"{path}#{anchor}")

    assert broken == []


def test_every_page_that_a_file_names_is_there() -> None:
    named = {(name, page) for name, text in _files().items() for page in re.findall(r"\bdocs/[a-z0-9/-]+\.md\b", text)}

    assert len(named) > 20
    assert {(name, page) for name, page in named if page not in _files()} == set()


def test_every_target_that_a_document_names_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", _files()["Makefile"], re.MULTILINE))
    named = {
        target
        for name, text in _files().items()
        if name.endswith(".md")
        for target in re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.MULTILINE)
    }

    assert {"run", "test", "demo", "lint", "proto"} <= named
    assert named - targets == set()


def test_error_page_has_every_reason_with_its_code_and_metadata() -> None:
    source = (ROOT / "proto/plaudit/v1/error_reason.proto").read_text()
    declared = {}
    for comment, name in re.findall(r"((?:  //.*\n)+)  ERROR_REASON_(\w+) = \d+;", source):
        if name != "UNSPECIFIED":
            [code] = re.findall(r"^  // ([A-Z_]+): ", comment, re.MULTILINE)
            declared[name] = (code, re.findall(r'"(\w+)": "', comment))
    page = {
        name: (code, re.findall(r"`(\w+)`", metadata))
        for name, code, metadata in re.findall(
            r"^\| ([A-Z_]+) \| ([A-Z_]+) \| .* \| (.*) \|$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE
        )
    }

    assert len(declared) == len(ErrorReason.keys()) - 1
    assert page == declared
