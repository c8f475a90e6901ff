"""The public surface, name by name, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import plaudit

NAMES = [
    "AbortedError",
    "AlreadyExistsError",
    "AsyncClient",
    "AsyncFeedbackQuery",
    "AsyncRefFeedbackQuery",
    "AsyncWatch",
    "BufferedWriter",
    "Change",
    "Client",
    "DeadlineExceededError",
    "Feedback",
    "FeedbackQuery",
    "Feedbacks",
    "Ingested",
    "InternalError",
    "InvalidArgumentError",
    "InvalidRefError",
    "NotFoundError",
    "NotStoredError",
    "PermissionDeniedError",
    "PlauditError",
    "Query",
    "Ref",
    "RefFeedbackQuery",
    "Refs",
    "ResourceExhaustedError",
    "Tombstone",
    "UnauthenticatedError",
    "UnavailableError",
    "field",
    "init",
    "parse_ref",
]


def test_public_names_are_these() -> None:
    assert sorted(plaudit.__all__) == NAMES
    assert set(NAMES) <= set(dir(plaudit))
    assert sorted(plaudit._HOMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(plaudit, name).__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'AsyncThing'"):
        plaudit.AsyncThing  # type: ignore[attr-defined]  # noqa: B018


def test_tree_of_exceptions() -> None:
    errors = [value for name in NAMES if name.endswith("Error") and name != "InvalidRefError"
              for value in [getattr(plaudit, name)]]  # fmt: skip

    assert len(errors) == 12
    assert all(issubclass(error, plaudit.PlauditError) for error in errors)
    assert issubclass(plaudit.InvalidRefError, ValueError)


def measured(code: str) -> float:
    """Seconds that `code` takes in a fresh interpreter: the best of three."""
    program = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    return min(float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(3))


def test_import_takes_under_three_tenths_of_a_second() -> None:
    assert measured("import plaudit") < 0.3


def test_wire_loads_nothing_of_the_client() -> None:
    code = "import sys, plaudit.v1; print([m for m in sys.modules if m.startswith('plaudit._') or m == 'rich'])"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
