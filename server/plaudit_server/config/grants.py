"""Roles, project patterns, and grants of roles on them: pure values, the same in settings, keys and claims."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

logger = logging.getLogger("plaudit_server")

PATTERN_BYTES: Final = 256
_SHOWN_CHARACTERS: Final = 64


class Role(IntEnum):
    """What a principal is in a project; each role may do what the ones below it may."""

    READER = 1
    WRITER = 2
    EDITOR = 3
    ADMINISTRATOR = 4

    @classmethod
    def parse(cls, name: str) -> Role:
        """The role of a lower-case name. Raises ValueError, which lists the roles."""
        for role in cls:
            if role.label == name:
                return role
        raise ValueError(f"unknown role {name!r}; use {', '.join(role.label for role in cls)}")

    @property
    def label(self) -> str:
        """The role's name, lower case, as in configuration, keys and claims."""
        return self.name.lower()


def check_pattern(pattern: str) -> str:
    """Return a pattern unchanged. Raises ValueError unless it is `*`, or two parts with one `/` between them."""
    parts = pattern.split("/")
    usable = pattern == "*" or (len(parts) == 2 and all(parts))
    if not usable or not pattern.isprintable() or " " in pattern or len(pattern.encode()) > PATTERN_BYTES:
        raise ValueError(f"{pattern!r} is no project pattern; use entity/project, entity/* or *")
    return pattern


def matches(pattern: str, project: str) -> bool:
    """Whether a pattern covers a project: `*` means any text without `/`, and alone every project."""
    return pattern == "*" or _expression(pattern).fullmatch(project) is not None


def known_role(name: str, where: str) -> Role | None:
    """The role of a name that was stored or configured; None for one that this version does not know.

    A later version may have more roles. What is granted with one of them is ignored here, with one warning for each
    name, in which `where` names what has the role.
    """
    for role in Role:
        if role.label == name:
            return role
    _warn_of_role(name[:_SHOWN_CHARACTERS], where)
    return None


@lru_cache(maxsize=64)
def _warn_of_role(name: str, where: str) -> None:
    """Cached, so that each is logged once."""
    logger.warning("%s has the role %r, which this version does not know: it is ignored", where, name)


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile("[^/]*".join(map(re.escape, re.split(r"\*+", pattern))))


@dataclass(frozen=True, slots=True)
class Grant:
    """A role on the projects of some patterns."""

    role: Role
    projects: tuple[str, ...]

    def __post_init__(self) -> None:
        for pattern in self.projects:
            check_pattern(pattern)

    def covers(self, project: str) -> bool:
        """Whether the role holds in this project."""
        return "*" in self.projects or any(matches(pattern, project) for pattern in self.projects)


@dataclass(frozen=True, slots=True)
class NamedGrant:
    """A role on some projects for the principals of a name; `*` in the name means any text."""

    principal: str
    role: Role
    projects: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.principal:
            raise ValueError("a grant needs the name of its principal")
        if self.principal.startswith("token:"):
            raise ValueError("a grant is not for feedback tokens: what they may do is in the token")
        for pattern in self.projects:
            check_pattern(pattern)

    def names(self, principal: str) -> bool:
        """Whether the grant is for this principal."""
        if self.principal == principal:
            return True
        parts = map(re.escape, re.split(r"\*+", self.principal))
        return re.fullmatch(".*".join(parts), principal, re.DOTALL) is not None

    @property
    def grant(self) -> Grant:
        """What is granted."""
        return Grant(self.role, self.projects)
