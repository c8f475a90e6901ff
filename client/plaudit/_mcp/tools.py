"""What an agent can do: read, count, add and revise feedback, each answer within bounds; purges only where allowed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

from plaudit._async.client import AsyncClient
from plaudit._core.errors import NotFoundError
from plaudit._core.expr import Expr, Query, all_of, field
from plaudit._mcp.answers import ANSWER_CHARACTERS, WARNING, fitted, piece, shown, written

MOST_RECORDS: Final = 50
_GROUPS: Final = 100
_SAMPLED: Final = 1_000
_PATHS: Final = 60
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://plaudit.dev/mcp/1")

GRAMMAR: Final = (
    'Filters are texts: feedback_type = "judge" and payload.score > 0.5; fields are ref, feedback_type, creator,'
    " user_id, created_at, payload.<path>, …; = != < <= > >=, ~ contains, ~* without case, ^= starts with, in [..],"
    ' not, and, or, exists(creator), type(payload.v) = "number". Texts stand in double quotes.'
)
"""The language of `where`, in short."""


class Tools:
    """The tools on one project; each returns the text of its answer. Their errors are PlauditError and ValueError."""

    def __init__(self, client: AsyncClient, session: str) -> None:
        """`session` tells this run from others, so that the same call again stores nothing twice within it."""
        self._client = client
        self._session = session

    async def find_feedback(self, where: str, ref: str, type: str, order: str, limit: int, after: int) -> str:
        """Records that match, as many as fit."""
        most = max(1, min(limit, MOST_RECORDS))
        query = self._client.get_feedback(_query(where, ref, type), order_by=order, offset=after, limit=most)
        total = await self._client.get_feedback(_query(where, ref, type)).count()
        found = [shown(record) for record in await query.execute()]

        def around(kept: int) -> dict[str, Any]:
            there = after + kept
            return {"total": total, "shown": kept, **({"next": there} if kept and there < total else {})}

        return fitted(found, around, "feedback")

    async def get_feedback(self, id: str, history: bool, path: str, start: int) -> str:
        """One record, its versions, or a part of one of its texts."""
        if history:
            versions = await self._client.history(id)
            if versions.tombstone is not None:
                return written({"purged": True, "id": id, "purged_at": versions.tombstone.purged_at.isoformat()})
            found = [shown(version) for version in versions]
            return fitted(found, lambda kept: {"versions": len(found), "shown": kept}, "feedback")
        record = await self._client.get(id)
        if path:
            return written(piece(_at(record.to_dict(), path), max(start, 0)))
        whole = shown(record, ANSWER_CHARACTERS // 2)
        text = written({"note": WARNING, "feedback": whole})
        return text if len(text) <= ANSWER_CHARACTERS else fitted([shown(record)], lambda _: {"shown": 1}, "feedback")

    async def count_feedback(self, where: str, by: str) -> str:
        """How many match, by type, ref or creator."""
        query = self._client.get_feedback(_query(where, "", ""))
        if not by:
            return written({"count": await query.count()})
        if by not in ("type", "ref", "creator"):
            raise ValueError("by is type, ref or creator")
        name = {"type": "feedback_type"}.get(by, by)
        groups = await query.group_by(name).agg().sort("-row_count").limit(_GROUPS).execute()
        entries = [{by: group[name], "count": group.row_count} for group in groups]
        return fitted(entries, lambda kept: {"shown": kept, "most": _GROUPS}, "groups")

    async def list_refs(self, where: str) -> str:
        """What feedback is about, with counts."""
        query = self._client.get_feedback(_query(where, "", ""))
        groups = await query.group_by("ref").agg().sort("-row_count").limit(_GROUPS).execute()
        entries = [{"ref": group["ref"], "count": group.row_count} for group in groups]
        return fitted(entries, lambda kept: {"shown": kept, "most": _GROUPS}, "refs")

    async def describe_project(self) -> str:
        """Types with counts, the paths in payloads, and how filters are written."""
        everything = self._client.get_feedback()
        groups = await everything.group_by("feedback_type").agg().sort("-row_count").limit(_GROUPS).execute()
        types = [{"type": group["feedback_type"], "count": group.row_count} for group in groups]
        fields = (await everything.fields(_SAMPLED))[:_PATHS]
        entries = [*types, *({"field": each} for each in fields)]
        return fitted(entries, lambda kept: {"filters": GRAMMAR, "project": everything.project_id}, "seen")

    async def add_feedback(self, ref: str, type: str, payload: Mapping[str, Any], creator: str) -> str:
        """Store a record; the same call again in this session stores nothing more."""
        content = written([self._session, ref, type, payload, creator])
        id = str(uuid.uuid5(_NAMESPACE, content))
        stored = await self._client.create(
            {"id": id, "ref": ref, "feedback_type": type, "payload": payload, "creator": creator}
        )
        return written({"stored": stored if isinstance(stored, str) else getattr(stored, "id", id)})

    async def revise_feedback(self, id: str, payload: Mapping[str, Any], expected_version: int) -> str:
        """Change some keys of a record's payload, in a new version; the old one stays in its history."""
        stored = await self._client.update(id, payload=payload, expected_version=expected_version)
        return written({"revised": stored.id, "version": stored.version})

    async def purge_feedback(self, ids: list[str], dry_run: bool) -> str:
        """Remove records for good, or count how many there are to remove."""
        if not dry_run:
            return written({"purged": await self._client.purge(ids)})
        found = 0
        for id in ids:
            try:
                await self._client.get(id)
                found += 1
            except NotFoundError:
                continue
        return written({"would_purge": found, "note": "call again with dry_run false to purge them for good"})


def _query(where: str, ref: str, type: str) -> Query | None:
    conditions: list[Expr] = []
    if where.strip():
        conditions.append(Query.from_text(where).expr)
    if ref:
        conditions.append(field("ref") == ref)
    if type:
        conditions.append(field("feedback_type") == type)
    return Query(all_of(conditions)) if conditions else None


def _at(record: Any, path: str) -> str:
    """A part of a record as text. Raises ValueError for a path that leads nowhere."""
    value = record
    for name in path.replace("[", ".").replace("]", "").split("."):
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(f"there is nothing at {path}") from None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
