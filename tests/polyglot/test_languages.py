"""The same conversation in every language: the programs in `examples/`, built as their users build them."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from plaudit_server.config import Config, Limits
from plaudit_server.testing import RunningServer, server
from tests.polyglot import player
from tests.polyglot.proxy import flaky_proxy

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
# Built here and not in `examples/`, so that the tree stays clean; kept, so that a second run is fast.
BUILD = ROOT / "build/polyglot"
# Languages that must not be left out, by name.
REQUIRED = os.environ.get("PLAUDIT_TEST_LANGUAGES", "").split()

pytestmark = pytest.mark.timeout(1200)


@dataclass(frozen=True, slots=True)
class Language:
    """How the example of a language is built; commands run in its folder."""

    name: str
    needs: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    # Commands that succeed only where libraries are installed.
    libraries: tuple[tuple[str, ...], ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is built."""
        return BUILD / "examples" / self.name


@dataclass(frozen=True, slots=True)
class Program:
    """What is run, in the folder of its language, with a target and maybe a conversation."""

    name: str
    language: str
    command: tuple[str, ...]


_JAVA_PLUGIN = shutil.which("grpc_java_plugin")
LANGUAGES = [
    Language("go", ("go", "protoc", "make"), (("make",),)),
    Language(
        "node",
        ("node", "npm", "protoc"),
        (("npm", "install", "--no-audit", "--no-fund", "--no-package-lock"), ("npm", "run", "build")),
    ),
    Language(
        "java",
        ("javac", "mvn"),
        (("mvn", "-q", "-B", "package", *([f"-DgrpcJavaPlugin={_JAVA_PLUGIN}"] if _JAVA_PLUGIN else [])),),
    ),
    Language(
        "cpp",
        ("cmake", "g++", "make", "protoc", "grpc_cpp_plugin", "pkg-config"),
        (("cmake", "-B", "build", "."), ("cmake", "--build", "build", "-j2")),
        (("pkg-config", "--exists", "grpc++"),),
    ),
    Language(
        "ruby",
        ("ruby", "rake", "protoc", "grpc_ruby_plugin"),
        (("rake",),),
        (("ruby", "-e", "require 'grpc'; require 'google/rpc/error_details_pb'"),),
    ),
    Language("rust", ("cargo", "protoc"), (("cargo", "build", "--quiet"),)),
]
PROGRAMS = [
    Program("go", "go", ("./plaudit-example",)),
    Program("node", "node", ("node", "dynamic.js")),
    Program("typescript", "node", ("node", "typed.js")),
    Program("java", "java", ("java", "-cp", f"target/classes{os.pathsep}target/lib/*", "dev.plaudit.examples.Main")),
    Program("cpp", "cpp", ("build/plaudit-example",)),
    Program("ruby", "ruby", ("ruby", "main.rb")),
    Program("rust", "rust", ("target/debug/plaudit-example",)),
]
_BUILT = ("node_modules", "gen", "target", "build", "bin", "plauditv1", "plaudit-example", "typed.js")


@functools.cache
def missing(language: Language) -> str:
    """What is missing on this machine to build a language; empty when nothing is."""
    lacking = [tool for tool in language.needs if shutil.which(tool) is None]
    if not lacking:
        lacking = [
            " ".join(command)
            for command in language.libraries
            if subprocess.run(command, check=False, capture_output=True).returncode != 0
        ]
    return ", ".join(lacking)


@functools.cache
def build(language: Language) -> None:
    """Build a language's example in a copy of the tree; a second run builds what has changed."""
    shutil.copytree(
        ROOT / "examples" / language.name, language.folder, ignore=shutil.ignore_patterns(*_BUILT), dirs_exist_ok=True
    )
    for name in ("proto", "third_party"):
        link = BUILD / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    for command in language.build:
        done = subprocess.run(
            ["nice", *command],
            check=False,
            cwd=language.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}"


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    """A program that has been built; skipped where its language is not installed, unless it is required."""
    program: Program = request.param
    [language] = [language for language in LANGUAGES if language.name == program.language]
    if lacking := missing(language):
        assert language.name not in REQUIRED, f"{language.name} is required, and there is no {lacking}"
        pytest.skip(f"{program.name} is left out: there is no {lacking}")
    build(language)
    return program


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    """A server for all programs."""
    with server() as running:
        yield running


def run(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which is soon, because every call has a deadline."""
    return subprocess.run(
        [*program.command, *arguments],
        check=False,
        cwd=BUILD / "examples" / program.language,
        capture_output=True,
        text=True,
        timeout=120,
    )


def steps(conversation: str) -> list[str]:
    """What a program prints when every step went as expected."""
    told = json.loads((HERE / conversation).read_text("utf-8"))["steps"]
    return [*(f"ok: {step['step']}" for step in told), f"{len(told)} steps, all as expected"]


def test_a_program_has_the_whole_conversation_over_a_bad_line(program: Program, running: RunningServer) -> None:
    with flaky_proxy(running.target) as (proxy, target):
        done = run(program, target, str(HERE / "conversation.json"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == steps("conversation.json")
    # A third of the unary calls; the program made 44, and repeated each that failed.
    assert proxy.failed >= 20


def test_a_program_reads_when_to_come_back(program: Program) -> None:
    limits = Limits(rows_per_second=0.01, burst_seconds=0.1)
    with server(config=Config(limits=limits)) as crowded:
        done = run(program, crowded.target, str(HERE / "quota.json"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == steps("quota.json")


def test_a_program_stores_a_reaction_in_a_minute(program: Program, running: RunningServer) -> None:
    done = run(program, running.target)

    assert done.returncode == 0, done.stdout + done.stderr
    id = done.stdout.split()[1]
    assert uuid.UUID(id).version == 7
    assert uuid.UUID(id).variant == uuid.RFC_4122
    [stored] = running.client(project="acme/chat").get_feedback(id)
    assert (stored.feedback_type, stored.payload["emoji"]) == ("wandb.reaction.1", "👍")


@pytest.mark.parametrize(
    "step",
    [
        {"expect": {"version": "another"}},
        {"expect": {"version": None}},
        {"expect": {"no_such_field": "*"}},
        {"expect": {"limits": {"batch_items": "1001"}}},
        {"refused": {"code": "INTERNAL"}},
    ],
    ids=json.dumps,
)
def test_a_program_notices_another_answer(
    program: Program, running: RunningServer, tmp_path: Path, step: dict[str, object]
) -> None:
    told = tmp_path / "wrong.json"
    told.write_text(json.dumps({"steps": [{"step": "wrong", "call": "GetServerInfo", "send": {}, **step}]}), "utf-8")
    done = run(program, running.target, str(told))

    assert done.returncode != 0
    assert "ok: wrong" not in done.stdout


@pytest.mark.parametrize("conversation", ["conversation.json", "quota.json"])
def test_python_has_the_same_conversation(conversation: str, capfd: pytest.CaptureFixture[str]) -> None:
    limits = Limits(rows_per_second=0.01, burst_seconds=0.1) if conversation == "quota.json" else Limits()
    with server(config=Config(limits=limits)) as running, flaky_proxy(running.target) as (proxy, target):
        player.main(target, str(HERE / conversation))

    assert capfd.readouterr().out.splitlines() == steps(conversation)
    assert proxy.failed > 0 or conversation == "quota.json"


@pytest.mark.parametrize(
    ("expected", "actual", "wrong"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ({"a": 1}, {"a": 2}, "answer.a"),
        ({"a": None}, {}, None),
        ({"a": None}, {"a": 0}, "answer.a"),
        ({"a": "*"}, {"a": 0}, None),
        ({"a": "*"}, {}, "answer.a"),
        ([1], [1, 2], "answer"),
        ([1, {"b": []}], [1, {"b": [3]}], "answer.1.b"),
        ("1", 1, "answer"),
    ],
)
def test_python_tells_where_an_answer_differs(expected: object, actual: object, wrong: str | None) -> None:
    found = player.difference(expected, actual)

    assert (found and found.partition(":")[0]) == wrong
