"""What the blocking client asks about projects as a whole: their definitions, which there are, and who calls."""

from __future__ import annotations

from typing import Unpack

from plaudit._core.definitions import Definition
from plaudit._core.expr import QueryLike
from plaudit._core.options import CallArguments, CallOptions
from plaudit._results.definitions import Check, DefinedType, Definitions
from plaudit._results.retention import RetentionCheck, RetentionRule, RetentionRules
from plaudit._results.server import Caller, Project, ServerInfo
from plaudit._steps.operations import Operations
from plaudit._steps.retention import check, put_rule, rules
from plaudit._steps.server import caller, projects, server_info
from plaudit._steps.step import Steps
from plaudit._sync.run import ResultT, finish
from plaudit._wire.transport import Transport


class ProjectOperations(Operations[Transport]):
    """The methods of `Client` that are not about single records."""

    def _finished(self, steps: Steps[ResultT], call: CallArguments) -> ResultT:
        return finish(steps, self.transport, CallOptions.of(**call))

    def define(
        self,
        definition: Definition,
        *,
        checked: Check | None = None,
        expected_version: int | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> Definition:
        """Store what a feedback type means, and return it as stored: a new version, or the newest if nothing is new.

        With `checked`, the result of `check` for it, it is refused if a stored record breaks it: one that was found, or
        one that was stored since then.
        `expected_version` is the version that must be the newest, 0 for none.

        Raises InvalidArgumentError for a definition that breaks rules, AbortedError for another version, and
        PlauditError with the reason DEFINITION_BREAKS_STORED; for administrators.
        """
        found = None if checked is None else checked.result
        return self._finished(self._defined(definition, found, expected_version, project), call)

    def check(
        self,
        definition: Definition | str,
        query: QueryLike | None = None,
        *,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> Check:
        """Which stored records would break a definition, or, for a feedback type, break the one in force.

        Nothing is sent before the result is looked at: `.breaking`, `.examples`. Needs the role of an editor.
        """
        return Check(lambda: self._finished(self._checked(definition, query, project), call))

    def definitions(
        self, *, all_versions: bool = False, project: str | None = None, **call: Unpack[CallArguments]
    ) -> Definitions:
        """The definitions of the project, by type; with `all_versions` every version, oldest first."""
        return Definitions(lambda: self._finished(self._listed("", all_versions, project), call))

    def definition(
        self, feedback_type: str, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> DefinedType:
        """The definition of one type: `.current`, `.history()`. Nothing is sent before it is looked at."""
        return DefinedType(
            feedback_type,
            Definitions(lambda: self._finished(self._listed(feedback_type, True, project), call)),
        )

    def put_retention_rule(
        self, feedback_type: str, days: int, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> RetentionRule:
        """Remove records of a type for good when they are this many days old, from 24 hours after now; 0: no such rule.

        `*` is every type that has no rule of its own; days are 1 to 36,500, by `created_at`. For administrators.
        """
        return self._finished(put_rule(self.project_for(project), feedback_type, days), call)

    def retention_rules(self, *, project: str | None = None, **call: Unpack[CallArguments]) -> RetentionRules:
        """For how long records are kept, by type, and whether a legal hold keeps everything. For administrators."""
        return self._finished(rules(self.project_for(project)), call)

    def check_retention(
        self,
        feedback_type: str | None = None,
        days: int | None = None,
        *,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> RetentionCheck:
        """What the rules would remove now; with a type and days, what such a rule would. For administrators."""
        return self._finished(check(self.project_for(project), feedback_type, days), call)

    def projects(self, name_contains: str = "", **call: Unpack[CallArguments]) -> list[Project]:
        """The projects that you may read, by name; only those whose name contains a text, in any case."""
        return self._finished(projects(name_contains), call)

    def caller(self, **call: Unpack[CallArguments]) -> Caller:
        """Who you are to the server, and what you may do."""
        return self._finished(caller(), call)

    def server_info(self, **call: Unpack[CallArguments]) -> ServerInfo:
        """The server's version, store and limits."""
        return self._finished(server_info(), call)
