"""A purge by query on a server: its token, whom it refuses, what quota and audit log see, and what a cancel leaves."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import plaudit
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    PurgeFeedbackRequest,
    PurgeFeedbackResponse,
    Query,
)
from plaudit_server.auth.keys import new_key
from plaudit_server.config import Config
from plaudit_server.config.grants import Role
from plaudit_server.config.sections import Auth, Limits
from plaudit_server.feedback import purging
from plaudit_server.testing import server
from tests.keys import opened_keys
from tests.service.secured import bearer
from tests.service.status import refusal

ODD = Query(expr=(plaudit.field("payload.odd") == 1).to_proto())
EVERY = Query(expr=(plaudit.field("payload.odd") < 2).to_proto())


def fill(stub: FeedbackServiceStub, project: str, rows: int, metadata: Any = ()) -> list[str]:
    """Create records, every second of them odd, and return their ids."""
    ids = []
    for start in range(0, rows, 1000):
        numbers = range(start, min(start + 1000, rows))
        batch = [Feedback(ref="urn:r", feedback_type="t", payload_json=json.dumps({"odd": n % 2})) for n in numbers]
        request = BatchCreateFeedbackRequest(project=project, feedback=batch)
        answer = stub.BatchCreateFeedback(request, metadata=metadata)
        ids += [result.feedback.id for result in answer.results]
    return ids


def count(stub: FeedbackServiceStub, project: str) -> int:
    return stub.CountFeedback(CountFeedbackRequest(project=project)).count


def answers(stub: FeedbackServiceStub, request: PurgeFeedbackRequest) -> list[PurgeFeedbackResponse]:
    """The answers of a whole purge."""
    found = [stub.PurgeFeedback(request)]
    while found[-1].more:
        assert found[-1].next_page_token
        request.page_token = found[-1].next_page_token
        found.append(stub.PurgeFeedback(request))
    assert not found[-1].next_page_token
    return found


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge whose time is always up after one look at 100 records."""
    monkeypatch.setattr(purging, "_FIRST_WINDOW", 100)
    monkeypatch.setattr(purging, "_LARGEST_WINDOW", 100)
    monkeypatch.setattr(purging, "_WHOLE_SHARE", 0.0)
    monkeypatch.setattr(purging.Purging.__init__, "__kwdefaults__", {"told": None, "share": 0.0})


@pytest.mark.usefixtures("hurried")
def test_a_purge_goes_on_from_token_to_token_until_it_has_seen_everything(stub: FeedbackServiceStub) -> None:
    project = "acme/resumed"
    fill(stub, project, 1000)
    dry = answers(stub, PurgeFeedbackRequest(project=project, query=ODD, dry_run=True))
    assert [answer.purged_count for answer in dry] == [50] * 10 + [0]
    assert count(stub, project) == 1000
    assert sum(answer.purged_count for answer in answers(stub, PurgeFeedbackRequest(project=project, query=ODD))) == 500
    assert count(stub, project) == 500
    # Nothing matches any more, which takes as many looks to find out.
    none = answers(stub, PurgeFeedbackRequest(project=project, query=ODD))
    assert [answer.purged_count for answer in none] == [0] * 6


@pytest.mark.usefixtures("hurried")
def test_a_token_is_bound_to_the_other_arguments(stub: FeedbackServiceStub) -> None:
    project = "acme/bound"
    fill(stub, project, 200)
    token = stub.PurgeFeedback(PurgeFeedbackRequest(project=project, query=ODD)).next_page_token
    for other in (
        PurgeFeedbackRequest(project=project, query=EVERY, page_token=token),
        PurgeFeedbackRequest(project="acme/other", query=ODD, page_token=token),
        PurgeFeedbackRequest(project=project, query=ODD, dry_run=True, page_token=token),
        PurgeFeedbackRequest(project=project, query=ODD, page_token=token[:8] + token[9:]),
    ):
        assert refusal(lambda request=other: stub.PurgeFeedback(request)).reason == "INVALID_PAGE_TOKEN"  # type: ignore[misc]
    by_ids = PurgeFeedbackRequest(project=project, ids=["a"], page_token=token)
    assert "page_token" in refusal(lambda: stub.PurgeFeedback(by_ids)).violations
    assert stub.PurgeFeedback(PurgeFeedbackRequest(project=project, query=ODD, page_token=token)).purged_count == 50


def test_a_cancelled_purge_stops_between_two_slices(stub: FeedbackServiceStub, monkeypatch: pytest.MonkeyPatch) -> None:
    project = "acme/cancelled"
    monkeypatch.setattr(purging, "SLICE_ROWS", 5)
    fill(stub, project, 600)
    call = stub.PurgeFeedback.future(PurgeFeedbackRequest(project=project, query=EVERY))
    while count(stub, project) == 600:
        time.sleep(0.001)
    call.cancel()
    # What was on its way at that moment may yet come; then nothing more does, and another purge finishes it.
    before, left = -1, count(stub, project)
    while before != left:
        time.sleep(0.3)
        before, left = left, count(stub, project)
    assert 0 < left < 600
    whole = answers(stub, PurgeFeedbackRequest(project=project, query=EVERY))
    assert sum(answer.purged_count for answer in whole) == left


def test_purges_are_charged_and_audited_by_what_they_removed(tmp_path: Path) -> None:
    project = "acme/charged"
    config = Config(audit_log=str(tmp_path / "audit"), limits=Limits(rows_per_second=100, burst_seconds=10))
    with server(tmp_path / "plaudit.db", config) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        fill(stub, project, 1000)
        assert stub.PurgeFeedback(PurgeFeedbackRequest(project=project, query=ODD, dry_run=True)).purged_count == 500
        assert stub.PurgeFeedback(PurgeFeedbackRequest(project=project, query=ODD)).purged_count == 500
        assert stub.PurgeFeedback(PurgeFeedbackRequest(project=project, query=EVERY)).purged_count == 500
        # The thousand rows that are allowed at once are used up: what a purge removes is not refused, but owed.
        fill_one = CreateFeedbackRequest(project=project, feedback=Feedback(ref="urn:r", feedback_type="t"))
        fill(stub, "acme/refilled", 1000)
        stub.PurgeFeedback(PurgeFeedbackRequest(project="acme/refilled", query=EVERY))
        fill_one.project = "acme/refilled"
        refused = refusal(lambda: stub.CreateFeedback(fill_one))
        assert (refused.reason, refused.metadata["quota"]) == ("QUOTA_EXCEEDED", "rows_per_second")
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    purges = [(line["project"], line["rows"]) for line in lines if line["rpc"] == "PurgeFeedback"]
    assert purges == [(project, 0), (project, 500), (project, 500), ("acme/refilled", 1000)]


def test_who_may_purge_only_his_own_is_refused_before_anything_is_removed(tmp_path: Path) -> None:
    project = "acme/owned"
    store = tmp_path / "plaudit.db"
    config = Config(store=f"sqlite:{store}", audit_log="off", auth=Auth(True, 0.05, ()))
    with server(store, config) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        tokens = {}
        with opened_keys(config.store) as keys:
            for name, role in (("ann", Role.WRITER), ("bob", Role.WRITER), ("eve", Role.EDITOR)):
                tokens[name], key = new_key(name, role, ("acme/*",), time.time_ns() // 1000)
                keys.add(key)
        time.sleep(0.2)
        ann, bob, eve = (bearer(tokens[name]) for name in ("ann", "bob", "eve"))
        mine = fill(stub, project, 1200, ann)
        [other] = fill(stub, project, 1, bob)
        for request in (
            PurgeFeedbackRequest(project=project, query=EVERY),
            PurgeFeedbackRequest(project=project, query=EVERY, dry_run=True),
            PurgeFeedbackRequest(project=project, ids=[*mine, other]),
            PurgeFeedbackRequest(project=project, ids=[*mine, other], dry_run=True),
        ):
            refused = refusal(lambda request=request: stub.PurgeFeedback(request, metadata=ann))  # type: ignore[misc]
            assert refused.code is grpc.StatusCode.PERMISSION_DENIED
        total = CountFeedbackRequest(project=project)
        assert stub.CountFeedback(total, metadata=ann).count == 1201
        assert stub.PurgeFeedback(PurgeFeedbackRequest(project=project, query=ODD), metadata=ann).purged_count == 600
        assert stub.PurgeFeedback(PurgeFeedbackRequest(project=project, ids=mine), metadata=ann).purged_count == 600
        assert stub.PurgeFeedback(PurgeFeedbackRequest(project=project, query=EVERY), metadata=eve).purged_count == 1


def test_a_purge_by_a_filter_that_scans_is_done_beside_creates_of_others(stub: FeedbackServiceStub) -> None:
    project = "acme/scanned"
    fill(stub, project, 20_000)
    created = 0
    with ThreadPoolExecutor(1) as pool:
        purge = pool.submit(answers, stub, PurgeFeedbackRequest(project=project, query=ODD))
        other = CreateFeedbackRequest(project="acme/beside", feedback=Feedback(ref="urn:r", feedback_type="t"))
        while not purge.done():
            stub.CreateFeedback(other, timeout=5)
            created += 1
        assert sum(answer.purged_count for answer in purge.result()) == 10_000
    # Each transaction removes at most 500 of them, so creates come in between.
    assert created >= 10_000 // purging.SLICE_ROWS // 2
    assert count(stub, project) == 10_000
