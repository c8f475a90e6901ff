"""The server's settings: frozen dataclasses, and their loading from flags, environment and a TOML file.

Every setting has one name in four forms: field `tls.private_key`, flag `--tls-private-key`, variable
`PLAUDIT_TLS_PRIVATE_KEY` (or, with the value in a file, `PLAUDIT_TLS_PRIVATE_KEY_FILE`), and in the TOML file
`private_key` under `[tls]`.
"""

from __future__ import annotations

from plaudit_server.config.addresses import split_address
from plaudit_server.config.catalogue import SETTINGS, Setting
from plaudit_server.config.configuration import LOG_FORMATS, LOG_LEVELS, LOGGED_CALLS, Config
from plaudit_server.config.errors import ConfigError
from plaudit_server.config.loading import CONFIG_VARIABLE, gather, load
from plaudit_server.config.redaction import without_password
from plaudit_server.config.rendering import render
from plaudit_server.config.sections import (
    JWT_ALGORITHMS,
    Admin,
    Auth,
    Connections,
    Http,
    Jwt,
    Limits,
    Tls,
    Tokens,
    Tracing,
)
from plaudit_server.config.values import Given

__all__ = [
    "CONFIG_VARIABLE",
    "JWT_ALGORITHMS",
    "LOGGED_CALLS",
    "LOG_FORMATS",
    "LOG_LEVELS",
    "SETTINGS",
    "Admin",
    "Auth",
    "Config",
    "ConfigError",
    "Connections",
    "Given",
    "Http",
    "Jwt",
    "Limits",
    "Setting",
    "Tls",
    "Tokens",
    "Tracing",
    "gather",
    "load",
    "render",
    "split_address",
    "without_password",
]
