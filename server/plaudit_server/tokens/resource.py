"""Feedback tokens as a resource: what each of its RPCs declares, its commands and tables, and how it starts."""

from __future__ import annotations

from typing import Final

from plaudit.v1 import submit_service_pb2, token_service_pb2
from plaudit_server.auth.permission import Right
from plaudit_server.rpc.declare import Kind, ProjectIn, Rpc, Service, no_rows, one_row
from plaudit_server.rpc.resource import Parts, Resource, Running
from plaudit_server.tokens.commands import COMMANDS
from plaudit_server.tokens.feedback_tokens import FeedbackTokens
from plaudit_server.tokens.servicer import SubmitService, TokenService
from plaudit_server.tokens.stored import REVOKED_TOKEN, SIGNING_KEY

_BY_TOKEN: Final = ProjectIn.CREDENTIAL

SUBMIT: Final = Service(
    submit_service_pb2.DESCRIPTOR.services_by_name["SubmitService"],
    (
        Rpc(method="SubmitFeedback", right=Right.SUBMIT, project=_BY_TOKEN, rows=one_row, kind=Kind.WRITE),
        Rpc(method="RetractFeedback", right=Right.SUBMIT, project=_BY_TOKEN, rows=one_row, kind=Kind.WRITE),
        Rpc(method="GetSubmission", right=Right.SHOW, project=_BY_TOKEN, rows=no_rows, kind=Kind.POINT),
    ),
)
TOKEN: Final = Service(
    token_service_pb2.DESCRIPTOR.services_by_name["TokenService"],
    (
        Rpc(
            method="CreateFeedbackTokens",
            right=Right.TOKEN,
            project=ProjectIn.FIELD,
            rows=no_rows,
            kind=Kind.POINT,
        ),
        Rpc(method="RevokeFeedbackToken", right=Right.TOKEN, project=ProjectIn.FIELD, rows=no_rows, kind=Kind.WRITE),
    ),
)


def _start(parts: Parts) -> Running:
    tokens = FeedbackTokens(parts.config, parts.store)
    return Running(
        servicers={SUBMIT.name: SubmitService(parts), TOKEN.name: TokenService(parts, tokens)},
        verify_token=tokens.verify,
        opened=tokens.opened,
        closed=tokens.closed,
    )


RESOURCE: Final = Resource(
    name="tokens",
    tables=(SIGNING_KEY, REVOKED_TOKEN),
    services=(SUBMIT, TOKEN),
    commands=COMMANDS,
    start=_start,
)
