"""The Python examples, run against a real server: an app with thumbs, and a notebook whose HTML is looked at."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from plaudit_server.testing import RunningServer


def test_thumbs_in_a_fastapi_app(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.fastapi_thumbs import app

    monkeypatch.setenv("PLAUDIT_TARGET", running.target)
    with TestClient(app) as browser:

        def put(user: str, **thumb: object) -> object:
            return browser.put("/answers/7/thumb", headers={"x-user": user}, json=thumb).json()

        assert put("ana", up=True) == {"up": 1, "down": 0, "mine": True}
        assert put("ana", up=True) == {"up": 1, "down": 0, "mine": True}  # sent twice, stored once
        assert put("bob", up=False, note="Too long.") == {"up": 1, "down": 1, "mine": False}
        assert put("ana", up=False) == {"up": 0, "down": 2, "mine": False}
        assert put("ana", up=None) == {"up": 0, "down": 1, "mine": None}
        assert browser.get("/answers/7/thumbs", headers={"x-user": "eve"}).json() == {"up": 0, "down": 1, "mine": None}
        assert browser.get("/answers/7/notes").json() == ["Too long."]
        refused = browser.put("/answers/7/thumb", headers={"x-user": "eve"}, json={"up": True, "note": "x" * 10_001})
        assert refused.status_code == 422
        assert "10000" in refused.text

    ref = running.client("acme/chat").ref("https://chat.acme.dev/answers/7")
    assert {(row.payload.get("emoji"), row.creator) for row in ref} == {("👎", "bob"), (None, "bob")}
