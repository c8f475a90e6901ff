"""Contexts: servers, projects and where their keys are, under names, in one file of the user's; never a key itself."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import click

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Context:
    """One server and project, and how to be somebody there."""

    target: str | None = None
    project: str | None = None
    api_key_file: str | None = None
    api_key_command: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def given(self) -> dict[str, str]:
        """What it says."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Contexts:
    """All contexts by name, and the current one."""

    by_name: dict[str, Context] = field(default_factory=dict)
    current: str | None = None

    def named(self, name: str) -> Context:
        """One of them. Raises UsageError for an unknown name."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "there is none"
            raise click.UsageError(f"there is no context {name!r}: {known}")
        return self.by_name[name]


def path() -> Path:
    """Where the file is: PLAUDIT_CONFIG_FILE, else `plaudit/config.toml` in the user's folder of settings."""
    if given := os.environ.get("PLAUDIT_CONFIG_FILE"):
        return Path(given)
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(home, "plaudit", "config.toml")


def read() -> Contexts:
    """The contexts of the file; none where there is no file. Raises UsageError for one that cannot be read."""
    file = path()
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}") from error
    try:
        return _read(tomllib.loads(text.decode()))
    except ValueError as error:  # also of TOML and UTF-8
        raise click.UsageError(f"{file} is not a file of contexts: {error}") from error


def _read(content: Mapping[str, Any]) -> Contexts:
    known = {each.name for each in fields(Context)}
    current = content.get("current")
    if current is not None and not isinstance(current, str):
        raise ValueError("current must be the name of a context")
    if unknown := set(content) - {"current", "context"}:
        raise ValueError(f"there is no setting {sorted(unknown)[0]!r}")
    sections = content.get("context", {})
    if not isinstance(sections, dict):
        raise ValueError("context must be a table")
    found = {}
    for name, section in sections.items():
        if not isinstance(section, dict) or not all(isinstance(value, str) for value in section.values()):
            raise ValueError(f"context {name!r} must be a table of texts")
        if unknown := set(section) - known:
            raise ValueError(f"context {name!r} has no setting {sorted(unknown)[0]!r}")
        found[name] = Context(**section)
    return Contexts(found, current)


def check_name(name: str) -> str:
    """The name, if a context may have it. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"a context's name has letters, digits and _.@- in it, unlike {name!r}")
    return name


def write(contexts: Contexts) -> None:
    """Replace the file, as a whole or not at all; only the user can read it."""
    lines = []
    if contexts.current is not None:
        lines.append(f"current = {_quoted(contexts.current)}\n")
    for name, context in contexts.by_name.items():
        lines.append(f"\n[context.{_quoted(name)}]\n")
        lines += [f"{key} = {_quoted(value)}\n" for key, value in context.given().items()]
    write_private(path(), "".join(lines))


def write_private(file: Path, text: str) -> None:
    """Replace a file with a text, as a whole or not at all; mode 0600, in a folder of mode 0700 if that is new."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".plaudit-")  # with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def _quoted(text: str) -> str:
    """A text as a basic string of TOML: a JSON string, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
