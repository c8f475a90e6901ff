"""The client of a command: flags, else the environment, else the context, else localhost."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from plaudit._cli import contexts
from plaudit._cli.options import Flags

if TYPE_CHECKING:
    from plaudit._sync.client import Client

_KEYS = ("PLAUDIT_API_KEY", "PLAUDIT_API_KEY_FILE")


def connect(*, needs_project: bool = True) -> Client:
    """The client that a command asks. Raises UsageError without a project where one is needed, or for a bad setting."""
    from plaudit._sync.client import Client

    project, options = settings()
    if needs_project and project is None and not os.environ.get("PLAUDIT_PROJECT", "").strip():
        raise click.UsageError("which project? give --project ENTITY/PROJECT, PLAUDIT_PROJECT, or a context with one")
    try:
        return Client(project, **options)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error


def settings() -> tuple[str | None, dict[str, Any]]:
    """The project and the options of the client, where they are not those of the environment."""
    flags, options = Flags.given(), dict[str, Any]()
    context = in_use()
    if flags.timeout is not None:
        options["timeout"] = flags.timeout
    target = flags.target or _of_environment("PLAUDIT_TARGET")
    # The key of one server is not for another one.
    is_its_server = target is None or target == context.target
    options["target"] = target or context.target
    if flags.api_key_file is not None:
        options["api_key_file"] = flags.api_key_file
    elif is_its_server and not any(map(_of_environment, _KEYS)):
        if context.api_key_file is not None:
            options["api_key_file"] = os.path.expanduser(context.api_key_file)
        elif context.api_key_command is not None:
            options["api_key"] = _printed_by(context.api_key_command)
    if is_its_server:
        for name in ("ca_file", "certificate_file", "key_file"):
            value = getattr(context, name)
            if value is not None and _of_environment(f"PLAUDIT_{name.upper()}") is None:
                options[name] = os.path.expanduser(value)
    project = flags.project or _of_environment("PLAUDIT_PROJECT") or context.project
    return project, options


def in_use() -> contexts.Context:
    """The context that is named, else the current one, else an empty one. Raises UsageError for an unknown name."""
    name = Flags.given().context or _of_environment("PLAUDIT_CONTEXT")
    known = contexts.read()
    if name is not None:
        return known.named(name)
    return known.by_name.get(known.current or "", contexts.Context())


def _of_environment(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _printed_by(command: str) -> Callable[[], str]:
    """What runs a command once, without a shell, and returns the key that it prints."""
    kept: list[str] = []

    def key() -> str:
        if not kept:
            try:
                done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, check=True, timeout=60)
            except (OSError, subprocess.SubprocessError) as error:
                raise ValueError(f"the context's api_key_command failed: {type(error).__name__}") from None
            kept.append(done.stdout.decode("ascii", "replace").strip())
        return kept[0]

    return key
