"""The catalogue of settings: each with the names that it has in Config, in the file, as a flag and as a variable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Final, NamedTuple, get_type_hints

from plaudit_server.config.configuration import Config


class Setting(NamedTuple):
    """One setting: its place in Config, its type, default, one-line help and choices."""

    section: str
    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...]

    @property
    def key(self) -> str:
        """As in messages and in the file: `tls.private_key`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def parameter(self) -> str:
        """As a Python identifier: `tls_private_key`."""
        return self.key.replace(".", "_")

    @property
    def flag(self) -> str:
        """As on the command line: `--tls-private-key`."""
        return "--" + self.parameter.replace("_", "-")

    @property
    def variable(self) -> str:
        """As in the environment: `PLAUDIT_TLS_PRIVATE_KEY`."""
        return "PLAUDIT_" + self.parameter.upper()


def _settings_of(kind: type, section: str) -> Iterator[Setting]:
    types = get_type_hints(kind)
    for part in fields(kind):
        if is_dataclass(types[part.name]):
            yield from _settings_of(types[part.name], part.name)
        else:
            meta = part.metadata
            yield Setting(section, part.name, types[part.name], part.default, meta["help"], meta["choices"])


SETTINGS: Final = tuple(_settings_of(Config, ""))
