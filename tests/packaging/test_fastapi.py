"""Records as answers of FastAPI and in models of pydantic: here, because both are installed for developers only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import plaudit
from plaudit_server.testing import RunningServer, server
from tests.client.fakes import feedback

RECORD = feedback(1, payload_json='{"score":0.5}', scorer_ratings={"r": 0.5})


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server() as running:
        yield running


def test_fastapi_returns_records(running: RunningServer) -> None:
    app = FastAPI()
    client = running.client("dump/web")
    client.create({"ref": "urn:x:1", "feedback_type": "a", "payload": {"n": [1, None]}, "creator": "ana"})
    [record] = client.get_feedback()

    @app.get("/typed")
    def typed() -> plaudit.Feedback:
        return record

    @app.get("/list")
    def listed() -> list[plaudit.Feedback]:
        return list(client.get_feedback())

    @app.get("/untyped", response_model=None)
    def untyped() -> Any:
        return {"feedback": record, "all": [record]}

    @app.get("/optional")
    async def optional() -> plaudit.Feedback | None:
        return record

    web = TestClient(app)
    expected = record.model_dump(mode="json")
    assert web.get("/typed").json() == web.get("/optional").json() == expected
    assert web.get("/list").json() == [expected]
    # Without a type FastAPI writes times itself.
    untyped_answer = web.get("/untyped").json()
    assert untyped_answer["feedback"] == untyped_answer["all"][0]
    assert {**untyped_answer["feedback"], "created_at": "", "updated_at": ""} == {
        **expected,
        "created_at": "",
        "updated_at": "",
    }
    assert datetime.fromisoformat(untyped_answer["feedback"]["created_at"]) == record.created_at.astimezone(UTC)

    described = web.get("/openapi.json").json()
    schema = described["components"]["schemas"]["Feedback"]
    assert list(schema["properties"]) == list(record.to_dict())
    assert schema["properties"]["scorer_ratings"]["additionalProperties"] == {"type": "number"}
    assert schema["properties"]["span_status_code"]["enum"] == ["UNSET", "OK", "ERROR"]
    assert all(each["description"] for each in schema["properties"].values())


def test_pydantic_takes_records_only() -> None:
    class Page(pydantic.BaseModel):
        rows: list[plaudit.Feedback]

    page = Page(rows=[RECORD])
    assert page.rows[0] is RECORD
    assert page.model_dump()["rows"][0] == RECORD.to_dict()
    assert json.loads(page.model_dump_json())["rows"][0] == RECORD.model_dump(mode="json")
    with pytest.raises(pydantic.ValidationError, match="instance of Feedback"):
        Page(rows=[{"id": "x"}])  # type: ignore[list-item]
