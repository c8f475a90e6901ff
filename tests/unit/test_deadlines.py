"""What a call's work gets of its time, and whose it is."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from plaudit_server.auth.principals import Principal
from plaudit_server.config import Limits
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.deadlines import Deadlines, address_of
from plaudit_server.store.work import Owner


def call(remaining: float | None, principal: Principal | None = None) -> Call:
    context: Any = SimpleNamespace(time_remaining=lambda: remaining, peer=lambda: "ipv4:192.0.2.1:4711")
    made = Call("GetFeedback", context)
    if principal is not None:
        made.principal = principal
    return made


@pytest.mark.parametrize(("remaining", "seconds"), [(None, 3.0), (60.0, 3.0), (0.5, 0.5), (0.0, 0.0)])
def test_work_ends_with_its_call_and_within_the_limit(remaining: float | None, seconds: float) -> None:
    deadlines = Deadlines(Limits(read_seconds=3.0, write_seconds=3.0))
    for make in (deadlines.read, deadlines.write):
        before = time.monotonic()
        deadline = make(call(remaining), "acme/a").deadline
        assert deadline is not None
        assert before + seconds <= deadline <= time.monotonic() + seconds


def test_reads_and_writes_have_limits_of_their_own() -> None:
    deadlines = Deadlines(Limits(read_seconds=1.0, write_seconds=1000.0))
    reading, writing = deadlines.read(call(None), "acme/a").deadline, deadlines.write(call(None), "acme/a").deadline
    assert reading is not None
    assert writing is not None
    assert writing - reading > 900


def test_the_owner_is_the_principal_or_else_the_peer() -> None:
    deadlines = Deadlines(Limits())
    assert deadlines.read(call(None, Principal("ada")), "acme/a").owner == Owner("ada", "acme/a")
    assert deadlines.write(call(None), "acme/a").owner == Owner("192.0.2.1", "acme/a")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "%5B2001:db8::1%5D"),
        ("unix:/run/plaudit.sock", "/run/plaudit.sock"),
        ("unix:", ""),
    ],
)
def test_an_address_has_no_port(peer: str, address: str) -> None:
    assert address_of(peer) == address
