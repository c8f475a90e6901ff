"""The command `relay`: delivers changes to a webhook or a command, and goes on where it was."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from plaudit._cli.options import filters, flags

if TYPE_CHECKING:
    from plaudit._core.expr import Query
    from plaudit._relay.cursor import Reached
    from plaudit._relay.event import Event
    from plaudit._relay.relaying import Keeps
    from plaudit._relay.sinks import Sink
    from plaudit._relay.webhook import Network
    from plaudit._sync.client import Client
    from plaudit._sync.watch import Watch

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SECRET: Final = "PLAUDIT_WEBHOOK_SECRET"


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = _DURATION.fullmatch(value)
    if found is None:
        raise click.BadParameter("is a number of seconds, or one with s, m, h or d: 24h")
    return float(found[1]) * _SECONDS[found[2]]


@click.command()
@filters
@click.option("--webhook", metavar="URL", help="Send each change to this URL, by Standard Webhooks.")
@click.option("--exec", "command", metavar="COMMAND", help="Run this for each change, a line on its standard input.")
@click.option("--cursor", type=click.Path(), metavar="FILE", help="Where it is kept how far it has come.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="REVISION",
    help="Where to begin without a cursor; 0: the start.  [now]",
)
@click.option("--secret-file", type=click.Path(), metavar="FILE", help=f"Secrets, a line each, else {_SECRET}.")
@click.option("--unsigned", is_flag=True, help="Send to a webhook without a signature.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["webhook", "cloudevents"]),
    default="webhook",
    help="The form of what is sent to a webhook.  [webhook]",
)
@click.option("--allow-private", multiple=True, metavar="NETWORK", help="A network that is not public, as 10.0.0.0/8.")
@click.option("--ca-file", type=click.Path(), metavar="FILE", help="Certificates that a webhook's one is checked by.")
@click.option("--delivery-timeout", callback=_seconds, default="15s", metavar="TIME", help="For each try.  [15s]")
@click.option(
    "--parallel",
    type=click.IntRange(1, 256),
    default=1,
    help="How many are on their way at once; those of one ref never are.  [1]",
)
@click.option("--give-up-after", callback=_seconds, metavar="TIME", help="Give a change up after this time.  [never]")
@click.option("--dead-letters", type=click.Path(), metavar="FILE", help="Where changes go that are given up.")
@click.option("--metrics", metavar="HOST:PORT", help="Answer /metrics there, in Prometheus' form.")
@flags
def relay(
    webhook: str | None, command: str | None, cursor: str | None, after: int | None, parallel: int, **options: Any
) -> int:
    """Deliver each change of the project to a webhook or a command, at least once and in order, for ever.

    A change has arrived when the webhook answers 200 to 299, or the command ends with 0; else it is tried again, after
    1 second and later after up to 5 minutes. The cursor is written after each: started again, the relay goes on there.
    """
    from plaudit._cli.connection import connect
    from plaudit._cli.where import query_of
    from plaudit._relay.cursor import Cursor, CursorError

    if cursor is None:
        raise click.UsageError("where is it kept how far the relay has come? give --cursor FILE")
    sink = sink_of(webhook, command, options)
    wheres = {name: options[name] for name in ("where", "since", "until", "ref", "feedback_type", "creator")}
    with ExitStack() as stack:
        try:
            kept = Cursor(cursor)
            stack.callback(kept.close)
            client = stack.enter_context(connect())
            reached = kept.read(client.project_for(None))
        except CursorError as error:
            raise click.UsageError(str(error)) from error
        start = (after, "") if reached is None else (reached.revision, reached.store_id)
        return run(client, sink, kept, query_of(**wheres), start, parallel, options)


def sink_of(webhook: str | None, command: str | None, options: dict[str, Any]) -> Sink:
    """Where the options say that changes go. Raises UsageError."""
    from plaudit._relay.sinks import Command
    from plaudit._relay.webhook import Webhook

    if (webhook is None) == (command is None):
        raise click.UsageError("give either --webhook URL or --exec COMMAND")
    timeout = options.get("delivery_timeout") or 15.0
    try:
        if webhook is None:
            assert command is not None
            return Command(command, timeout)
        return Webhook(
            webhook,
            _secrets(options),
            form=options.get("form") or "webhook",
            timeout=timeout,
            allowed=_networks(options.get("allow_private") or ()),
            tls=_tls(options.get("ca_file")),
        )
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error


def run(
    client: Client,
    sink: Sink,
    keeps: Keeps,
    asked: Query | None,
    start: tuple[int | None, str],
    parallel: int,
    options: dict[str, Any],
) -> int:
    """Deliver until a signal ends it; the exit code, which is 1 when a change was given up, or the receiver is gone."""
    from plaudit._relay.counted import serve
    from plaudit._relay.relaying import Relay
    from plaudit._relay.sinks import Stopped

    dead = DeadLetters(options.get("dead_letters"))
    with client.watch(after=start[0], query=asked, store_id=start[1]) as changes:
        made = Relay(
            sink,
            keeps,
            lanes=parallel,
            give_up_after=options.get("give_up_after"),
            on_dead=dead.add,
            on_end=changes.close,
        )
        made.counts.revision = changes.revision

        def end(*_: object) -> None:
            made.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        address = options.get("metrics")
        served = None
        if address:
            host, _, port = address.rpartition(":")
            served = serve(made.counts, host.strip("[]") or "localhost", int(port))
        print(f"plaudit: relaying changes after revision {changes.revision}", file=sys.stderr)
        try:
            made.run(events(changes, client.project_for(None)))
        except Stopped as error:
            print(f"plaudit: {error}", file=sys.stderr)
            return 1
        finally:
            if served is not None:
                served.shutdown()
                served.server_close()
            counts = made.counts
            print(
                f"plaudit: delivered {counts.delivered}, failed {counts.failed}, given up {counts.dead},"
                f" up to revision {counts.revision}",
                file=sys.stderr,
            )
    return 1 if made.counts.dead else 0


def events(changes: Watch, project: str) -> Iterator[Event]:
    """The changes as what is delivered."""
    from plaudit._relay.event import Event

    for change in changes:
        yield Event(changes.store_id, project, change)


class Forgetting:
    """In the place of a cursor: nothing is kept."""

    def write(self, reached: Reached) -> None:
        """Nothing."""


class DeadLetters:
    """A file of changes that were given up, a line each with the reason; None for no file."""

    def __init__(self, path: str | None) -> None:
        """Raises OSError for a file that cannot be written to."""
        self._path = path
        if path is not None:
            Path(path).touch(0o600)

    def add(self, event: Event, reason: str) -> None:
        """Write a change down; when this returns, it is on disk. Raises OSError."""
        if self._path is None:
            return
        line = json.dumps({"id": event.id, "reason": reason}, ensure_ascii=False)[:-1] + f', "change": {event.line}}}\n'
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _secrets(options: dict[str, Any]) -> Sequence[bytes]:
    from plaudit._relay.webhook import secret_of

    if options.get("unsigned"):
        return ()
    path = options.get("secret_file")
    texts = Path(path).read_text("ascii").split() if path else os.environ.get(_SECRET, "").split()
    if not texts:
        raise ValueError(f"deliveries are signed: give --secret-file or {_SECRET}, or --unsigned")
    return [secret_of(text) for text in texts]


def _networks(given: Sequence[str]) -> Sequence[Network]:
    import ipaddress

    return [ipaddress.ip_network(text, strict=False) for text in given]


def _tls(ca_file: str | None) -> Any:
    import ssl

    return None if ca_file is None else ssl.create_default_context(cafile=ca_file)
