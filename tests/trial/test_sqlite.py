"""The trial resource on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trial import suite


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'plaudit.db'}"


def test_it_answers_whom_it_may(url: str) -> None:
    suite.check_answers_and_permission(url)


def test_it_is_charged_and_measured(url: str) -> None:
    suite.check_quotas_and_metrics(url)


def test_it_is_admitted(url: str) -> None:
    suite.check_admission(url)


def test_it_is_audited(url: str, tmp_path: Path) -> None:
    suite.check_audit(url, tmp_path / "audit.log")


def test_it_is_copied(url: str, tmp_path: Path) -> None:
    suite.check_copy(url, f"sqlite:{tmp_path / 'other.db'}")
