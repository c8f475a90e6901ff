"""The worked cases and the real feedback in shared/, beside the repository."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parents[2] / "shared"
CASES = _FOLDER / "conformance" / "cases.jsonl"
DEFINITIONS = _FOLDER / "conformance" / "definitions.jsonl"
CLIENT = _FOLDER / "cases" / "client.jsonl"
FEEDBACK = _FOLDER / "data" / "squality-feedback.jsonl"


def read_lines(path: Path) -> list[Any]:
    """The JSON values of a file, one for each line; none when it is missing, which is an error in CI."""
    if not path.exists():
        if os.environ.get("CI"):
            raise FileNotFoundError(f"CI needs {path.name}, which lies beside the repository, in shared/")
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def worked_cases() -> list[Any]:
    """Every worked case, to be parametrised with `as_parameters`."""
    return read_lines(CASES)


def as_parameters(cases: list[Any]) -> list[Any]:
    """A parameter for each case, or one with the reason why there is none."""
    if not cases:
        if os.environ.get("CI"):
            raise ValueError("CI runs worked cases, and none is left of those in shared/")
        reason = f"the worked cases are not there: {CASES.parent.name} lies beside the repository, in shared/"
        return [pytest.param({}, id="none", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(case, id=case["id"]) for case in cases]
