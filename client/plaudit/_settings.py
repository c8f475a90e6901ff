"""Which server, which project and which key: from the arguments, else from the environment; and the default client."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from plaudit._sync.client import Client

DEFAULT_TARGET: Final = "localhost:50051"
DEFAULT_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know."""

    target: str = DEFAULT_TARGET
    """`host:port`, or `https://host:port` for TLS."""
    project: str | None = None
    """`entity/project`, for calls that name none."""
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
            raise ValueError("api_key must be printable ASCII")  # and never shown

    @classmethod
    def resolve(
        cls,
        project: str | None = None,
        target: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        environment: Mapping[str, str] | None = None,
    ) -> Settings:
        """The arguments, and for those that are None PLAUDIT_PROJECT, PLAUDIT_TARGET and PLAUDIT_API_KEY.

        Raises ValueError for a project that is no `entity/project`, a bad timeout or key.
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
    """The project, when it is written as `entity/project`; else ValueError."""
    entity, slash, name = project.partition("/")
    if not (entity and slash and name) or "/" in name:
        raise ValueError(f"a project is written as entity/project, not {project!r}")
    return project


def init(
    project: str | None = None,
    *,
    target: str | None = None,
    api_key: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Client:
    """Make the default client, which everything uses that is given none, and return it. Connects at the first call.

    `project` is `entity/project`, `target` is `host:port` or `https://host:port`, `timeout` is in seconds; what is
    left out comes from PLAUDIT_PROJECT, PLAUDIT_TARGET and PLAUDIT_API_KEY. Raises ValueError for what is malformed.
    """
    from plaudit._sync.client import Client

    client = _default["client"] = Client(project, target=target, api_key=api_key, timeout=timeout)
    return client


def default_client() -> Client:
    """The client of `init`; without one, a client made from the environment at first use."""
    client = _default.get("client")
    if client is None:
        from plaudit._sync.client import Client

        # Of two threads that come first together, the second finds the client of the first.
        client = _default.setdefault("client", Client())
    return client


_default: dict[str, Client] = {}
