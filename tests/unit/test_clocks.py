"""A clock that is ahead: what metrics show of it, and that the log has one line of it, not one for each group."""

from __future__ import annotations

import logging
import time

import pytest

from plaudit_server.store.clocks import ClockAhead


def test_the_furthest_of_a_minute_is_shown_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = ClockAhead()
    with caplog.at_level(logging.WARNING, "plaudit_server"):
        clock.note(999_999)  # batches and small differences
        assert clock.seconds == 0
        clock.note(5_000_000)
        clock.note(7_000_000)
        clock.note(2_000_000)
        assert clock.seconds == 7
        assert [record.getMessage()[:40] for record in caplog.records] == ["the clock of a project is 5.0 s ahead of"]
        now += 61
        assert clock.seconds == 0
        clock.note(2_000_000)
        assert clock.seconds == 2
        assert len(caplog.records) == 2
