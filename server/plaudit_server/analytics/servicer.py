"""The RPCs of AnalyticsService: each one validates, calls and answers; nothing else happens here."""

from __future__ import annotations

from functools import partial

from plaudit.v1 import (
    AggregateFeedbackRequest,
    AggregateFeedbackResponse,
    DescribeFeedbackRequest,
    DescribeFeedbackResponse,
    MeasureAgreementRequest,
    MeasureAgreementResponse,
    SummarizeRefsRequest,
    SummarizeRefsResponse,
)
from plaudit_server.analytics.agreement import measure_agreement
from plaudit_server.analytics.agreement_rules import check_agreement
from plaudit_server.analytics.answers import agreement_message, field_message, group_message, put_overview
from plaudit_server.analytics.expressions import refuse
from plaudit_server.analytics.groups import Wanted
from plaudit_server.analytics.overview_rules import check_describe, check_summary
from plaudit_server.analytics.pages import BYTES, after_fields, cursor_after, fitting
from plaudit_server.analytics.reads import SelectFields, SelectGroups, SelectOverviews, SelectRatings
from plaudit_server.analytics.rules import check_aggregate
from plaudit_server.errors import Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.records import message
from plaudit_server.rpc import paging
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.resource import Parts


class AnalyticsService:
    """One coroutine per RPC, under the RPC's name."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._deadlines = parts.deadlines
        self._checks = parts.checks

    async def AggregateFeedback(self, call: Call, request: AggregateFeedbackRequest) -> AggregateFeedbackResponse:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        question = check_aggregate(request, out)
        size = rules.check_page_size(request.page_size, out)
        refuse(out)
        assert question is not None
        scope = paging.scope_of(request)
        cursor = paging.Cursor((), question.limit)
        if request.page_token:
            cursor = paging.unseal(request.page_token, scope, self._store.store_id)
        work = self._deadlines.read(call, request.project)
        most = size + 1 if cursor.remaining is None else min(size + 1, cursor.remaining)
        found = await self._store.read(SelectGroups(question, Wanted(tuple(cursor.after), most)), work)
        answer = found.answer() if found.is_small else await self._checks.apart(call, found.answer)
        wanted = answer.arranged.groups
        groups = fitting(wanted[:size], lambda group: group_message(question, group))
        response = AggregateFeedbackResponse(groups=groups, revision=answer.revision)
        if len(groups) < len(wanted):
            remaining = None if cursor.remaining is None else cursor.remaining - len(groups)
            place = cursor_after(answer.question, wanted[len(groups) - 1], remaining)
            response.next_page_token = paging.seal(place, scope, self._store.store_id)
        if answer.total is not None:
            response.total.CopyFrom(group_message(question, answer.total))
        if question.with_group_count:
            response.group_count = answer.arranged.group_count
        return response

    async def DescribeFeedback(self, call: Call, request: DescribeFeedbackRequest) -> DescribeFeedbackResponse:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        question = check_describe(request, out)
        size = rules.check_page_size(request.page_size, out)
        refuse(out)
        assert question is not None
        scope = paging.scope_of(request)
        cursor = paging.Cursor((), None)
        if request.page_token:
            cursor = paging.unseal(request.page_token, scope, self._store.store_id)
        found = await self._store.read(SelectFields(question), self._deadlines.read(call, request.project))
        left = after_fields(found.fields, cursor)
        response = DescribeFeedbackResponse(
            fields=fitting(left[:size], field_message),
            scanned_row_count=found.scanned,
            row_count=found.found,
            revision=found.revision,
        )
        if len(response.fields) < len(left):
            last = response.fields[-1]
            place = paging.Cursor((last.feedback_type, last.path), None)
            response.next_page_token = paging.seal(place, scope, self._store.store_id)
        return response

    async def SummarizeRefs(self, call: Call, request: SummarizeRefsRequest) -> SummarizeRefsResponse:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        question = check_summary(request, call.user_id, out)
        refuse(out)
        assert question is not None
        work = self._deadlines.read(call, request.project)
        found = await self._store.read(SelectOverviews(question), work)
        response = SummarizeRefsResponse(revision=found.revision)
        for each in found.overviews:
            put_overview(response.refs.add(), each, question.measures)
        left = BYTES - response.ByteSize()
        for overview in response.refs:
            row = found.newest.get(overview.newest_id)
            if row is None:
                continue
            left -= len(row.head) + len(row.payload)
            if left < 0:
                break
            overview.newest.CopyFrom(message(row))
        return response

    async def MeasureAgreement(self, call: Call, request: MeasureAgreementRequest) -> MeasureAgreementResponse:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        question = check_agreement(request, out)
        refuse(out)
        assert question is not None
        found = await self._store.read(SelectRatings(question), self._deadlines.read(call, request.project))
        coefficients = partial(measure_agreement, question, found.ratings)
        agreement = coefficients() if found.is_small else await self._checks.apart(call, coefficients)
        response = agreement_message(agreement, question.value.kind)
        response.revision = found.revision
        return response
