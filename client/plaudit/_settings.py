"""Which server, which project, which key: from the arguments, else from the environment; and the settings in force.

No client is made here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

DEFAULT_TARGET: Final = "localhost:50051"
DEFAULT_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know."""

    target: str = DEFAULT_TARGET
    """`host:port`, or `https://host:port` for TLS."""
    project: str | None = None
    """`entity/project`, for calls that name no project."""
    api_key: str | None = field(default=None, repr=False)
    """Sent with each call."""
    timeout: float = DEFAULT_TIMEOUT
    """Deadline of one call with all its attempts, in seconds."""

    def __post_init__(self) -> None:
        if self.project is not None:
            check_project(self.project)
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise ValueError(f"timeout must be a number of seconds above 0, not {self.timeout!r}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("api_key must be printable ASCII")  # the text of the key is never shown

    @classmethod
    def resolve(
        cls,
        project: str | None = None,
        target: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        environment: Mapping[str, str] | None = None,
    ) -> Settings:
        """The arguments; in place of those that are None, PLAUDIT_PROJECT, PLAUDIT_TARGET and PLAUDIT_API_KEY.

        Raises ValueError for a project that is not written as `entity/project`, a bad timeout or key.
        """
        given = os.environ if environment is None else environment

        def choose(argument: str | None, name: str) -> str | None:
            return argument if argument is not None else given.get(name, "").strip() or None

        return cls(
            target=choose(target, "PLAUDIT_TARGET") or DEFAULT_TARGET,
            project=choose(project, "PLAUDIT_PROJECT"),
            api_key=choose(api_key, "PLAUDIT_API_KEY"),
            timeout=timeout,
        )


def check_project(project: str) -> str:
    """The project, if it is written as `entity/project`. Raises ValueError if it is not."""
    entity, slash, name = project.partition("/")
    if not (entity and slash and name) or "/" in name:
        raise ValueError(f"a project is written as entity/project, not {project!r}")
    return project


def in_force() -> Settings:
    """The settings of `init`; without one, those of the environment, read at the first use."""
    if not _in_force:
        _in_force.append(Settings.resolve())
    return _in_force[0]


def put_in_force(settings: Settings | None) -> None:
    """Use these settings where no client is given; with None, read the environment again at the next use."""
    _in_force[:] = [] if settings is None else [settings]


_in_force: list[Settings] = []
