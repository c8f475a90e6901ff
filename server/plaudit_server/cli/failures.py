"""How a command fails: what an operator can repair is one line, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from plaudit_server.config import ConfigError


@contextmanager
def failures() -> Iterator[None]:
    """Print what an operator can repair as one line, and leave with exit code 1."""
    from plaudit_server.errors import StartError
    from plaudit_server.store.base import StoreError

    try:
        yield
    except (ConfigError, StartError, StoreError) as error:
        print(f"plaudit-server: {error}", file=sys.stderr)
        sys.exit(1)
