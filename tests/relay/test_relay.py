"""Deliveries: signed, in order, again until they arrive; kills, failures, addresses, cursors."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import plaudit
import plaudit_server.testing
from plaudit._cli.main import cli
from plaudit._relay import relaying
from plaudit._relay.cursor import Cursor, CursorError, Reached
from plaudit._relay.event import Event
from plaudit._relay.relaying import Relay
from plaudit._relay.sinks import Command, NotDelivered, Stopped
from plaudit._relay.webhook import Webhook, may_connect, secret_of, signature
from tests.relay.receiver import SECRET, Receiver, receiver

KILLS = int(os.environ.get("PLAUDIT_TEST_RELAY_KILLS", "2"))
CHANGES = int(os.environ.get("PLAUDIT_TEST_RELAY_CHANGES", "200"))
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
REF = "https://app.example.org/answers/1"


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """A server; each test has a project of its own."""
    with plaudit_server.testing.server() as running:
        yield running.target


@pytest.fixture
def client(target: str, request: pytest.FixtureRequest) -> Iterator[plaudit.Client]:
    """A client of a project of its own."""
    name = re.sub(r"[^a-z0-9]+", ".", request.node.name)[-60:].strip(".")
    with plaudit.Client(f"relay/{name}", target=target) as made:
        yield made


def start(client: plaudit.Client, cursor: Path, *arguments: str) -> subprocess.Popen[str]:
    """`plaudit relay` as a process of its own."""
    project = client.project_for(None)
    variables = {**os.environ, "PLAUDIT_CONFIG_FILE": os.devnull, "PLAUDIT_WEBHOOK_SECRET": SECRET}
    command = [sys.executable, "-m", "plaudit", "relay", "-t", client.target, "-p", project, "--cursor", str(cursor)]
    return subprocess.Popen([*command, *arguments], env=variables, stderr=subprocess.PIPE, text=True)


def add(client: plaudit.Client, count: int, ref: str = REF) -> None:
    """Store records."""
    client.create_batch([{"ref": ref, "feedback_type": "tone", "payload": {"n": n}} for n in range(count)])


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def stopped(process: subprocess.Popen[str]) -> tuple[int, str]:
    """End a relay as a system would; its exit code and what it has written."""
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_every_change_arrives_in_order_through_kills_and_failures(client: plaudit.Client, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor.json"
    with receiver(fails=0.02) as hook:
        options = ("--webhook", hook.url, "--allow-private", "127.0.0.0/8", "--after", "0")
        for kill in range(KILLS):
            add(client, CHANGES // (KILLS + 1))
            process = start(client, cursor, *options)
            wanted = len(hook.revisions) + CHANGES // (KILLS + 1) // 2
            until(lambda wanted=wanted: len(hook.revisions) >= wanted)  # type: ignore[misc]
            process.kill()
            process.communicate()
            assert kill < KILLS
        add(client, CHANGES - len(client.get_feedback()))
        process = start(client, cursor, *options)
        until(lambda: len(hook.revisions) == CHANGES, 600)
        code, errors = stopped(process)
    assert code == 0, errors
    assert hook.revisions == list(range(1, CHANGES + 1))
    assert hook.unverified == 0
    assert json.loads(cursor.read_text())["revision"] == CHANGES
    ids = {
        body["data"]["revision"]: header["webhook-id"] for body, header in zip(hook.bodies, hook.headers, strict=True)
    }
    assert len(set(ids.values())) == CHANGES
    assert {body["type"] for body in hook.bodies} == {"feedback.created"}


def test_replaced_and_purged_records_are_changes_too_and_a_command_gets_lines(
    client: plaudit.Client, tmp_path: Path
) -> None:
    output = tmp_path / "lines"
    script = tmp_path / "take.py"
    script.write_text("import sys; open(sys.argv[1], 'a').write(sys.stdin.read())")
    command = f"{sys.executable} '{script}' '{output}'"
    process = start(client, tmp_path / "cursor.json", "--exec", command, "--after", "0")
    made = client.ref(REF).add("tone", {"n": "a; touch evil"})
    until(lambda: output.exists() and len(output.read_text().splitlines()) == 1)
    client.update(made, payload={"n": 2})
    until(lambda: len(output.read_text().splitlines()) == 2)
    client.purge([made])
    until(lambda: output.exists() and len(output.read_text().splitlines()) == 3)
    assert stopped(process)[0] == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(line["change"], line["revision"]) for line in lines] == [("created", 1), ("replaced", 2), ("purged", 3)]
    assert lines[0]["payload"] == {"n": "a; touch evil"}
    assert lines[2]["tombstone"]["id"] == made
    assert not list(tmp_path.glob("evil*"))


def test_a_change_that_is_given_up_is_a_dead_letter_and_the_exit_code_says_so(
    client: plaudit.Client, tmp_path: Path
) -> None:
    add(client, 2)
    dead = tmp_path / "dead.jsonl"
    options = ("--give-up-after", "0s", "--dead-letters", str(dead), "--after", "0", "--metrics", "127.0.0.1:0")
    process = start(client, tmp_path / "cursor.json", "--exec", f"{sys.executable} -c 'raise SystemExit(3)'", *options)
    until(lambda: dead.exists() and len(dead.read_text().splitlines()) == 2)
    until(lambda: json.loads((tmp_path / "cursor.json").read_text())["revision"] == 2)
    code, errors = stopped(process)
    assert code == 1, errors
    assert "given up 2" in errors
    letters = [json.loads(line) for line in dead.read_text().splitlines()]
    assert letters[0]["change"]["revision"] == 1
    assert letters[0]["reason"].endswith("ended with 3")


def test_a_receiver_that_is_gone_stops_the_relay(client: plaudit.Client, tmp_path: Path) -> None:
    add(client, 3)
    with receiver(fails=1.0, status=410) as hook:
        options = ("--webhook", hook.url, "--allow-private", "127.0.0.0/8", "--after", "0")
        process = start(client, tmp_path / "cursor.json", *options)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "answered 410" in errors
    assert hook.refused == 1


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("--webhook", "https://a.example.org", "--exec", "cat"), "give either"),
        ((), "give either"),
        (("--webhook", "ftp://a.example.org"), "https://host/path"),
        (("--webhook", "https://user:secret@a.example.org"), "no user and password"),
        (("--exec", ""), "is empty"),
        (("--webhook", "https://a.example.org", "--allow-private", "10.0.0.0/99"), "10.0.0.0/99"),
        (("--exec", "cat", "--give-up-after", "soon"), "24h"),
    ],
)
def test_wrong_options_are_named(
    client: plaudit.Client, tmp_path: Path, arguments: tuple[str, ...], wrong: str
) -> None:
    asked = ["relay", "--cursor", str(tmp_path / "c"), *arguments]
    # Not as options: those of a process are its own for good.
    variables = {
        "PLAUDIT_CONFIG_FILE": os.devnull,
        "PLAUDIT_PROJECT": client.project_for(None),
        "PLAUDIT_TARGET": client.target,
        "PLAUDIT_WEBHOOK_SECRET": SECRET,
    }
    done = CliRunner().invoke(cli, asked, env=variables)
    assert done.exit_code == 2
    assert wrong in done.output
    assert "secret@" not in done.output


# --- in this process


def event(client: plaudit.Client) -> Event:
    """A change to deliver."""
    add(client, 1)
    with client.watch(after=0) as changes:
        change = next(changes)
        return Event(changes.store_id, client.project_for(None), change)


def test_a_redirect_is_a_failure_and_is_not_followed(client: plaudit.Client) -> None:
    with receiver() as other, receiver(fails=1.0, status=307, location=other.url) as hook:
        with pytest.raises(NotDelivered, match="answered 307"):
            Webhook(hook.url, [secret_of(SECRET)], allowed=[LOOPBACK]).deliver(event(client))
        assert not other.bodies


def test_an_address_that_is_not_public_is_refused_whatever_its_name(client: plaudit.Client) -> None:
    with receiver() as hook:
        for url in (hook.url, hook.url.replace("127.0.0.1", "localhost")):
            with pytest.raises(NotDelivered, match="--allow-private"):
                Webhook(url, [secret_of(SECRET)]).deliver(event(client))
        assert not hook.bodies


@pytest.mark.parametrize(
    "address",
    ["10.1.2.3", "169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "::ffff:10.0.0.1", "fc00::1",
     "2002:7f00:1::", "100.64.0.1"],
)  # fmt: skip
def test_private_addresses_are_told_from_public_ones(address: str) -> None:
    assert not may_connect(ipaddress.ip_address(address), ())
    assert may_connect(ipaddress.ip_address("93.184.216.34"), ())


def test_several_secrets_sign_so_that_they_can_be_changed(client: plaudit.Client) -> None:
    other = secret_of("whsec_b3RoZXIgc2VjcmV0IG9mIHRoZSByZWxheSB0ZXN0cw==")
    with receiver() as hook:
        Webhook(hook.url, [other, secret_of(SECRET)], allowed=[LOOPBACK]).deliver(event(client))
        assert hook.unverified == 0
        Webhook(hook.url, [other], allowed=[LOOPBACK]).deliver(event(client))
        assert hook.unverified == 1
    assert len(signature([other, other], "a", 1, b"b").split()) == 2
    for bad in ("whsec_????", "whsec_c2hvcnQ="):
        with pytest.raises(ValueError, match="secret"):
            secret_of(bad)


def test_a_cloud_event_has_the_names_of_the_specification(client: plaudit.Client) -> None:
    made = event(client)
    body = json.loads(made.body("cloudevents"))
    assert set(body) == {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
    assert body["type"] == "dev.plaudit.feedback.created"
    assert body["data"]["record"]["payload"] == {"n": 0}


class Flaky:
    """Fails every third time, and takes changes in lanes."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int]] = []
        self.tries = 0

    def deliver(self, event: Event) -> None:
        """Keep it, or fail."""
        self.tries += 1
        if self.tries % 3 == 0:
            raise NotDelivered("the third")
        self.taken.append((event.ref, event.change.revision))


class Kept:
    """In the place of a cursor."""

    def __init__(self) -> None:
        self.revisions: list[int] = []

    def write(self, reached: Reached) -> None:
        """Keep it."""
        self.revisions.append(reached.revision)


def test_in_parallel_the_order_of_each_ref_holds_and_the_cursor_is_the_lowest_unfinished(
    client: plaudit.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "_FIRST_SECONDS", 0.001)
    for number in range(60):
        add(client, 1, f"{REF}{number % 7}")
    sink, kept = Flaky(), Kept()
    with client.watch(after=0) as changes:
        made = [Event(changes.store_id, "relay/p", next(changes)) for _ in range(60)]
    relay = Relay(sink, kept, lanes=4)
    relay.run(iter(made))
    for ref in {each.ref for each in made}:
        mine = [revision for of, revision in sink.taken if of == ref]
        assert mine == sorted(mine)
    assert len(sink.taken) == 60
    assert kept.revisions == sorted(kept.revisions)
    assert kept.revisions[-1] == 60
    assert (relay.counts.lag_revisions, relay.counts.lag_seconds) == (0, 0.0)


def test_a_cursor_is_one_relays_and_one_projects(tmp_path: Path) -> None:
    path = tmp_path / "cursor.json"
    cursor = Cursor(path)
    assert cursor.read("acme/chat") is None
    cursor.write(Reached("5f", "acme/chat", 7))
    assert cursor.read("acme/chat") == Reached("5f", "acme/chat", 7)
    with pytest.raises(CursorError, match="acme/chat, not of acme/other"):
        cursor.read("acme/other")
    with pytest.raises(CursorError, match="another relay"):
        Cursor(path)
    cursor.close()
    path.write_text("[]")
    again = Cursor(path)
    with pytest.raises(CursorError, match="is no cursor"):
        again.read("acme/chat")
    again.close()


def test_a_cursor_of_another_store_is_refused(client: plaudit.Client, tmp_path: Path) -> None:
    add(client, 1)
    cursor = tmp_path / "cursor.json"
    kept = Reached("00" * 32, client.project_for(None), 1)
    cursor.write_text(json.dumps(kept._asdict()))
    process = start(client, cursor, "--exec", "cat")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "STORE_CHANGED" in errors


def test_a_command_that_takes_too_long_or_is_not_there_is_not_delivered(client: plaudit.Client) -> None:
    made = event(client)
    with pytest.raises(NotDelivered, match=r"longer than 0\.2"):
        Command(f"{sys.executable} -c 'import time; time.sleep(9)'", 0.2).deliver(made)
    with pytest.raises(NotDelivered, match="cannot be run"):
        Command("no-such-program", 1).deliver(made)


def test_the_metrics_say_what_was_done(client: plaudit.Client) -> None:
    from plaudit._relay.counted import serve

    relay = Relay(Flaky(), Kept())
    relay.run(iter([event(client)]))
    server = serve(relay.counts, "127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
        with urllib.request.urlopen(url) as response:
            text = response.read().decode()
    finally:
        server.shutdown()
        server.server_close()
    assert "plaudit_relay_delivered_total 1\n" in text
    assert "plaudit_relay_lag_revisions 0\n" in text


def test_a_receiver_that_wants_no_more_ends_it(client: plaudit.Client) -> None:
    class Gone:
        def deliver(self, event: Any) -> None:
            raise Stopped("gone")

    relay = Relay(Gone(), Kept())
    with pytest.raises(Stopped):
        relay.run(iter([event(client)]))
    assert isinstance(Receiver().bodies, list)
