"""What is different on a Citus cluster, where tables are spread over nodes: what only some of them can do or know."""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import AsyncConnection

from plaudit_server.store.base import StoreError

logger = logging.getLogger("plaudit_server")

Connection = AsyncConnection[tuple[Any, ...]]

PROBE: Final = "SELECT pg_logical_emit_message(true, 'plaudit', '')"
"""Writes to the log of the connected node alone, and waits for the disk at the commit.

Every table of the store is on other nodes too: one that is lost is no reason to send no call to this server, which may
have others for most projects.
"""

_DURABILITY: Final = (
    "SELECT nodeid::text, success, result FROM run_command_on_all_nodes("
    "$$SELECT current_setting('synchronous_commit') || ',' || current_setting('fsync') || ','"
    " || current_setting('full_page_writes')$$)"
)
_COORDINATOR: Final = (
    "SELECT (SELECT groupid FROM pg_dist_local_group) = 0,"
    " (SELECT nodename || ':' || nodeport FROM pg_dist_node WHERE groupid = 0)"
)
_UNREACHABLE: Final = (
    "SELECT count(*) FROM pg_dist_node WHERE noderole = 'primary' AND shouldhaveshards"
    " AND NOT citus_check_connection_to_node(nodename, nodeport)"
)


class Durability(NamedTuple):
    """The settings of a node on which it depends whether a commit is on disk."""

    node: str
    synchronous_commit: str
    fsync: str
    full_page_writes: str


async def is_here(connection: Connection) -> bool:
    """Whether the extension is in the database."""
    cursor = await connection.execute("SELECT count(*) FROM pg_extension WHERE extname = 'citus'")
    [(count,)] = await cursor.fetchall()
    return bool(count)


async def durability(connection: Connection, shown: str) -> list[Durability]:
    """The settings of every node that answers; one that does not is logged: it has no chance to lose a write now."""
    found = []
    for node, success, result in await _fetch(connection, _DURABILITY):
        if success:
            found.append(Durability(f"node {node}", *result.split(",")))
        else:
            logger.warning("store %s: node %s does not say how it writes to disk: %s", shown, node, result)
    return found


async def check_coordinator(connection: Connection, what: str) -> None:
    """Refuse, on a node that changes no tables, what must be done on the coordinator, and say which node that is.

    `what` is what is done, as the subject of a sentence. Raises StoreError.
    """
    if not await is_here(connection):
        return
    [(is_coordinator, coordinator)] = await _fetch(connection, _COORDINATOR)
    if not is_coordinator:
        where = f", {coordinator}" if coordinator else ""
        raise StoreError(
            f"{what} on the coordinator of the Citus cluster alone: run this command with its URL{where}; "
            f"connected to {connection.info.host}:{connection.info.port}"
        )


async def unreachable(connection: Connection) -> int:
    """How many of the nodes with rows the connected one cannot reach. Raises psycopg.Error."""
    [(count,)] = await _fetch(connection, _UNREACHABLE)
    return int(count)


def is_elsewhere(connection: Connection, error: psycopg.Error) -> bool:
    """Whether an error is about another node: the connected one is there, and passes on what it could not reach."""
    return not connection.closed and (error.sqlstate or "").startswith(("08", "XX"))


async def _fetch(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode())).fetchall()
