"""The RPCs of SubmitService and TokenService: validate, call, answer."""

from __future__ import annotations

import json
import secrets
import time

from plaudit._contract.feedback_tokens import (
    DAY_SECONDS,
    DEFAULT_SECONDS,
    MOST_DAYS,
    REACTION,
    REACTION_RECORDS,
    Claims,
)
from plaudit.v1 import (
    CreateFeedbackTokensRequest,
    CreateFeedbackTokensResponse,
    Feedback,
    FeedbackToken,
    FeedbackTokenSpec,
    GetSubmissionRequest,
    GetSubmissionResponse,
    RetractFeedbackRequest,
    RetractFeedbackResponse,
    RevokeFeedbackTokenRequest,
    RevokeFeedbackTokenResponse,
    SubmitFeedbackRequest,
)
from plaudit_server.errors import InvalidFields, Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.answers import encoded
from plaudit_server.feedback.judging import Judge, NoJudge
from plaudit_server.feedback.records import Record, message
from plaudit_server.feedback.writing import Writing, single
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.resource import Parts
from plaudit_server.store.base import accepted
from plaudit_server.tokens import verifier
from plaudit_server.tokens.commands import Retract, Submit
from plaudit_server.tokens.errors import NotInToken
from plaudit_server.tokens.feedback_tokens import FeedbackTokens
from plaudit_server.tokens.reads import Submitted
from plaudit_server.tokens.slots import slots

MAIL_PATH = "/f/"

_TOKENS = 100
_MAY_BE_SENT = frozenset({"ref", "feedback_type", "payload_json", "creator"})


class SubmitService:
    """One coroutine per RPC, under the RPC's name."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._writer = parts.writer
        self._deadlines = parts.deadlines
        self._acknowledged = parts.acknowledged
        self._writing = Writing(parts.writer, parts.hooks.get(Judge, NoJudge()))

    async def SubmitFeedback(self, call: Call, request: SubmitFeedbackRequest) -> bytes:
        token = _token(call)
        claims = token.claims
        sent = request.feedback
        out = [
            Violation(f"feedback.{field.name}", "may not be sent with a feedback token")
            for field, _ in sent.ListFields()
            if field.name not in _MAY_BE_SENT
        ]
        if out:
            raise InvalidFields(out)
        if sent.ref not in ("", claims.ref):
            raise NotInToken(claims.project, "the feedback token is for another ref")
        feedback_type = _type(claims, sent.feedback_type)
        payload = sent.payload_json if claims.payload is None else json.dumps(claims.payload, ensure_ascii=False)
        records = [
            _record(sent, claims, feedback_type, payload, id, call.user_id)
            for id in slots(token.key, claims, feedback_type)
        ]
        work = self._deadlines.write(call, claims.project)
        row = await self._writing.committed(
            single(claims.project, records[0], work),
            lambda judgement: Submit(claims.project, records, judgement, work),
        )
        self._acknowledged(Submit.kind, 1)
        return encoded(row)

    async def RetractFeedback(self, call: Call, request: RetractFeedbackRequest) -> RetractFeedbackResponse:
        token = _token(call)
        claims = token.claims
        ids = slots(token.key, claims, _type(claims, request.feedback_type))
        work = self._deadlines.write(call, claims.project)
        retracted = accepted(await self._writer.submit(Retract(claims.project, call.user_id, ids, work=work)))
        return RetractFeedbackResponse(retracted_count=retracted.purged, remaining_count=retracted.remaining)

    async def GetSubmission(self, call: Call, request: GetSubmissionRequest) -> GetSubmissionResponse:
        token = _token(call)
        claims = token.claims
        ids = [id for feedback_type in claims.types for id in slots(token.key, claims, feedback_type)]
        rows = await self._store.read(Submitted(claims.project, ids, work=self._deadlines.read(call, claims.project)))
        return GetSubmissionResponse(feedback=map(message, rows), feedback_types=claims.types)


class TokenService:
    """One coroutine per RPC, under the RPC's name."""

    def __init__(self, parts: Parts, tokens: FeedbackTokens) -> None:
        self._tokens = tokens
        self._public_url = parts.config.http.public_url

    async def CreateFeedbackTokens(
        self, call: Call, request: CreateFeedbackTokensRequest
    ) -> CreateFeedbackTokensResponse:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        if not 1 <= len(request.tokens) <= _TOKENS:
            out.append(Violation("tokens", f"has {len(request.tokens)} tokens, allowed are 1 to {_TOKENS}"))
            raise InvalidFields(out)
        now = time.time()
        made = [_claims(spec, request.project, now, f"tokens[{n}]", out) for n, spec in enumerate(request.tokens)]
        if out:
            raise InvalidFields(out)
        claims = [one for one in made if one is not None]
        keyring = self._tokens.keyring()
        if request.signing_key_id:
            found = keyring.find(request.signing_key_id)
            excess = None if found is None else next(filter(None, (found[0].excess(one, now) for one in claims)), None)
            if excess is not None:
                raise NotInToken(request.project, excess)
        else:
            found = keyring.covering(claims, now)
        if found is None:
            raise NotInToken(request.project, "no signing key in force covers these tokens")
        key = found[1]
        answer = CreateFeedbackTokensResponse(signing_key_id=key.id)
        for one in claims:
            token = FeedbackToken(token=verifier.signed(one, key), token_id=one.id)
            token.expires_at.seconds = one.expires_at
            if one.payload is not None and self._public_url:
                token.url = f"{self._public_url}{MAIL_PATH}{token.token}"
            answer.tokens.append(token)
        return answer

    async def RevokeFeedbackToken(self, call: Call, request: RevokeFeedbackTokenRequest) -> RevokeFeedbackTokenResponse:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        by_id = bool(request.token_id and request.signing_key_id)
        if by_id == bool(request.token):
            out.append(Violation("token", "give either the token, or its id with that of its signing key"))
        if out:
            raise InvalidFields(out)
        now = int(time.time())
        key_id, token_id, expires_at = request.signing_key_id, request.token_id, now + (MOST_DAYS + 1) * DAY_SECONDS
        if request.token:
            claims, key_id = verifier.unchecked(request.token)
            token_id, expires_at = claims.id, min(claims.expires_at, expires_at)
            if claims.project != request.project:
                raise NotInToken(request.project, "the feedback token is for another project")
        found = self._tokens.keyring().find(key_id)
        if found is not None and found[0].covers(request.project):
            await self._tokens.stored.revoke_token(key_id, token_id, expires_at, now)
            self._tokens.refresh()
        return RevokeFeedbackTokenResponse()


def _token(call: Call) -> verifier.FeedbackToken:
    """The token of a call, after a check that the page which sends it may use it."""
    token: verifier.FeedbackToken = call.token
    origin = call.metadatum("origin")
    if origin and token.claims.origins and origin not in token.claims.origins:
        raise NotInToken(token.claims.project, "the feedback token is not for pages of this origin")
    return token


def _type(claims: Claims, given: str) -> str:
    if not given and len(claims.types) == 1:
        return claims.types[0]
    if given not in claims.types:
        raise NotInToken(claims.project, "the feedback token is not for this feedback type")
    return given


def _record(sent: Feedback, claims: Claims, feedback_type: str, payload: str, id: str, user_id: str) -> Record:
    out: list[Violation] = []
    made = Feedback(id=id, ref=claims.ref, feedback_type=feedback_type, payload_json=payload)
    if sent.HasField("creator"):
        made.creator = sent.creator
    record = rules.new_record(made, claims.project, user_id, out)
    if record is None:
        raise InvalidFields(out)
    return record


def _claims(spec: FeedbackTokenSpec, project: str, now: float, at: str, out: list[Violation]) -> Claims | None:
    seconds = spec.lifetime.seconds if spec.HasField("lifetime") else DEFAULT_SECONDS
    try:
        payload = json.loads(spec.payload_json) if spec.payload_json else None
        if payload is not None and not isinstance(payload, dict):
            raise ValueError("pay: must be a JSON object")
        types = tuple(spec.feedback_types)
        several = REACTION_RECORDS if types == (REACTION,) and payload is None else 1
        claims = Claims(
            id=secrets.token_urlsafe(12),
            expires_at=int(now + seconds),
            project=project,
            ref=spec.ref,
            types=types,
            records=spec.records or several,
            subject=spec.user or None,
            origins=tuple(spec.origins),
            payload=payload,
        )
        if not 0 < seconds <= claims.longest_days * DAY_SECONDS:
            raise ValueError(f"exp: must be more than none, and at most {claims.longest_days} days")
    except (ValueError, RecursionError) as error:
        name, _, rule = str(error).partition(": ")
        field = _FIELDS.get(name)
        out.append(
            Violation(f"{at}.{field}" if field else f"{at}.payload_json", rule if field else "must be a JSON object")
        )
        return None
    return claims


_FIELDS = {
    "exp": "lifetime",
    "jti": "id",
    "max": "records",
    "org": "origins",
    "pay": "payload_json",
    "prj": "project",
    "ref": "ref",
    "sub": "user",
    "typ": "feedback_types",
}
