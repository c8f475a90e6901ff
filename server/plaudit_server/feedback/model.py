"""The plain model of feedback, in dicts and lists: what the steps are tested against, not for keeping anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import DomainError
from plaudit_server.feedback.commands import Purge, Purged, Replace
from plaudit_server.feedback.counted import Tally
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import (
    BatchRejected,
    FeedbackExists,
    FeedbackNotFound,
    FeedbackPurged,
    NotOwner,
    UnderHold,
    VersionMismatch,
)
from plaudit_server.feedback.importing import Existing, Fate, Import, Imported
from plaudit_server.feedback.purging import FindIds, FindMatches, Found, Match
from plaudit_server.feedback.reacting import ClearReaction, React, Reacting, Reaction
from plaudit_server.feedback.reactions import Reacted, reactions
from plaudit_server.feedback.reads import (
    Change,
    Changes,
    Count,
    Get,
    Page,
    PlacedRef,
    RefCount,
    Select,
    SelectChanges,
    SelectRefs,
    SelectVersions,
    Versions,
)
from plaudit_server.feedback.records import (
    CONTENT_COLUMNS,
    ChangeKind,
    Record,
    Retained,
    Row,
    Tombstone,
    content_of,
    seal,
)
from plaudit_server.feedback.retaining import Due, FindDue, Removed, Retain, wire_form
from plaudit_server.query.evaluate import matches, sort_key
from plaudit_server.query.tree import Operation
from plaudit_server.store.ledger import ProjectRevision, ProjectRevisions


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of a record, and the change that made it."""

    record: Record
    kind: ChangeKind
    version: int
    revision: int
    created_at: int
    updated_at: int
    owner: str

    @property
    def key(self) -> tuple[int, str]:
        return self.created_at, self.record.id

    def row(self) -> Row:
        record = self.record
        payload = record.payload.encode()
        return seal(record.body, payload, self.created_at, self.updated_at, self.version, self.revision, self.owner)

    def columns(self) -> Mapping[str, Any]:
        """The record as queries see it."""
        record = self.record
        values: dict[str, Any] = {name: getattr(record, name) for name in CONTENT_COLUMNS}
        for name in values:
            if name.startswith("scorer_") and name != "scorer_trace_id":
                values[name] = json.loads(values[name])
        return values | {
            "project": record.project,
            "id": record.id,
            "payload": record.payload,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "version": self.version,
            "revision": self.revision,
            "owner": self.owner,
        }


@dataclass(slots=True)
class _Project:
    """Everything of one project: each record's versions, oldest first, or its tombstone."""

    records: dict[str, list[_Version]] = field(default_factory=dict)
    tombstones: dict[str, Tombstone] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    notes: list[Change] = field(default_factory=list)
    """The changes that are about no one record."""
    held: bool = False
    revision: int = 0
    time: int = 0

    def copy(self) -> _Project:
        twin = copy(self)
        twin.records = {id: list(versions) for id, versions in self.records.items()}
        twin.tombstones = dict(self.tombstones)
        twin.gone = set(self.gone)
        twin.notes = list(self.notes)
        return twin

    def in_time(self) -> list[_Version]:
        return sorted((versions[-1] for versions in self.records.values()), key=lambda version: version.key)

    def match(self, version: _Version) -> Match:
        payloads = [held.record.payload for held in self.records[version.record.id]]
        return Match(version.record.id, version.revision, sum(len(payload.encode()) for payload in payloads))

    def matching(self, filter: Operation | None) -> list[_Version]:
        newest = [versions[-1] for versions in self.records.values()]
        return [version for version in newest if _passes(filter, version)]


def _passes(filter: Operation | None, version: _Version) -> bool:
    return filter is None or matches(filter, version.columns()) is True


class FeedbackModel:
    """Feedback in dicts and lists; `clock` gives microseconds since 1970 UTC."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._projects: dict[str, _Project] = {}
        self.reads: dict[type[Any], Callable[[Any], Any]] = {
            Get: lambda read: self.get(read.project, read.id, read.version),
            Select: self.select,
            Count: lambda read: self.count(read.project, read.filter),
            Tally: lambda read: None,  # it has no counters
            SelectRefs: self.refs,
            SelectVersions: lambda read: self.versions(read.project, read.id, read.after_version, read.limit),
            SelectChanges: lambda read: self.changes(read.project, read.after, read.filter, read.limit, read.max_bytes),
            FindMatches: self.find_matches,
            FindIds: self.find_ids,
            FindDue: self.find_due,
            ProjectRevision: lambda read: self._project(read.project).revision,
            ProjectRevisions: lambda read: {
                project: self._projects[project].revision for project in read.projects if project in self._projects
            },
        }
        self.commands: dict[type[Any], Callable[[Any], Any]] = {
            Create: self._create,
            Import: self._import,
            Replace: self._replace,
            React: self._react,
            ClearReaction: self._clear_reaction,
            Purge: self._purge,
            Retain: self._retain,
        }

    def revision(self, project: str) -> int:
        """The project's revision."""
        return self._project(project).revision

    def rows(self, project: str) -> list[Mapping[str, Any]]:
        """Every record of a project as queries see it."""
        return [version.columns() for version in self._project(project).matching(None)]

    def _project(self, name: str) -> _Project:
        return self._projects.setdefault(name, _Project())

    def _tick(self, project: _Project) -> int:
        project.time = max(self._clock(), project.time + 1)
        return project.time

    def _create(self, command: Create) -> Any:
        before = self._project(command.project).copy()
        results = [self._create_one(record) for record in command.records]
        refused = {index: result for index, result in enumerate(results) if isinstance(result, DomainError)}
        if refused and command.atomic:
            self._projects[command.project] = before
            return BatchRejected(refused)
        return results

    def _import(self, command: Import) -> list[Imported | DomainError]:
        return [self._import_one(record, command.existing) for record in command.records]

    def _import_one(self, record: Record, existing: Existing) -> Imported | DomainError:
        project = self._project(record.project)
        versions = project.records.get(record.id)
        if versions is None or existing is Existing.REFUSE:
            stored = self._create_one(record, record)
            if isinstance(stored, DomainError):
                return stored
            return Imported(Fate.CREATED if versions is None else Fate.THERE, stored)
        newest = versions[-1]
        if _same_but_for_the_user(record, newest.record):
            return Imported(Fate.THERE, newest.row())
        if existing is Existing.KEEP or record.updated_at is None or record.updated_at <= newest.updated_at:
            return Imported(Fate.KEPT, newest.row())
        if project.held:
            return UnderHold(record.project)
        project.revision += 1
        number = max(newest.version + 1, record.version or 1)
        at = newest.created_at, record.updated_at
        version = _Version(record, ChangeKind.REPLACED, number, project.revision, *at, newest.owner)
        versions.append(version)
        return Imported(Fate.UPDATED, version.row())

    def _create_one(self, record: Record, given: Record | None = None) -> Row | DomainError:
        """With `given`, whose stamps are kept, an import."""
        project = self._project(record.project)
        if record.id in project.tombstones or record.id in project.gone:
            return FeedbackPurged(record.project, record.id)
        if record.id in project.records:
            first, newest = project.records[record.id][0], project.records[record.id][-1]
            same = content_of(first.record) == content_of(record)
            if same and same_content(first.record.payload, record.payload):
                return newest.row()
            return FeedbackExists(record.project, record.id)
        project.revision += 1
        created_at = given.created_at if given is not None and given.created_at is not None else self._tick(project)
        updated_at = given.updated_at if given is not None and given.updated_at is not None else created_at
        number = given.version if given is not None and given.version else 1
        version = _Version(record, ChangeKind.CREATED, number, project.revision, created_at, updated_at, record.user_id)
        project.records[record.id] = [version]
        return version.row()

    def _replace(self, command: Replace) -> Any:
        project, record = self._project(command.project), command.record
        if record.id not in project.records:
            return FeedbackNotFound(command.project, record.id)
        newest = project.records[record.id][-1]
        if command.owner is not None and newest.owner != command.owner:
            return NotOwner(command.project, record.id)
        expected = command.expected_version
        if _same_but_for_the_user(record, newest.record) and expected in (0, newest.version, newest.version - 1):
            return newest.row()
        if expected not in (0, newest.version):
            return VersionMismatch(command.project, record.id, expected, newest.version)
        if project.held:
            return UnderHold(command.project)
        project.revision += 1
        version = _Version(
            record,
            ChangeKind.REPLACED,
            newest.version + 1,
            project.revision,
            newest.created_at,
            self._tick(project),
            newest.owner,
        )
        project.records[record.id].append(version)
        return version.row()

    def _purge(self, command: Purge) -> Any:
        project = self._project(command.project)
        revisions = dict(zip(command.ids, command.revisions, strict=False))
        doomed = [
            version
            for version in project.in_time()
            if version.record.id in command.ids
            and (version.revision == revisions.get(version.record.id) or _passes(command.filter, version))
        ]
        if command.owner is not None:
            for version in doomed:
                if version.owner != command.owner:
                    return NotOwner(command.project, version.record.id)
        if doomed and project.held:
            return UnderHold(command.project)
        if doomed:
            at = self._tick(project)
            for version in doomed:
                record = version.record
                project.revision += 1
                project.tombstones[record.id] = Tombstone(
                    record.id, record.ref, record.feedback_type, command.user_id, at, project.revision
                )
                del project.records[record.id]
        return Purged(len(doomed))

    def find_matches(self, find: FindMatches) -> Found:
        """A slice of what a purge by query removes."""
        project = self._project(find.project)
        rows = project.in_time()
        until = find.until
        if until is None:
            if not rows:
                return Found([], None, 0)
            until = rows[-1].created_at
        rows = [row for row in rows if row.created_at <= until and (find.after is None or row.key > find.after)]
        reached = None
        if find.window is not None and len(rows) >= find.window:
            rows = rows[: find.window]
            reached = rows[-1].key
        rows = [row for row in rows if _passes(find.filter, row) and row.owner != find.not_of]
        if len(rows) > find.limit:
            rows = rows[: find.limit]
            reached = rows[-1].key
        return Found([project.match(row) for row in rows], reached, until)

    def find_ids(self, find: FindIds) -> list[Match] | DomainError:
        """What a purge by ids removes."""
        project = self._project(find.project)
        found = [version for version in project.in_time() if version.record.id in find.ids]
        for version in found:
            if find.owner is not None and version.owner != find.owner:
                return NotOwner(find.project, version.record.id)
        return [project.match(version) for version in found]

    def find_due(self, find: FindDue) -> Due:
        """The oldest records whose time is over."""
        project = self._project(find.project)
        due = [row for row in project.in_time() if _is_due(row, find.feedback_type, find.before)]
        due = [row for row in due if row.key > find.after][: find.limit]
        return Due([project.match(row) for row in due], due[-1].key if len(due) == find.limit else None)

    def _retain(self, command: Retain) -> Any:
        project = self._project(command.project)
        due = [row for row in project.in_time() if _is_due(row, command.feedback_type, command.before)]
        ids = [row.record.id for row in due if row.record.id in command.ids]
        if not ids:
            return Removed(0)
        if project.held:
            return UnderHold(command.project)
        for id in ids:
            del project.records[id]
        project.gone.update(ids)
        project.revision += 1
        row = wire_form(Retained(command.feedback_type, command.before, len(ids), self._tick(project)))
        project.notes.append(Change(project.revision, ChangeKind.RETAINED, row, None))
        return Removed(len(ids))

    def hold(self, project: str, held: bool) -> None:
        """Put a project under a legal hold, or lift it."""
        self._project(project).held = held

    def _react(self, command: React) -> Any:
        reaction, project = command.reaction, command.project
        mine = reaction.mine(self._reacted(reaction))
        if mine:
            row = self.get(project, mine[0].first_id)
            return Reacting(False, reaction.summary(self._reacted(reaction)), row, self.revision(project))
        stored = self._create_one(command.record)
        if isinstance(stored, DomainError):
            return stored
        return Reacting(True, reaction.summary(self._reacted(reaction)), stored, self.revision(project))

    def _clear_reaction(self, command: ClearReaction) -> Any:
        reaction = command.reaction
        ids = [each.first_id for each in reaction.mine(self._reacted(reaction))]
        if ids:
            purged = self._purge(Purge(command.project, reaction.viewer.owner, ids))
            if isinstance(purged, DomainError):
                return purged
        summary = reaction.summary(self._reacted(reaction))
        return Reacting(bool(ids), summary, None, self.revision(command.project))

    def _reacted(self, reaction: Reaction) -> list[Reacted]:
        return reactions(row for row in self.rows(reaction.project) if row["ref"] == reaction.ref)

    def get(self, project: str, id: str, version: int = 0) -> Row | None:
        """One record."""
        versions = self._project(project).records.get(id, [])
        if version == 0:
            return versions[-1].row() if versions else None
        return next((v.row() for v in versions if v.version == version), None)

    def select(self, select: Select) -> Page:
        """A page of rows."""
        project = self._project(select.project)
        found = project.matching(select.filter)
        total = len(found) if select.with_total else None
        keyed = sorted(((sort_key(select.order, v.columns()), v) for v in found), key=lambda pair: pair[0])
        if select.after is not None:
            keyed = [pair for pair in keyed if pair[0] > select.after]
        keyed = keyed[select.offset :]
        rows: list[Row] = []
        size = 0
        for _, version in keyed[: max(select.limit, 0)]:
            row = version.row()
            size += len(row.head) + len(row.payload)
            if rows and size > select.max_bytes:
                break
            rows.append(row)
        last = keyed[len(rows) - 1][0] if 0 < len(rows) < len(keyed) else None
        return Page(rows, last, project.revision, total)

    def count(self, project: str, filter: Operation | None) -> int:
        """How many rows match."""
        return len(self._project(project).matching(filter))

    def refs(self, read: SelectRefs) -> list[RefCount]:
        """Unique refs of matching rows."""
        found: dict[str, list[_Version]] = {}
        for version in self._project(read.project).matching(read.filter):
            found.setdefault(version.record.ref, []).append(version)
        if read.without is not None:
            for version in self._project(read.project).matching(read.without):
                found.pop(version.record.ref, None)
        counted = []
        for ref, versions in found.items():
            at = [version.created_at for version in versions]
            last = max(version.updated_at for version in versions)
            place = {"uri": 0, "count": len(at), "last_change": last}[read.order]
            if ref.startswith(read.prefix):
                counted.append(RefCount(ref, len(at), min(at), max(at), place))
        counted.sort(key=lambda count: (-count.place, count.ref))
        after = PlacedRef(0, read.after) if isinstance(read.after, str) else read.after
        if after is not None:
            counted = [count for count in counted if (-count.place, count.ref) > (-after.value, after.ref)]
        return counted[: read.limit]

    def versions(self, project: str, id: str, after_version: int, limit: int) -> Versions:
        """The versions of one record."""
        held = self._project(project)
        rows = [version.row() for version in held.records.get(id, []) if version.version > after_version]
        return Versions(rows[:limit], len(rows) > limit, held.tombstones.get(id))

    def changes(
        self, project: str, after: int, filter: Operation | None, limit: int, max_bytes: int = 4_000_000
    ) -> Changes:
        """Changes above a revision."""
        held = self._project(project)
        passing = sorted(change for change in _changes(held, filter) if change.revision > after)
        taken: list[Change] = []
        size = 0
        for change in passing:
            size += sum(map(len, change.row)) if change.row else 0
            if len(taken) == limit or (taken and size > max_bytes):
                return Changes(taken, taken[-1].revision if taken else after)
            taken.append(change)
        return Changes(taken, held.revision)


def _same_but_for_the_user(a: Record, b: Record) -> bool:
    names = [name for name in CONTENT_COLUMNS if name != "user_id"]
    return all(getattr(a, name) == getattr(b, name) for name in names) and same_content(a.payload, b.payload)


def _is_due(row: _Version, feedback_type: str | None, before: int) -> bool:
    return feedback_type in (row.record.feedback_type, None) and row.created_at < before


def _changes(project: _Project, filter: Operation | None) -> Iterator[Change]:
    yield from project.notes
    for tombstone in project.tombstones.values():
        yield Change(tombstone.revision, ChangeKind.PURGED, None, tombstone)
    for versions in project.records.values():
        before: _Version | None = None
        for version in versions:
            if _passes(filter, version) or (before is not None and _passes(filter, before)):
                yield Change(version.revision, version.kind, version.row(), None)
            before = version
