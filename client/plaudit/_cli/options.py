"""The options that all commands share, and those of groups of commands; they hold texts, and ask nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Flags:
    """What the command line says about the server and the form of errors; None where it says nothing."""

    target: str | None = None
    project: str | None = None
    context: str | None = None
    api_key_file: str | None = None
    timeout: float | None = None
    color: str = "auto"
    json_errors: bool = False

    @staticmethod
    def given() -> Flags:
        """Those of this process."""
        return _GIVEN[0]


# One process runs one command; after an error there is no click context left to ask.
_GIVEN: list[Flags] = [Flags()]


def _note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name is not None and value is not False:
        _GIVEN[0] = replace(_GIVEN[0], **{param.name: value})


def flags(function: F) -> F:
    """The options about the server and the form of errors; they may stand before and after the name of a command."""
    for option in (
        click.option("--json-errors", is_flag=True, expose_value=False, callback=_note, help="Errors as JSON."),
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            expose_value=False,
            callback=_note,
            help="Whether tables have colours.  [auto: on a terminal without NO_COLOR]",
        ),
        click.option(
            "--timeout", type=float, metavar="SECONDS", expose_value=False, callback=_note, help="Deadline of a call."
        ),
        click.option(
            "--api-key-file",
            type=click.Path(),
            expose_value=False,
            callback=_note,
            help="A file with the API key, else PLAUDIT_API_KEY.",
        ),
        click.option(
            "--context", metavar="NAME", expose_value=False, callback=_note, help="The context, else PLAUDIT_CONTEXT."
        ),
        click.option(
            "-p",
            "--project",
            metavar="ENTITY/PROJECT",
            expose_value=False,
            callback=_note,
            help="The project, else PLAUDIT_PROJECT.",
        ),
        click.option(
            "-t",
            "--target",
            metavar="HOST:PORT",
            expose_value=False,
            callback=_note,
            help="The server, else PLAUDIT_TARGET, else localhost:50051.",
        ),
    ):
        function = option(function)
    return function


def output(*more: str) -> Callable[[F], F]:
    """The option `-o`, with the forms of all commands and more of them."""
    forms = ["table", "jsonl", "json", "csv", *more]
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(forms),
        help="The form of the output.  [table on a terminal, else jsonl]",
    )


def filters(function: F) -> F:
    """WHERE and the shortcuts that are joined to it by `and`, as arguments of these names."""
    for option in (
        click.option("--creator", metavar="NAME", help="Records of this creator."),
        click.option("--type", "feedback_type", metavar="TYPE", help="Records of this type."),
        click.option("--ref", metavar="URI", help="Records on exactly this ref."),
        click.option("--until", metavar="TIME", help="Records created before this time or age."),
        click.option("--since", metavar="TIME", help="Records created since this time (2026-03-01) or age (24h, 7d)."),
        click.argument("where", required=False),
    ):
        function = option(function)
    return function
