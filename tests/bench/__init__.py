"""Measurements beside their controls: `python -m tests.bench --help`; `make test` only checks that they run."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(taken: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of these seconds lie, in milliseconds."""
    return round(sorted(taken)[int(len(taken) * share)] * 1000, 3)
