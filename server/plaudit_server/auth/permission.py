"""What each role may do: the rights, the lowest role that has each, and the decision from both; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from plaudit_server.auth.principals import Principal
from plaudit_server.config.grants import Grant, Role


class Right(StrEnum):
    """What a caller does in a project; the value completes "may not …"."""

    INFO = "info"
    READ = "read"
    CREATE = "create"
    REPLACE = "replace"
    PURGE = "purge"
    IMPORT = "import"
    DEFINE = "define"
    CHECK = "check"
    RETAIN = "set retention"
    RETENTION = "see retention"
    TOKEN = "make tokens"
    SUBMIT = "submit"
    SHOW = "read its submission"


LOWEST_ROLES: Final[dict[Right, Role]] = {
    Right.READ: Role.READER,
    Right.CREATE: Role.WRITER,
    Right.REPLACE: Role.WRITER,
    Right.PURGE: Role.WRITER,
    Right.IMPORT: Role.ADMINISTRATOR,
    Right.DEFINE: Role.ADMINISTRATOR,
    Right.CHECK: Role.EDITOR,
    Right.RETAIN: Role.ADMINISTRATOR,
    Right.RETENTION: Role.ADMINISTRATOR,
    Right.TOKEN: Role.WRITER,
}
"""The lowest role that has a right. INFO is not about a project: it needs a principal and no role. SUBMIT and SHOW are
no role's: feedback tokens have them, and nothing else.
"""

OWN_ONLY_BELOW: Final[dict[Right, Role]] = {
    Right.REPLACE: Role.EDITOR,
    Right.PURGE: Role.EDITOR,
}
"""Rights that a role below the one named has over its own records alone."""

WRITES: Final = frozenset(
    {
        Right.CREATE,
        Right.REPLACE,
        Right.PURGE,
        Right.IMPORT,
        Right.DEFINE,
        Right.RETAIN,
        Right.TOKEN,
        Right.SUBMIT,
    }
)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may go on; with `own_only`, only for records whose user_id is the caller's."""

    allowed: bool
    own_only: bool = False


_REFUSED: Final = Decision(False)
_ALLOWED: Final = Decision(True)
_OWN_ONLY: Final = Decision(True, own_only=True)


def allowed(principal: Principal, right: Right, project: str) -> Decision:
    """Whether a principal has a right in a project, whether or not anything is there.

    `project` is empty for calls that are about none.
    """
    if right is Right.INFO:
        return _ALLOWED
    role, lowest = principal.role_in(project), LOWEST_ROLES.get(right)
    if role is None or lowest is None or role < lowest:
        return _REFUSED
    below = OWN_ONLY_BELOW.get(right)
    return _ALLOWED if below is None or role >= below else _OWN_ONLY


def own_only(principal: Principal, right: Right, project: str) -> bool:
    """Whether a principal has a right over its own records alone, or over none."""
    decision = allowed(principal, right, project)
    return decision.own_only or not decision.allowed


def table(rights: Mapping[str, Right]) -> str:
    """The whole decision as a Markdown table: a row for each RPC, a column for each role.

    `rights` are the rights that RPCs need, by the name of the method.
    """
    head = ["RPC", "right", *(role.label for role in Role)]
    rows = [[f"`{rpc}`", right.value, *(_cell(right, role) for role in Role)] for rpc, right in sorted(rights.items())]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _cell(right: Right, role: Role) -> str:
    decision = allowed(Principal("x", (Grant(role, ("a/b",)),)), right, "a/b")
    if decision.own_only:
        return "its own"
    return "yes" if decision.allowed else "no"
