"""The settings in force as a TOML file that can be loaded again, except its secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from plaudit_server.config.catalogue import SETTINGS
from plaudit_server.config.configuration import Config
from plaudit_server.config.grants import NamedGrant
from plaudit_server.config.redaction import without_password
from plaudit_server.config.values import Given


def render(config: Config, given: Mapping[str, Given]) -> str:
    """The configuration as a TOML file, each setting with its origin; secrets are hidden."""
    lines: list[str] = []
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        value = getattr(getattr(config, section) if section else config, setting.name)
        origin = given[setting.key].origin if setting.key in given else "default"
        lines.append(f"{setting.name} = {_toml(value)}  # {origin}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case NamedGrant():
            projects = _toml(value.projects)
            return (
                f"{{ principal = {_toml(value.principal)}, role = {_toml(value.role.label)}, projects = {projects} }}"
            )
        case tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case str():
            return json.dumps(without_password(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return repr(value)
