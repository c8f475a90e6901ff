"""A purge by query on an engine alone, without a writer or a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from plaudit_server.errors import DomainError
from plaudit_server.feedback.commands import Purge, Purged
from plaudit_server.feedback.purging import Progress, Purging
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import Engine
from plaudit_server.store.work import Owner, Work


def purging(
    store: Engine,
    project: str,
    user_id: str = "p",
    *,
    owner: str | None = None,
    dry_run: bool = False,
    seconds: float | None = None,
    told: Callable[[int], None] | None = None,
    share: float = 1.0,
) -> Purging:
    """A purge that writes to the engine itself, and has `seconds`; None is for as long as it takes."""

    async def submit(command: Purge) -> Purged | DomainError:
        [outcome] = (await store.write([command])).outcomes
        assert isinstance(outcome, Purged | DomainError)
        return outcome

    return Purging(
        store,
        submit,
        project=project,
        user_id=user_id,
        owner=owner,
        dry_run=dry_run,
        work=Work(Owner(user_id, project), None if seconds is None else time.monotonic() + seconds),
        told=told,
        share=share,
    )


async def purge(
    store: Engine, project: str, user_id: str = "p", filter: Operation | None = None, limit: int = 10_000, **more: Any
) -> tuple[int, bool]:
    """Purge by query: how many records, and whether more match."""
    going = purging(store, project, user_id, **more)
    progress = await going.matches(filter, Progress(), limit)
    return going.removed, progress is not None


async def until_erased(store: Engine) -> None:
    """Wait until purged bytes are in no file of the store."""
    await store.erased(10)
    if store.erasure_pending:
        pytest.fail("the erasure is still pending")
