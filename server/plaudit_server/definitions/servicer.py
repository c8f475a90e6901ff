"""The RPCs of DefinitionService: each one validates, calls and answers; nothing else happens here."""

from __future__ import annotations

from functools import partial
from typing import Final, TypeVar

from plaudit import v1 as wire
from plaudit._contract import jsontext, limits
from plaudit.v1 import (
    CheckDefinitionRequest,
    CheckDefinitionResponse,
    GetDefinitionRequest,
    GetDefinitionResponse,
    ListDefinitionsRequest,
    ListDefinitionsResponse,
    PutDefinitionRequest,
    PutDefinitionResponse,
)
from plaudit_server.definitions import rules
from plaudit_server.definitions.cache import Cache, usable
from plaudit_server.definitions.commands import PutDefinition, subject_of, tried
from plaudit_server.definitions.errors import DefinitionNotFound
from plaudit_server.definitions.reads import (
    GetStored,
    Records,
    SelectDefinitions,
    SelectRecordsToTry,
    SelectVersionsThatMatter,
)
from plaudit_server.definitions.records import Defined, Definition, StoredDefinition
from plaudit_server.definitions.schema import SchemaSupportMissing
from plaudit_server.definitions.trial import Trial
from plaudit_server.errors import InvalidFields, Violation
from plaudit_server.feedback.questions import parsed, refuse
from plaudit_server.feedback.rules import check_page_size, check_project, check_version
from plaudit_server.rpc import paging
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.resource import Parts
from plaudit_server.rpc.wire import set_timestamp
from plaudit_server.store.base import accepted

T = TypeVar("T")

TRIED_RECORDS: Final = 10_000
"""The most records that one call tries a definition on."""

_TRIED_ROWS: Final = 1_000  # read at a time
_TRIED_BYTES: Final = 4 * limits.MIB


class DefinitionService:
    """One coroutine per RPC, under the RPC's name."""

    def __init__(self, parts: Parts, cache: Cache) -> None:
        self._store = parts.store
        self._writer = parts.writer
        self._deadlines = parts.deadlines
        self._cache = cache
        self._checks = parts.checks

    async def PutDefinition(self, call: Call, request: PutDefinitionRequest) -> PutDefinitionResponse:
        out: list[Violation] = []
        check_project(request.project, out)
        expected = request.expected_version if request.HasField("expected_version") else None
        checked = request.checked_revision if request.HasField("checked_revision") else None
        check_version(expected or 0, out, "expected_version")
        check_version(checked or 0, out, "checked_revision")
        definition = await self._read(call, request.definition, request.project, out)
        refuse(out)
        assert definition is not None
        command = PutDefinition(
            request.project,
            call.user_id,
            definition,
            partial(usable, request.project),
            jsontext.decode,
            expected,
            checked,
            self._deadlines.write(call, request.project),
        )
        stored = accepted(await self._writer.submit(command))
        # The next record here would find this out at its commit, as those on other servers do.
        await self._cache.load(request.project)
        return PutDefinitionResponse(definition=_message(stored))

    async def GetDefinition(self, call: Call, request: GetDefinitionRequest) -> GetDefinitionResponse:
        out: list[Violation] = []
        check_project(request.project, out)
        check_version(request.version, out)
        _check_type(request.feedback_type, out, required=True)
        refuse(out)
        read = GetStored(request.project, request.feedback_type, request.version)
        stored = await self._store.read(read, self._deadlines.read(call, request.project))
        if stored is None:
            raise DefinitionNotFound(request.project, request.feedback_type)
        return GetDefinitionResponse(definition=_message(stored))

    async def ListDefinitions(self, call: Call, request: ListDefinitionsRequest) -> ListDefinitionsResponse:
        out: list[Violation] = []
        check_project(request.project, out)
        _check_type(request.feedback_type, out)
        size = check_page_size(request.page_size, out)
        refuse(out)
        scope = paging.scope_of(request)
        after = ("", 0)
        if request.page_token:
            type, version = paging.unseal(request.page_token, scope, self._store.store_id).after
            after = str(type), int(version or 0)
        read = SelectDefinitions(request.project, request.feedback_type, request.all_versions, after, size)
        found = await self._store.read(read, self._deadlines.read(call, request.project))
        response = ListDefinitionsResponse(
            definitions=[_message(stored) for stored in found.definitions], definitions_version=found.number
        )
        if found.more:
            last = found.definitions[-1]
            cursor = paging.Cursor((last.feedback_type, last.version), None)
            response.next_page_token = paging.seal(cursor, scope, self._store.store_id)
        return response

    async def CheckDefinition(self, call: Call, request: CheckDefinitionRequest) -> CheckDefinitionResponse:
        out: list[Violation] = []
        check_project(request.project, out)
        if request.page_size < 0:
            out.append(Violation("page_size", "must not be negative"))
        filter = parsed(request.query, out) if request.HasField("query") else None
        given = request.definition
        type = given.feedback_type
        only_type = given == wire.Definition(feedback_type=type)
        definition = None if only_type else await self._read(call, given, request.project, out)
        if only_type:
            _check_type(type, out, "definition.feedback_type", required=True)
        refuse(out)
        work = self._deadlines.read(call, request.project)
        stored = await self._store.read(SelectVersionsThatMatter(request.project, type), work)
        if definition is None and not stored:
            raise DefinitionNotFound(request.project, type)
        defined = await self._checks.apart(call, partial(self._defined, request.project, stored, definition))
        scope = paging.scope_of(request)
        after, revision = 0, None
        if request.page_token:
            last, first = paging.unseal(request.page_token, scope, self._store.store_id).after
            after, revision = int(last or 0), int(first or 0)
        trial = Trial(defined)
        left = min(request.page_size or TRIED_RECORDS, TRIED_RECORDS)
        more = True
        while more and left > 0 and not trial.exhausted:
            read = SelectRecordsToTry(request.project, type, filter, after, min(left, _TRIED_ROWS), _TRIED_BYTES)
            found = await self._store.read(read, work)
            revision = found.revision if revision is None else revision
            looked = await self._checks.apart(call, partial(_try, trial, found))
            if found.records:
                after = found.records[looked - 1].revision
            left -= looked
            more = found.more or looked < len(found.records)
        response = CheckDefinitionResponse(
            checked_count=trial.checked,
            breaking_count=trial.breaking,
            repeated_count=trial.repeated,
            breakages=[
                wire.Breakage(path=path, description=description, count=count, ids=ids)
                for path, description, count, ids in trial.breakages()
            ],
            revision=revision or 0,
        )
        if more:
            cursor = paging.Cursor((after, revision or 0), None)
            response.next_page_token = paging.seal(cursor, scope, self._store.store_id)
        return response

    async def _read(
        self, call: Call, message: wire.Definition, project: str, out: list[Violation]
    ) -> Definition | None:
        try:
            return await self._checks.apart(call, partial(rules.read, message, project, out))
        except SchemaSupportMissing:
            why = "needs jsonschema-rs, which pip install 'plaudit[server,schema]' brings, on every server of the store"
            raise InvalidFields([Violation("definition.json_schema", why)]) from None

    @staticmethod
    def _defined(project: str, stored: list[StoredDefinition], definition: Definition | None) -> Defined:
        """What is tried: the newest of the versions that are stored, or one more."""
        versions = [usable(project, version) for version in stored]
        return Defined.of(versions) if definition is None else tried(definition, versions)


def _try(trial: Trial, found: Records) -> int:
    """Try a definition on records, until the cost of one call is used up; how many were checked."""
    for index, record in enumerate(found.records):
        trial.add(record.id, subject_of(record, jsontext.decode), record.owner)
        if trial.exhausted:
            return index + 1
    return len(found.records)


def _check_type(type: str, out: list[Violation], field: str = "feedback_type", *, required: bool = False) -> None:
    if required and not type:
        out.append(Violation(field, "is required"))
    if "\0" in type:
        out.append(Violation(field, "holds a NUL character"))


def _message(stored: StoredDefinition) -> wire.Definition:
    message = wire.Definition.FromString(stored.content)
    message.version = stored.version
    message.since_revision = stored.since_revision
    message.user_id = stored.user_id
    set_timestamp(message.created_at, stored.created_at)
    return message
