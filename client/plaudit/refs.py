"""The former place of the grammar of refs: `Ref`, `parse_ref` and `InvalidRefError` are in `plaudit`."""

from __future__ import annotations

import warnings

from plaudit._contract.refs import *  # noqa: F403 - each name, as before

warnings.warn("plaudit.refs is private now: import it from plaudit", DeprecationWarning, stacklevel=2)
