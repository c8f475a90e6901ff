"""A record as JSON text, and as a dict."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from plaudit_server.testing import RunningServer, server
from tests.client.fakes import feedback

RECORD = feedback(
    1, payload_json='{ "score": 5.00,\n "wide": 9007199254740993 }', scorer_ratings={"r": 0.5}, scorer_tags=["é"]
)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server() as running:
        yield running


def test_json_is_one_line_with_the_payload_to_the_character() -> None:
    text = RECORD.to_json()
    assert "\n" not in text
    assert '"payload":{ "score": 5.00,  "wide": 9007199254740993 },"creator":null' in text
    read = json.loads(text)
    assert list(read) == list(RECORD.to_dict())
    assert read["created_at"] == "2025-03-01T10:01:00.000000Z"
    assert (read["scorer_tags"], read["scorer_ratings"], read["version"]) == (["é"], {"r": 0.5}, 1)


def test_json_lines_come_back(running: RunningServer) -> None:
    source = running.client("dump/source")
    source.create({"ref": "urn:x:1", "feedback_type": "a", "payload": {"wide": 2**63 - 1}, "creator": ""})
    source.create({"ref": "urn:x:1", "feedback_type": "wandb.reaction.1", "payload": {"emoji": "❤"}})
    lines = [record.to_json() for record in source.get_feedback()]
    assert source.import_records(map(json.loads, lines), project="dump/copy").stored == 2
    assert [{**each.to_dict(), "project": ""} for each in source.get_feedback(project="dump/copy")] == [
        {**each.to_dict(), "project": ""} for each in source.get_feedback()
    ]


def test_a_record_is_a_dict_under_several_names() -> None:
    assert RECORD.model_dump() == RECORD.to_dict() == dict(RECORD) == {**RECORD}
    assert RECORD.model_dump(mode="json") == json.loads(RECORD.to_json())
    assert RECORD["ref"] == RECORD.ref
    with pytest.raises(KeyError):
        RECORD["nope"]
