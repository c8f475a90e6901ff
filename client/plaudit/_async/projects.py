"""What the client of asyncio asks about projects as a whole: their definitions, which there are, and who calls."""

from __future__ import annotations

from typing import Unpack

from plaudit._async.run import ResultT, finish
from plaudit._core.definitions import CheckResult, Definition
from plaudit._core.expr import QueryLike
from plaudit._core.options import CallArguments, CallOptions
from plaudit._results.definitions import DefinedType, Definitions
from plaudit._results.retention import RetentionCheck, RetentionRule, RetentionRules
from plaudit._results.server import Caller, Project, ServerInfo
from plaudit._steps.operations import Operations
from plaudit._steps.retention import check, put_rule, rules
from plaudit._steps.server import caller, projects, server_info
from plaudit._steps.step import Steps
from plaudit._wire.transport import AsyncTransport


class AsyncProjectOperations(Operations[AsyncTransport]):
    """The methods of `AsyncClient` that are not about single records."""

    async def _finished(self, steps: Steps[ResultT], call: CallArguments) -> ResultT:
        return await finish(steps, self.transport, CallOptions.of(**call))

    async def define(
        self,
        definition: Definition,
        *,
        checked: CheckResult | None = None,
        expected_version: int | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> Definition:
        """As `Client.define`; `checked` is what `check` returned."""
        return await self._finished(self._defined(definition, checked, expected_version, project), call)

    async def check(
        self,
        definition: Definition | str,
        query: QueryLike | None = None,
        *,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> CheckResult:
        """As `Client.check`, but it is asked at once."""
        return await self._finished(self._checked(definition, query, project), call)

    async def definitions(
        self, *, all_versions: bool = False, project: str | None = None, **call: Unpack[CallArguments]
    ) -> Definitions:
        """As `Client.definitions`, but they are read at once."""
        return Definitions.of(await self._finished(self._listed("", all_versions, project), call))

    async def definition(
        self, feedback_type: str, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> DefinedType:
        """As `Client.definition`, but it is read at once."""
        versions = Definitions.of(await self._finished(self._listed(feedback_type, True, project), call))
        return DefinedType(feedback_type, versions)

    async def put_retention_rule(
        self, feedback_type: str, days: int, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> RetentionRule:
        """As `Client.put_retention_rule`."""
        return await self._finished(put_rule(self.project_for(project), feedback_type, days), call)

    async def retention_rules(self, *, project: str | None = None, **call: Unpack[CallArguments]) -> RetentionRules:
        """As `Client.retention_rules`."""
        return await self._finished(rules(self.project_for(project)), call)

    async def check_retention(
        self,
        feedback_type: str | None = None,
        days: int | None = None,
        *,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> RetentionCheck:
        """As `Client.check_retention`."""
        return await self._finished(check(self.project_for(project), feedback_type, days), call)

    async def projects(self, name_contains: str = "", **call: Unpack[CallArguments]) -> list[Project]:
        """As `Client.projects`."""
        return await self._finished(projects(name_contains), call)

    async def caller(self, **call: Unpack[CallArguments]) -> Caller:
        """As `Client.caller`."""
        return await self._finished(caller(), call)

    async def server_info(self, **call: Unpack[CallArguments]) -> ServerInfo:
        """As `Client.server_info`."""
        return await self._finished(server_info(), call)
