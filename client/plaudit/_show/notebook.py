"""A piece of HTML below a notebook's cell that is drawn again in its place; needs IPython, and no widgets."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


class Place:
    """What a notebook shows in one place."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None

    def draw(self, html: str) -> None:
        """Show this, in place of what was drawn before."""
        shown = self._display.HTML(html)
        if self._handle is None:
            self._handle = self._display.display(shown, display_id=True)
        else:
            self._handle.update(shown)


def place() -> Place | None:
    """A new place below the cell that runs; None where no notebook runs this."""
    # Without IPython, or in its terminal, there is no kernel. IPython is never imported for this.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return Place(import_module("IPython.display")) if hasattr(shell, "kernel") else None
