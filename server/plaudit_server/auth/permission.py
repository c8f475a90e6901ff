"""What each role may do: one table of RPCs and rights, one of rights and roles, and the decision from both; pure."""

from __future__ import annotations

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


RPC_RIGHTS: Final[dict[str, Right]] = {
    "CreateFeedback": Right.CREATE,
    "BatchCreateFeedback": Right.CREATE,
    "IngestFeedback": Right.CREATE,
    "ImportFeedback": Right.IMPORT,
    "GetFeedback": Right.READ,
    "QueryFeedback": Right.READ,
    "StreamFeedback": Right.READ,
    "CountFeedback": Right.READ,
    "ListRefs": Right.READ,
    "ReplaceFeedback": Right.REPLACE,
    "PurgeFeedback": Right.PURGE,
    "ListFeedbackVersions": Right.READ,
    "WatchFeedback": Right.READ,
    "GetServerInfo": Right.INFO,
}
"""Which right each RPC of FeedbackService needs; one that is not here is refused to everybody."""

LOWEST_ROLES: Final[dict[Right, Role]] = {
    Right.READ: Role.READER,
    Right.CREATE: Role.WRITER,
    Right.REPLACE: Role.WRITER,
    Right.PURGE: Role.WRITER,
    Right.IMPORT: Role.ADMINISTRATOR,
}
"""The lowest role that has a right. INFO is not about a project: it needs a principal and no role."""

OWN_ONLY_BELOW: Final[dict[Right, Role]] = {
    Right.REPLACE: Role.EDITOR,
    Right.PURGE: Role.EDITOR,
}
"""Rights that a role below the one named has over its own records alone."""

WRITES: Final = frozenset({Right.CREATE, Right.REPLACE, Right.PURGE, Right.IMPORT})


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may go on; with `own_only`, only for records whose user_id is the caller's."""

    allowed: bool
    own_only: bool = False


_REFUSED: Final = Decision(False)
_ALLOWED: Final = Decision(True)
_OWN_ONLY: Final = Decision(True, own_only=True)


def allowed(principal: Principal, rpc: str, project: str) -> Decision:
    """Whether a principal may make this call on a project, whether or not anything is there.

    `rpc` is the method's name; `project` is empty for the RPCs that have none.
    """
    right = RPC_RIGHTS.get(rpc)
    if right is None:
        return _REFUSED
    if right is Right.INFO:
        return _ALLOWED
    role = principal.role_in(project)
    if role is None or role < LOWEST_ROLES[right]:
        return _REFUSED
    return _OWN_ONLY if right in OWN_ONLY_BELOW and role < OWN_ONLY_BELOW[right] else _ALLOWED


def table() -> str:
    """The whole decision as a Markdown table: a row for each RPC, a column for each role."""
    head = ["RPC", "right", *(role.label for role in Role)]
    rows = [
        [f"`{rpc}`", right.value, *(_cell(rpc, role) for role in Role)] for rpc, right in sorted(RPC_RIGHTS.items())
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _cell(rpc: str, role: Role) -> str:
    decision = allowed(Principal("x", (Grant(role, ("a/b",)),)), rpc, "a/b")
    if decision.own_only:
        return "its own"
    return "yes" if decision.allowed else "no"
