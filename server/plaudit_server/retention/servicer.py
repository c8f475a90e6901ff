"""The RPCs of RetentionService: each one validates, calls and answers."""

from __future__ import annotations

from plaudit import v1 as wire
from plaudit.v1 import (
    CheckRetentionRequest,
    CheckRetentionResponse,
    ListRetentionRulesRequest,
    ListRetentionRulesResponse,
    PutRetentionRuleRequest,
    PutRetentionRuleResponse,
)
from plaudit_server.errors import Violation
from plaudit_server.feedback.questions import refuse
from plaudit_server.feedback.rules import check_new_project, check_project
from plaudit_server.retention.commands import PutRule
from plaudit_server.retention.reads import CountDue, Due, GetRules
from plaudit_server.retention.records import DELAY, Rule
from plaudit_server.retention.rules import check_rule
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.resource import Parts
from plaudit_server.rpc.wire import set_timestamp
from plaudit_server.store.base import accepted
from plaudit_server.store.ledger import microseconds


class RetentionService:
    """One coroutine per RPC, under the RPC's name."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._writer = parts.writer
        self._deadlines = parts.deadlines

    async def PutRetentionRule(self, call: Call, request: PutRetentionRuleRequest) -> PutRetentionRuleResponse:
        out: list[Violation] = []
        check_new_project(request.project, out)
        check_rule(request.rule, out, may_remove=True)
        refuse(out)
        work = self._deadlines.write(call, request.project)
        rule = request.rule
        command = PutRule(request.project, rule.feedback_type, rule.days, call.user_id, microseconds(), work)
        call.notes |= {"feedback_type": rule.feedback_type, "days": rule.days}
        return PutRetentionRuleResponse(rule=_message(accepted(await self._writer.submit(command))))

    async def ListRetentionRules(self, call: Call, request: ListRetentionRulesRequest) -> ListRetentionRulesResponse:
        out: list[Violation] = []
        check_project(request.project, out)
        refuse(out)
        rules = await self._store.read(GetRules(request.project), self._deadlines.read(call, request.project))
        return ListRetentionRulesResponse(rules=map(_message, rules.put), under_hold=rules.held)

    async def CheckRetention(self, call: Call, request: CheckRetentionRequest) -> CheckRetentionResponse:
        out: list[Violation] = []
        check_project(request.project, out)
        if request.HasField("rule"):
            check_rule(request.rule, out)
        refuse(out)
        work = self._deadlines.read(call, request.project)
        now = microseconds()
        rules = await self._store.read(GetRules(request.project), work)
        checked = rules.put
        if request.HasField("rule"):
            tried = Rule(request.rule.feedback_type, request.rule.days, call.user_id, now - DELAY)
            rules = rules.with_rule(tried)
            checked = [tried]
        due = await self._store.read(CountDue(request.project, checked, rules.own_types, now), work)
        return CheckRetentionResponse(due=map(_due, due), under_hold=rules.held)


def _message(rule: Rule) -> wire.RetentionRule:
    message = wire.RetentionRule(feedback_type=rule.feedback_type, days=rule.days, user_id=rule.user_id)
    set_timestamp(message.put_at, rule.put_at)
    set_timestamp(message.acts_at, rule.acts_at)
    return message


def _due(due: Due) -> wire.RetentionDue:
    message = wire.RetentionDue(rule=_message(due.rule), record_count=due.rows)
    set_timestamp(message.before, due.before)
    if due.oldest is not None:
        set_timestamp(message.oldest_created_at, due.oldest)
    return message
