"""The command `plaudit`: its subcommands, which are imported when they run, and what an error becomes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

import click

from plaudit._cli import process
from plaudit._cli.options import Flags, flags


class _Command(NamedTuple):
    home: str
    help: str


COMMANDS: Final = {
    "query": _Command("reading:query", "Show the records that match a query."),
    "get": _Command("reading:get", "Show one record."),
    "history": _Command("reading:history", "Show the versions of a record, oldest first."),
    "count": _Command("reading:count", "Count the records that match a query."),
    "refs": _Command("reading:refs", "List the refs of the records that match a query, with counts."),
    "on": _Command("reading:on", "Show the feedback on a ref."),
    "add": _Command("writing:add", "Add feedback of a type on a ref."),
    "react": _Command("writing:react", "Add a reaction: one emoji."),
    "note": _Command("writing:note", "Add a note."),
    "replace": _Command("writing:replace", "Change a record, in a new version of it."),
    "purge": _Command("writing:purge", "Remove records for good, after asking."),
    "aggregate": _Command("analysis:aggregate", "Group records and measure each group."),
    "agreement": _Command("analysis:agreement", "Measure how far raters agree."),
    "import": _Command("importing:import_", "Import an export of plaudit or of another system."),
    "export": _Command("exporting:export", "Write records to a file, a directory or the standard output."),
    "watch": _Command("watching:watch", "Show changes as they happen."),
    "relay": _Command("relaying:relay", "Deliver changes to a webhook or a command, and go on where it was."),
    "mcp": _Command("agents:mcp", "Serve the project's feedback to an agent, by the Model Context Protocol."),
    "retention": _Command("retention:retention", "Set for how long records are kept."),
    "context": _Command("setup:context", "Keep servers, projects and keys under names."),
    "login": _Command("setup:login", "Keep an API key for a context."),
    "info": _Command("setup:info", "Show the server, and who you are to it."),
    "completion": _Command("setup:completion", "Print the completion script for a shell."),
}
"""The subcommands in the order of the help, each with the function that it is, beside this module."""


class _Lazy(click.Group):
    """A group that imports a subcommand when it runs, and knows its one line of help without that."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, _, function = found.home.partition(":")
        command: click.Command = getattr(import_module(f"plaudit._cli.{module}"), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        if incomplete and not incomplete[0].isalnum():
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=command.help) for name, command in COMMANDS.items() if name.startswith(incomplete)
        ]


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="plaudit", prog_name="plaudit")
@flags
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Feedback on machine-learning objects: read it, write it, move it.

    A query is written as in docs/query.md: plaudit query 'payload.score > 0.5 and feedback_type = "judge"'
    """


def main() -> NoReturn:
    """Run the command line, and exit.

    The code is 0 when it is done, 1 in part or refused, 2 wrong usage, 3 not found, 4 not permitted, 5 try again, 130
    interrupted.
    """
    # When grpc's core is imported, it decides whether to write its own lines to standard error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    process.own()
    code = 0
    try:
        result = cli.main(prog_name="plaudit", standalone_mode=False)
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_quietly()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except click.ClickException as error:
        code = error.exit_code
        if Flags.given().json_errors:
            from plaudit._cli.failures import usage_as_json

            print(usage_as_json(error.format_message()), file=sys.stderr)
        else:
            error.show()
    except Exception as error:
        from plaudit._cli.failures import report

        code = report(error, json_errors=Flags.given().json_errors)
    sys.exit(code)


def _leave_quietly() -> NoReturn:
    """End without a word, as click does: whoever read our output has enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
