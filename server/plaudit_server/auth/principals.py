"""Principals: who calls, and the roles that they have; what a role permits is not decided here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from plaudit_server.config.grants import Grant, Role

PRINCIPAL_BYTES: Final = 256
TOKEN_PREFIX: Final = "token:"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the name becomes `user_id`. `expires_at` (Unix seconds) is when the credential ends, if it does."""

    name: str
    grants: tuple[Grant, ...] = ()
    credential: str = "none"
    expires_at: float | None = field(default=None, compare=False)
    project: str = ""
    """The only project that the credential is for; empty for a credential that is not bound to one."""

    def role_in(self, project: str) -> Role | None:
        """The highest role granted in a project; None for no role at all."""
        highest = None
        for grant in self.grants:  # no generator: this is asked for every call
            if (highest is None or grant.role > highest) and grant.covers(project):
                highest = grant.role
        return highest


ANONYMOUS: Final = Principal("anonymous", (Grant(Role.ADMINISTRATOR, ("*",)),))


def usable_name(name: object) -> bool:
    """Whether a name can be a principal's: 1 to 256 bytes of printable text. `token:` begins those of feedback tokens,
    and no other credential's.
    """
    usable = isinstance(name, str) and name.isprintable() and 0 < len(name.encode()) <= PRINCIPAL_BYTES
    return usable and not str(name).startswith(TOKEN_PREFIX)
