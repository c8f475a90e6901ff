"""Refs of what other systems keep, as imports of their feedback have them: `refs.langfuse("host", "p1", trace="1f2e")`.

This was the place of the grammar of refs before: `Ref`, `parse_ref` and `InvalidRefError` are in `plaudit`.
"""

from __future__ import annotations

import warnings
from typing import Any

from plaudit._core.systems import argilla, braintrust, label_studio, langfuse, langsmith, mlflow, opik, phoenix

__all__ = ["argilla", "braintrust", "label_studio", "langfuse", "langsmith", "mlflow", "opik", "phoenix"]


def __getattr__(name: str) -> Any:
    from plaudit._contract import refs

    if name.startswith("_") or not hasattr(refs, name):
        raise AttributeError(f"module 'plaudit.refs' has no attribute {name!r}")
    warnings.warn(f"plaudit.refs.{name} is private now: import it from plaudit", DeprecationWarning, stacklevel=2)
    return getattr(refs, name)
