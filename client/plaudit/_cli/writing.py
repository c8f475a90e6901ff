"""Commands that write: add, react, note, replace, purge."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from plaudit._cli.options import Flags, filters, flags, output

if TYPE_CHECKING:
    from plaudit._sync.client import Client

_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_ENTRY: Final = re.compile(r"((?:[^=:\\]|\\.|:(?!=))+?)(:?=)(.*)", re.DOTALL)

_payload_option = click.option(
    "--payload", metavar="JSON|@FILE|-", help="The payload as JSON, from a file, or from the standard input."
)
_creator_option = click.option("--creator", metavar="NAME", help="The display name of who gives the feedback.")
_field_option = click.option(
    "--field", "others", metavar="NAME=VALUE", multiple=True, help="Another field of the record; NAME:=JSON for lists."
)
_id_option = click.option("--id", metavar="UUID", help="The record's id, so that the command may be repeated.")


@click.command()
@click.argument("ref")
@click.argument("feedback_type", metavar="TYPE")
@click.argument("entries", metavar="[KEY=VALUE]...", nargs=-1)
@_payload_option
@_creator_option
@click.option("--annotation-ref", metavar="URI", help="The annotation spec of an annotation.")
@_id_option
@_field_option
@output("id", "payload")
@flags
def add(
    ref: str,
    feedback_type: str,
    entries: tuple[str, ...],
    payload: str | None,
    creator: str | None,
    annotation_ref: str | None,
    id: str | None,
    others: tuple[str, ...],
    form: str | None,
) -> None:
    """Add feedback of the type TYPE on the ref REF.

    KEY=VALUE is a text of the payload, KEY:=VALUE any JSON: score:=0.9 comment="short"
    """
    from plaudit._cli.output import show

    given = _given_payload(payload) if payload is not None else {}
    record = {
        "ref": ref,
        "feedback_type": feedback_type,
        "payload": given | _entries(entries),
        "creator": creator,
        "annotation_ref": annotation_ref,
        "id": id,
        **_entries(others),
    }
    with _Connected(ref) as (client, project):
        show([client.create(record, project=project)], form, single=True)


@click.command()
@click.argument("ref")
@click.argument("emoji")
@_creator_option
@output("id", "payload")
@flags
def react(ref: str, emoji: str, creator: str | None, form: str | None) -> None:
    """Add the reaction EMOJI, exactly one emoji, on the ref REF."""
    from plaudit._cli.output import show

    with _Connected(ref) as (client, project):
        id = client.ref(ref, project=project).add_reaction(emoji, creator)
        show([client.get(id, project=project)], form, single=True)


@click.command()
@click.argument("ref")
@click.argument("text")
@_creator_option
@output("id", "payload")
@flags
def note(ref: str, text: str, creator: str | None, form: str | None) -> None:
    """Add the note TEXT on the ref REF; `-` reads it from the standard input."""
    from plaudit._cli.output import show

    if text == "-":
        text = sys.stdin.read().rstrip("\n")
    with _Connected(ref) as (client, project):
        id = client.ref(ref, project=project).add_note(text, creator)
        show([client.get(id, project=project)], form, single=True)


@click.command()
@click.argument("id")
@click.argument("entries", metavar="[KEY=VALUE]...", nargs=-1)
@_payload_option
@_creator_option
@_field_option
@click.option("--expected-version", type=click.IntRange(min=0), default=0, help="Only if it has this version.")
@output("id", "payload")
@flags
def replace(
    id: str,
    entries: tuple[str, ...],
    payload: str | None,
    creator: str | None,
    others: tuple[str, ...],
    expected_version: int,
    form: str | None,
) -> None:
    """Change the record ID, in a new version of it; the old one stays in its history.

    KEY=VALUE and KEY:=JSON set keys of the payload and leave the others; --payload replaces the whole payload.
    """
    from plaudit._cli.connection import connect
    from plaudit._cli.output import show

    changes = _entries(others) | ({} if creator is None else {"creator": creator})
    if payload is None and not entries and not changes:
        raise click.UsageError("nothing to change: give KEY=VALUE, --payload, --creator or --field")
    with connect() as client:
        if payload is None:
            changed = client.update(id, _entries(entries) or None, expected_version=expected_version, **changes)
        else:
            stored = client.get(id)
            record = {**stored.to_dict(), **changes, "payload": _given_payload(payload) | _entries(entries)}
            changed = client.replace(record, expected_version=expected_version or stored.version)
        show([changed], form, single=True)


@click.command()
@filters
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where nobody can answer.")
@flags
def purge(where: str | None, ids: tuple[str, ...], dry_run: bool, yes: bool, **given: Any) -> int:
    """Remove records for good: those with the ids, or all that match WHERE. `-` reads ids from the standard input.

    What is purged cannot be brought back, and its id is never used again.
    """
    from plaudit._cli.connection import connect
    from plaudit._cli.where import query_of

    named = [each for each in (where, *ids) if each is not None]
    doomed: dict[str, Any]
    if named and all(each == "-" or _ID.fullmatch(each) for each in named):
        if any(value is not None for value in given.values()):
            raise click.UsageError("give ids, or a condition; not both")
        doomed = {"ids": [id for each in named for id in (_ids_of_input() if each == "-" else [each])]}
    elif len(named) > 1:
        raise click.UsageError("give ids, or one WHERE in quotes")
    else:
        asked = query_of(where, **given)
        if asked is None:
            raise click.UsageError("give ids, or a condition; every record matches 'exists(id)'")
        doomed = {"query": asked}
    with connect() as client:
        found = client.purge(**doomed, dry_run=True)
        if dry_run or not found:
            print(f"{found} records would be purged" if dry_run else "no record matches: nothing to purge")
            return 0
        if not yes:
            if not (sys.stdin.isatty() and named != ["-"]):
                raise click.UsageError(f"{found} records would be purged: give --yes where nobody can be asked")
            if not click.confirm(f"Purge {found} records for good?", err=True):
                print("nothing was purged", file=sys.stderr)
                return 1
        print(f"{client.purge(**doomed)} records purged")
    return 0


class _Connected:
    """A client for a ref, and the project: the flag's, else the ref's own, else that of the environment or context."""

    def __init__(self, ref: str) -> None:
        from plaudit._contract.refs import parse_ref

        self._project = Flags.given().project or parse_ref(ref).project_id

    def __enter__(self) -> tuple[Client, str | None]:
        from plaudit._cli.connection import connect

        self._client = connect(needs_project=self._project is None)
        return self._client, self._project

    def __exit__(self, *error: object) -> None:
        self._client.close()


def _given_payload(text: str) -> dict[str, Any]:
    """The payload of an option. Raises UsageError for what is no JSON object, or cannot be read."""
    from plaudit._contract import jsontext

    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            with open(text[1:], encoding="utf-8") as file:
                text = file.read()
        return jsontext.decode(text)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--payload: {error}") from error


def _entries(texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE and KEY:=JSON as a mapping. Raises UsageError for anything else."""
    found: dict[str, Any] = {}
    for text in texts:
        match = _ENTRY.fullmatch(text)
        if match is None:
            raise click.UsageError(f"write KEY=VALUE for a text, KEY:=VALUE for JSON, not {text!r}")
        key = re.sub(r"\\(.)", r"\1", match[1])
        if match[2] == "=":
            found[key] = match[3]
            continue
        try:
            found[key] = json.loads(match[3])
        except ValueError:
            raise click.UsageError(f"{key}: {match[3]!r} is no JSON; write {key}={match[3]} for a text") from None
    return found


def _ids_of_input() -> list[str]:
    ids = [line.strip() for line in sys.stdin if line.strip()]
    for id in ids:
        if not _ID.fullmatch(id):
            raise click.UsageError(f"{id[:60]!r} is not an id; pipe ids, as of plaudit query -o id")
    return ids
