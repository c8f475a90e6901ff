"""The former place of the API's limits: those in force are in what `Client.server_info` returns."""

from __future__ import annotations

import warnings

from plaudit._contract.limits import *  # noqa: F403 - each name, as before

warnings.warn(
    "plaudit.limits is private now: the limits in force are in Client.server_info()", DeprecationWarning, stacklevel=2
)
