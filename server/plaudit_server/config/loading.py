"""Loading settings from flags, the environment and a TOML file; another module reads their values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_type_hints

from plaudit_server.config.catalogue import SETTINGS
from plaudit_server.config.configuration import Config
from plaudit_server.config.errors import ConfigError
from plaudit_server.config.values import Given, read_value

CONFIG_VARIABLE: Final = "PLAUDIT_CONFIG"
_CLIENT_VARIABLES: Final = {"PLAUDIT_TARGET", "PLAUDIT_PROJECT", "PLAUDIT_API_KEY", "PLAUDIT_API_KEY_FILE"}
# Settings of our own tests, whose environment the servers that they start inherit.
_TESTS_PREFIX: Final = "PLAUDIT_TEST_"
# What Kubernetes adds to every pod next to a Service named plaudit…
_SERVICE_LINK: Final = re.compile(r"PLAUDIT(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_.*)?)")


def load(flags: Mapping[str, object], environ: Mapping[str, str], toml_path: str | Path | None = None) -> Config:
    """The configuration in force: flags over environment over the TOML file over defaults.

    `flags` are by parameter name (`tls_private_key`); None means not given. Without `toml_path` the file that
    PLAUDIT_CONFIG names is read, if any. Raises ConfigError for anything unknown, unreadable or wrong.
    """
    given = gather(flags, environ, toml_path)
    values: dict[str, dict[str, Any]] = {}
    for setting in SETTINGS:
        if (found := given.get(setting.key)) is not None:
            values.setdefault(setting.section, {})[setting.name] = read_value(setting, found)
    types = get_type_hints(Config)
    sections = {name: types[name](**parts) for name, parts in values.items() if name}
    return Config(**values.get("", {}), **sections)


def gather(
    flags: Mapping[str, object], environ: Mapping[str, str], toml_path: str | Path | None = None
) -> dict[str, Given]:
    """The value in force for each key that is given, still raw, with its origin. Raises ConfigError."""
    path = toml_path or environ.get(CONFIG_VARIABLE)
    given = _from_file(Path(path)) if path else {}
    given.update(_from_environment(environ))
    unknown = set(flags) - {setting.parameter for setting in SETTINGS}
    if unknown:
        raise ConfigError(f"unknown setting {min(unknown)}")
    for setting in SETTINGS:
        value = flags.get(setting.parameter)
        if value is not None and value != ():
            given[setting.key] = Given(value, setting.flag)
    return given


def _from_file(path: Path) -> dict[str, Given]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path given as --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no TOML file: {error}") from error
    sections = {setting.section for setting in SETTINGS if setting.section}
    found: dict[str, Any] = {}
    for name, value in document.items():
        if name in sections:
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: {name} is a section; write [{name}] and its settings below")
            found.update({f"{name}.{inner}": content for inner, content in value.items()})
        else:
            found[name] = value
    known = {setting.key for setting in SETTINGS}
    for key in found:
        if key not in known:
            raise ConfigError(f"{path}: unknown setting {key}; `plaudit-server config` lists those there are")
    return {key: Given(value, f"{path}: {key}") for key, value in found.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    by_variable = {setting.variable: setting for setting in SETTINGS}
    found: dict[str, Given] = {}
    for variable, value in environ.items():
        if not variable.startswith("PLAUDIT_") or variable in (*_CLIENT_VARIABLES, CONFIG_VARIABLE):
            continue
        if variable.startswith(_TESTS_PREFIX):
            continue
        if (setting := by_variable.get(variable)) is not None:
            found[setting.key] = Given(value, variable)
        elif (setting := by_variable.get(variable.removesuffix("_FILE"))) is not None:
            if setting.variable in environ:
                raise ConfigError(f"{setting.variable} and {variable} are both set; keep one of them")
            found[setting.key] = Given(_content(value, variable), variable)
        elif not _SERVICE_LINK.fullmatch(variable):
            raise ConfigError(f"unknown variable {variable}; `plaudit-server serve --help` lists those there are")
    return found


def _content(path: str, variable: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable}: cannot read the file {path}") from error
