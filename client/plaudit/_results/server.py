"""What a server says of itself, of the projects in it, and of who calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from plaudit import v1
from plaudit._core.fields import to_datetime


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server is."""

    version: str
    """The version of plaudit."""
    store: str
    """The kind of store: `sqlite` or `postgresql`."""
    limits: Mapping[str, int]
    """The limits in force, by name; bytes, characters or counts."""
    erasure_pending: bool
    """Whether bytes of purged content may still be in the store's files."""
    store_id: str = ""
    """The id of the store, another one after a restore or a copy; empty when the server is older than that."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project that something was ever stored in."""

    name: str
    """`entity/project`."""
    revision: int
    """The number of its last change."""
    last_changed_at: datetime
    """When that was, in UTC."""
    record_count: int | None
    """How many records it has; None where the server does not count them."""

    @classmethod
    def from_proto(cls, message: v1.Project) -> Self:
        """A project of an answer."""
        count = message.record_count if message.HasField("record_count") else None
        return cls(message.name, message.revision, to_datetime(message.last_changed_at), count)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role on some projects."""

    role: str
    """`reader`, `writer`, `editor` or `administrator`."""
    projects: tuple[str, ...]
    """Patterns of project names."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what the caller may do."""

    name: str
    """The principal's name, which becomes `user_id`."""
    credential: str
    """The kind of the credential: `none`, `api_key`, `jwt` or `certificate`."""
    grants: tuple[Grant, ...]
    """What the caller may do; only for the principal of a key or a JWT of its own."""
    expires_at: datetime | None
    """When the credential ends, in UTC; None when it does not."""

    @classmethod
    def from_proto(cls, message: v1.GetCallerResponse) -> Self:
        """The caller of an answer."""
        grants = tuple(Grant(grant.role, tuple(grant.projects)) for grant in message.grants)
        expires_at = to_datetime(message.expires_at) if message.HasField("expires_at") else None
        return cls(message.name, message.credential, grants, expires_at)
