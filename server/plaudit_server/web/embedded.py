"""The web components under `/embed/`, as they are in the package, and the hashes by which pages can pin them."""

from __future__ import annotations

import base64
import hashlib
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from plaudit_server.web.bridge import Page, PageRequest, Pages
from plaudit_server.web.codecs import compact_json
from plaudit_server.web.faults import HttpRefusal

PREFIX: Final = "/embed/"
NAMES: Final = ("plaudit-reactions.js", "plaudit-rating.js")
INTEGRITY: Final = "integrity.json"

# Any page may run them; without these a module does not load from another origin.
_SHARED: Final = (("access-control-allow-origin", "*"), ("cross-origin-resource-policy", "cross-origin"))


class Embedded:
    """The files, read once."""

    def __init__(self) -> None:
        folder = files("plaudit_server.web") / "embed"
        scripts = {name: (folder / name).read_bytes() for name in NAMES}
        self.integrity = {name: _integrity(content) for name, content in scripts.items()}
        self._pages = {name: self._page(name, content) for name, content in scripts.items()}
        listed = (("content-type", "application/json"), *_SHARED)
        self._pages[INTEGRITY] = Page(HTTPStatus.OK, compact_json(self.integrity), listed)

    def pages(self) -> Pages:
        """The pages, for every origin."""
        return Pages(PREFIX, self._answer, public=True)

    async def _answer(self, request: PageRequest) -> Page:
        page = self._pages.get(request.path.removeprefix(PREFIX))
        if page is None:
            raise HttpRefusal(404, f"there is nothing here but {', '.join(self._pages)}")
        if request.verb not in ("GET", "HEAD"):
            raise HttpRefusal(405, "this can only be read", ("allow", "GET, HEAD"))
        tag = dict(page.headers).get("etag")
        if tag is not None and request.headers.get("if-none-match") == tag:
            return Page(HTTPStatus.NOT_MODIFIED, b"", (("etag", tag), *_SHARED))
        return page

    def _page(self, name: str, content: bytes) -> Page:
        headers = (
            ("content-type", "text/javascript; charset=utf-8"),
            ("cache-control", "public, max-age=3600"),
            ("etag", f'"{self.integrity[name]}"'),
            *_SHARED,
        )
        return Page(HTTPStatus.OK, content, headers)


def _integrity(content: bytes) -> str:
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
