"""The former place of the rules for JSON text, which the client applies by itself."""

from __future__ import annotations

import warnings

from plaudit._contract.jsontext import *  # noqa: F403 - each name, as before

warnings.warn("plaudit.jsontext is private now: use json for JSON text of your own", DeprecationWarning, stacklevel=2)
