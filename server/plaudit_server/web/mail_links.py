"""Links in mails, `/f/<token>`: GET shows a page with one button, and only POST, which the button sends, writes.

Mail scanners follow every link, and must change nothing. The link is a secret, so the page says so, is not cached, and
does not pass the link on as a referrer.
"""

from __future__ import annotations

import base64
import hashlib
import html
from http import HTTPStatus
from string import Template
from typing import Any, Final
from urllib.parse import unquote

import grpc

from plaudit.v1 import GetSubmissionRequest, GetSubmissionResponse, SubmitFeedbackRequest
from plaudit_server.web.bridge import Page, PageRequest, Pages
from plaudit_server.web.faults import HttpRefusal

PREFIX: Final = "/f/"

_TOKEN_CHARACTERS: Final = 4096
_FORM_BYTES: Final = 1024
_SUBMIT: Final = ("plaudit.v1.SubmitService", "SubmitFeedback")
_SHOW: Final = ("plaudit.v1.SubmitService", "GetSubmission")
_HEADERS: Final = (
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-robots-tag", "noindex, nofollow"),
    ("x-frame-options", "DENY"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'sha256-$style'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
)
_STYLE: Final = (
    "body{font:1.1rem system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}"
    "button{font:inherit;padding:.5em 1.5em}"
)
_PAGE: Final = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>$title</title><style>$style</style></head>
<body><main><h1>$title</h1><p>$text</p>$form</main></body></html>
"""
)
_FORM: Final = '<form method="post"><button>$label</button></form><p>This link is yours: whoever has it can answer.</p>'


class PageContext:
    """The context of a call that a page makes: its only metadata is the token."""

    protocol = "http"

    def __init__(self, token: str, peer: str) -> None:
        self._token = token
        self._peer = peer
        self.code: grpc.StatusCode | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The token."""
        return (("authorization", f"Bearer {self._token}"),)

    def peer(self) -> str:
        """The caller's address."""
        return self._peer

    def auth_context(self) -> dict[str, Any]:
        """Nothing: no certificate counts here."""
        return {}

    def time_remaining(self) -> None:
        """A page has no deadline of its own."""

    def set_trailing_metadata(self, metadata: Any) -> None:
        """A page shows no trailers."""

    def add_done_callback(self, callback: Any) -> None:
        """An answer of a page is small, and has been taken when it is made."""
        callback(self)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """Note how the call ended."""
        self.code = code
        raise grpc.aio.AbortError(details)


class MailLinks:
    """The pages; `handlers` are those of gRPC, by service and method."""

    def __init__(self, handlers: Any) -> None:
        self._handlers = handlers
        self._headers = tuple((name, Template(value).substitute(style=_style_hash())) for name, value in _HEADERS)

    def pages(self) -> Pages:
        """The pages, for every origin: a form whose page gives no referrer has the origin `null`."""
        return Pages(PREFIX, self._answer, public=True)

    async def _answer(self, request: PageRequest) -> Page:
        token = unquote(request.path.removeprefix(PREFIX))
        if not token or len(token) > _TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
            raise HttpRefusal(404, "there is nothing here")
        if request.verb == "POST":
            await request.body(_FORM_BYTES)
            _, code = await self._call(_SUBMIT, SubmitFeedbackRequest().SerializeToString(), token, request.peer)
            return self._ended(code, "Thank you", "Your answer is saved. You can close this page.")
        if request.verb not in ("GET", "HEAD"):
            raise HttpRefusal(405, "a link can be opened, and its button pressed", ("allow", "GET, HEAD, POST"))
        answer, code = await self._call(_SHOW, GetSubmissionRequest().SerializeToString(), token, request.peer)
        if code is None and GetSubmissionResponse.FromString(answer).feedback:
            return self._shown(
                HTTPStatus.OK, "Already there", "Your answer is saved. You may send it again.", "Send again"
            )
        return self._ended(code, "Your answer", "Press the button to send it.", "Send")

    async def _call(
        self, method: tuple[str, str], request: bytes, token: str, peer: str
    ) -> tuple[bytes, grpc.StatusCode | None]:
        context = PageContext(token, peer)

        async def raw() -> bytes:
            return request

        service, name = method
        answer = await self._handlers[service][name].unary_unary(raw, context)
        return answer, context.code

    def _ended(self, code: grpc.StatusCode | None, title: str, text: str, label: str = "") -> Page:
        if code is None:
            return self._shown(HTTPStatus.OK, title, text, label)
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return self._shown(HTTPStatus.GONE, "This link has ended", "It is too old, or was taken back.")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return self._shown(HTTPStatus.TOO_MANY_REQUESTS, "Not now", "Please come back in a minute.")
        return self._shown(HTTPStatus.BAD_REQUEST, "That did not work", "Nothing was saved.")

    def _shown(self, status: HTTPStatus, title: str, text: str, label: str = "") -> Page:
        form = Template(_FORM).substitute(label=html.escape(label)) if label else ""
        body = _PAGE.substitute(title=html.escape(title), text=html.escape(text), style=_STYLE, form=form)
        return Page(status, body.encode(), self._headers)


def _style_hash() -> str:
    return base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
