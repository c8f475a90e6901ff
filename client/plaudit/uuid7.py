"""The former place of the maker of ids, which feedback gets by itself."""

from __future__ import annotations

import warnings

from plaudit._contract.uuid7 import *  # noqa: F403 - each name, as before

warnings.warn(
    "plaudit.uuid7 is private now: use a package for UUIDs for ids of your own", DeprecationWarning, stacklevel=2
)
