"""What a costly request comes to: a purge ends, however long it takes, and a database's own limit is no outage."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest

import plaudit
from plaudit.v1 import CountFeedbackRequest, FeedbackServiceStub, PurgeFeedbackRequest
from tests.attacks import bombs
from tests.neighbours import queries
from tests.neighbours.campaign import running
from tests.neighbours.catalogue import BOTH, POSTGRES
from tests.neighbours.stores import Originals

PURGED = 1000
CALLS = 1000
CALL_SECONDS = 30.0


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("engine", BOTH)
def test_a_purge_ends_from_one_page_to_the_next(engine: str, originals: Originals) -> None:
    with (
        originals.copy(engine) as store,
        running(store) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = FeedbackServiceStub(channel)
        kept = stub.CountFeedback(CountFeedbackRequest(project=bombs.PROJECT), timeout=CALL_SECONDS).count - PURGED
        request: Any = PurgeFeedbackRequest(project=bombs.PROJECT, query=queries.many_terms_of_first(PURGED))
        purged = 0
        for _ in range(CALLS):
            answer: Any = stub.PurgeFeedback(request, timeout=CALL_SECONDS)
            purged += answer.purged_count
            if not answer.more:
                break
            assert "page_token" in request.DESCRIPTOR.fields_by_name, "there is more, and no token to go on with"
            request.page_token = answer.next_page_token
        else:
            pytest.fail(f"{CALLS} calls have purged {purged} of {PURGED}, and there is more")
        assert purged == PURGED
        left = stub.CountFeedback(CountFeedbackRequest(project=bombs.PROJECT), timeout=CALL_SECONDS).count
        assert left == kept


@pytest.mark.timeout(300)
def test_a_databases_own_limit_is_no_outage_and_not_tried_again(originals: Originals) -> None:
    cancelled = re.compile("canceling statement due to statement timeout")
    with originals.copy(POSTGRES, statement_timeout="300ms") as store, running(store) as server:
        assert store.cluster is not None
        before = len(cancelled.findall(store.cluster.log()))
        with plaudit.Client(bombs.PROJECT, target=server.target) as client:
            assert client.count() > 0
            with pytest.raises(plaudit.PlauditError) as refused:
                client.count(plaudit.Query.from_proto(queries.many_terms()))
        assert "QUERY_TOO_EXPENSIVE" in str(refused.value.reason)
        assert len(cancelled.findall(store.cluster.log())) - before == 1
