"""After a restore or a copy a store has another id: watches and page tokens from before end with an error."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import apsw
import grpc
import pytest
from click.testing import CliRunner, Result

import plaudit
from plaudit.v1 import (
    FeedbackServiceStub,
    GetServerInfoRequest,
    ListRefsRequest,
    QueryFeedbackRequest,
    WatchFeedbackRequest,
)
from plaudit_server.cli.main import cli
from plaudit_server.ops.copying import Copy
from plaudit_server.resources import tables
from plaudit_server.store import identity
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.testing import RunningServer, server
from tests.service.process import server_process
from tests.service.status import Refusal, refusal

PROJECT = "acme/chat"


@pytest.fixture
def running() -> Iterator[RunningServer]:
    with server() as running:
        yield running


def records(*numbers: int) -> list[dict[str, object]]:
    return [{"ref": f"urn:{n}", "feedback_type": "t", "payload": {"n": n}} for n in numbers]


def renew(path: Path) -> Result:
    return CliRunner().invoke(cli, ["store", "renew", "--store", f"sqlite:{path}"])


def is_changed(refused: Refusal, store_id: str) -> None:
    assert (refused.code, refused.reason) == (grpc.StatusCode.OUT_OF_RANGE, "STORE_CHANGED")
    assert refused.metadata == {"store_id": store_id}
    assert refused.retry_seconds is None


def test_after_a_restore_nothing_continues_without_an_error(tmp_path: Path) -> None:
    store, backup = tmp_path / "plaudit.db", tmp_path / "backup.db"
    with server_process(store) as process, plaudit.Client(PROJECT, target=process.target) as client:
        client.create_batch(records(1, 2, 3, 4))
        apsw.Connection(str(store)).execute("VACUUM INTO ?", (str(backup),))
        client.create_batch(records(5, 6, 7))
        old_id = client.server_info().store_id
        watch = client.watch(after=0)
        assert [change.revision for change in itertools.islice(watch, 7)] == list(range(1, 8))
        assert watch.store_id == old_id
        with grpc.insecure_channel(process.target) as channel:
            stub = FeedbackServiceStub(channel)
            tokens = [
                stub.QueryFeedback(QueryFeedbackRequest(project=PROJECT, page_size=2)).next_page_token,
                stub.ListRefs(ListRefsRequest(project=PROJECT, page_size=2)).next_page_token,
            ]
        refused = renew(store)  # not beside a server
        assert refused.exit_code == 1
        assert "is served by another process" in refused.output
        target = process.target
        process.stop()
        store.unlink()
        backup.rename(store)
        renewed = renew(store)
        assert renewed.exit_code == 0, renewed.output
        with server_process(store, target) as again:
            assert again.target == target
            # What the watcher has missed has the revisions that it has seen.
            client.create_batch(records(8, 9, 10, 11))
            new_id = client.server_info().store_id
            assert new_id != old_id
            assert renewed.output.endswith(f"the store's id is now {new_id}\n")
            with pytest.raises(plaudit.StoreChangedError, match="restored from a backup") as caught:
                next(watch)
            assert caught.value.code is grpc.StatusCode.OUT_OF_RANGE
            assert caught.value.metadata == {"store_id": new_id}
            with pytest.raises(plaudit.StoreChangedError):
                client.watch(after=watch.revision, store_id=watch.store_id)
            with client.watch(after=4, store_id=new_id) as anew:
                assert [change.feedback.payload["n"] for change in itertools.islice(anew, 4) if change.feedback] == [
                    *range(8, 12)
                ]
            with grpc.insecure_channel(target) as channel:
                stub = FeedbackServiceStub(channel)
                query = QueryFeedbackRequest(project=PROJECT, page_size=2, page_token=tokens[0])
                is_changed(refusal(lambda: stub.QueryFeedback(query)), new_id)
                refs = ListRefsRequest(project=PROJECT, page_size=2, page_token=tokens[1])
                is_changed(refusal(lambda: stub.ListRefs(refs)), new_id)
                other = QueryFeedbackRequest(project=PROJECT, page_size=2, page_token=tokens[1])
                assert refusal(lambda: stub.QueryFeedback(other)).reason == "INVALID_PAGE_TOKEN"


def test_the_id_is_in_the_first_message_of_a_watch_and_need_not_be_given(running: RunningServer) -> None:
    running.client(PROJECT).create_batch(records(1, 2))
    with grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        store_id = stub.GetServerInfo(GetServerInfoRequest()).store_id
        assert len(bytes.fromhex(store_id)) == 16
        # What seals page tokens is never shown.
        assert running.server.store.store_id.secret.hex() not in store_id
        for given in ("", store_id):
            stream = stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT, after_revision=0, store_id=given))
            assert next(stream).store_id == store_id
            changes = next(stream)
            assert (len(changes.changes), changes.store_id) == (2, "")
            stream.cancel()
        for other in ("x", store_id.upper(), store_id + "0"):
            stream = stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT, store_id=other))
            is_changed(refusal(partial(next, stream)), store_id)


def test_a_copy_has_an_id_of_its_own_and_knows_the_tokens_of_its_source(tmp_path: Path) -> None:
    with server(tmp_path / "source.db") as running:
        client = running.client(PROJECT)
        client.create_batch(records(1, 2, 3))
        source_id = client.server_info().store_id
        with grpc.insecure_channel(running.target) as channel:
            page = FeedbackServiceStub(channel).QueryFeedback(QueryFeedbackRequest(project=PROJECT, page_size=2))

    async def copy() -> None:
        source, target = SqliteEngine(tmp_path / "source.db"), SqliteEngine(tmp_path / "target.db")
        await source.open()
        await target.open()
        await Copy(source, target, tables()).run()
        await source.close()
        await target.close()

    asyncio.run(copy())
    for name, changed in (("source.db", False), ("target.db", True)):
        with server(tmp_path / name) as running, grpc.insecure_channel(running.target) as channel:
            stub = FeedbackServiceStub(channel)
            store_id = stub.GetServerInfo(GetServerInfoRequest()).store_id
            assert (store_id != source_id) == changed
            request = QueryFeedbackRequest(project=PROJECT, page_size=2, page_token=page.next_page_token)
            watch = WatchFeedbackRequest(project=PROJECT, after_revision=3, store_id=source_id)
            if changed:
                is_changed(refusal(partial(stub.QueryFeedback, request)), store_id)
                is_changed(refusal(partial(next, stub.WatchFeedback(watch))), store_id)
            else:
                assert len(stub.QueryFeedback(request).feedback) == 1
                assert next(stub.WatchFeedback(watch)).revision == 3


def test_former_identities_are_remembered_up_to_a_number(tmp_path: Path) -> None:
    async def often() -> None:
        store = SqliteEngine(tmp_path / "plaudit.db")
        await store.open()
        seen = [store.store_id.secret]
        for _ in range(20):
            renewed = await store.transact(identity.renew)
            seen.append(renewed.secret)
        assert len(set(seen)) == 21
        await store.close()
        await store.open()
        assert store.store_id == identity.StoreId(seen[-1], tuple(seen[-2:-18:-1]))
        await store.close()

    asyncio.run(often())


def test_only_a_store_is_renewed(tmp_path: Path) -> None:
    result = renew(tmp_path / "none.db")
    assert result.exit_code == 1
    assert "there is no store" in result.output
    assert not (tmp_path / "none.db").exists()
