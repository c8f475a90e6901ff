"""The jobs in shared/cases/client.jsonl that failed once: each does now what the case calls right."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import numpy
import pandas
import pytest
from click.testing import CliRunner

import plaudit
from plaudit import field
from plaudit_server.cli.main import cli
from plaudit_server.testing import RunningServer, server
from tests.client.fakes import FakeTransport, message
from tests.shared import CLIENT, read_lines

REF: Final = "urn:x:1"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server() as running:
        yield running


def given(**fields: Any) -> dict[str, Any]:
    return {"ref": REF, "feedback_type": "a", **fields}


def one_emoji_in_two_spellings(client: plaudit.Client, path: Path) -> None:
    client.ref(REF).add_reaction("\u2764")
    assert client.get_feedback(reaction="\u2764\ufe0f").count() == 1


def a_test_for_null(client: plaudit.Client, path: Path) -> None:
    payloads: list[dict[str, Any]] = [{"v": None}, {"v": 5}, {"v": "x"}, {"v": [5]}, {}]
    client.create_batch([given(payload=payload) for payload in payloads])
    assert [row.payload for row in client.get_feedback(field("payload.v").is_null())] == [{"v": None}]
    with pytest.raises(ValueError, match="is_null"):
        _ = field("payload.v") == None  # noqa: E711
    with pytest.raises(ValueError, match="is_null"):
        field("payload.v").in_([None])


def a_missing_creator_in_a_frame(client: plaudit.Client, path: Path) -> None:
    client.create_batch([given(creator="ana"), given()])
    before = list(client.get_feedback())
    assert list(client.create_batch(client.get_feedback().to_pandas().to_dict("records"))) == before
    assert client.count() == 2


def a_frame_as_parquet(client: plaudit.Client, path: Path) -> None:
    client.create(given(payload={"x": 1}))
    frame = client.get_feedback().to_pandas()
    frame.to_parquet(path / "f.parquet")
    assert len(frame.drop_duplicates()) == 1
    assert frame.nunique()["scorer_tags"] == 1
    assert frame.groupby("scorer_tags").size().tolist() == [1]


def payloads_of_different_kinds(client: plaudit.Client, path: Path) -> None:
    client.create_batch([given(payload={"score": 0.5}), given(payload={"score": "0.5", "x": None})])
    before = list(client.get_feedback())
    client.get_feedback().to_pandas().to_parquet(path / "f.parquet")
    client.get_feedback().to_pandas().to_csv(path / "f.csv", index=False)
    for read in (pandas.read_parquet(path / "f.parquet"), pandas.read_csv(path / "f.csv")):
        assert list(map(json.loads, read["payload"])) == [row.payload for row in before]
        assert list(client.create_batch(read.to_dict("records"))) == before
    assert client.get_feedback().to_pandas(payload="json")["payload"].tolist() == [row.payload_json for row in before]
    assert json.loads(before[0].to_json())["payload"] == {"score": 0.5}


def a_job_without_ids(client: plaudit.Client, path: Path) -> None:
    rows = [given(payload={"n": n}) for n in range(10)]
    rows[9]["payload"]["n"] = float("nan")
    for _ in range(2):
        with pytest.raises(plaudit.InvalidArgumentError) as raised:
            client.ingest(rows, key=("ref", "payload"))
        assert raised.value.__notes__ == ["9 records are stored; go on at position 9. "
                                          "Sending all again with the same ids is safe."]  # fmt: skip
    assert client.count() == 9
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        client.ingest(rows)
    assert "sending these again stores them twice" in raised.value.__notes__[0]


def a_target_that_can_never_work(client: plaudit.Client, path: Path) -> None:
    for target in (
        *("localhost", "localhost:", "localhost:abc", "localhost:99999", "localhost:50990/x", "tcp://localhost:50990"),
        *("user:pw@localhost:50990", " localhost:50990", ""),
    ):
        with pytest.raises(ValueError, match=r"write|1 to 65535|scheme|blanks") as raised:
            plaudit.Client("a/b", target=target)
        assert "pw" not in str(raised.value)


def a_restored_backup(client: plaudit.Client, path: Path) -> None:
    store, backup = path / "plaudit.db", path / "backup.db"
    with server(store) as running:
        first = running.client("a/b")
        first.create_batch([given(payload={"n": n}) for n in range(15)])
        apsw.Connection(str(store)).execute("VACUUM INTO ?", (str(backup),))
        first.create_batch([given(payload={"n": n}) for n in range(5)])
        with first.watch(after=0) as watch:
            assert [change.revision for change in itertools.islice(watch, 20)][-1] == 20
            seen = watch.store_id
    for old in path.glob("plaudit.db*"):
        old.unlink()
    backup.rename(store)
    renewed = CliRunner().invoke(cli, ["store", "renew", "--store", f"sqlite:{store}"])
    assert renewed.exit_code == 0, renewed.output
    with server(store) as running:
        again = running.client("a/b")
        again.create_batch([given(payload={"n": n}) for n in range(10)])
        with pytest.raises(plaudit.StoreChangedError):
            again.watch(after=20, store_id=seen)


def any_mapping_as_payload(client: plaudit.Client, path: Path) -> None:
    payload = types.MappingProxyType({"a": types.MappingProxyType({"b": 1})})
    client.create(given(payload=payload))
    client.create_batch([given(payload=payload)])
    client.ingest([given(payload=payload)])
    client.ref(REF).add("a", payload)
    assert [row.payload for row in client.get_feedback()] == [{"a": {"b": 1}}] * 4


def scalars_of_numpy(client: plaudit.Client, path: Path) -> None:
    scalars = {"i": numpy.int64(5), "f": numpy.float32(0.5), "b": numpy.bool_(True)}
    client.ref(REF).add("s", scalars)
    assert client.get_feedback(field("payload.i") == numpy.int64(5))[0].payload == {"i": 5, "f": 0.5, "b": True}
    with pytest.raises(plaudit.InvalidArgumentError, match="score: is NaN; write None for what is missing"):
        client.ref(REF).add("s", {"score": float("nan")})


def one_record_of_many(client: plaudit.Client, path: Path) -> None:
    transport = FakeTransport([message(number) for number in range(1, 4001)])
    query = plaudit.Client("acme/chat", transport=transport).get_feedback()
    assert query[0].id == message(1).id
    assert len(query[:5]) == 5
    assert transport.calls == 1
    query._repr_html_()
    assert transport.calls == 2  # with the number of all


def clients_and_queries_travel(client: plaudit.Client, path: Path) -> None:
    client.create(given())
    for travelled in (pickle.loads(pickle.dumps(client)), copy.deepcopy(client)):
        assert travelled.count() == 1
    for query in (client.get_feedback(field("ref") == REF), client.ref(REF)):
        assert [len(each) for each in (pickle.loads(pickle.dumps(query)), copy.deepcopy(query))] == [1, 1]


def one_vote_of_each(client: plaudit.Client, path: Path) -> None:
    ref = client.ref(REF)
    for up, count in ((True, 1), (True, 1), (False, 0), (True, 1)):
        assert ref.set_reaction("👍", up, creator="ana").count == count
    assert not ref.toggle_reaction("👍", creator="ana").mine
    thumb = plaudit.Definition("thumb", plaudit.Boolean(), value_path="up", unique="creator", on_repeat="replace")
    client.define(thumb)
    for up in (True, False):
        ref.rate("thumb", up, creator="ana")
    [vote] = client.get_feedback(field("feedback_type") == "thumb")
    assert (vote.payload["up"], vote.version) == (False, 2)
    client.purge([vote])
    ref.rate("thumb", True, creator="ana")
    assert client.get_feedback(field("feedback_type") == "thumb")[0].payload["up"] is True


CHECKS: Final[dict[str, Callable[[plaudit.Client, Path], None]]] = {
    "pc-01": one_emoji_in_two_spellings,
    "pc-03": a_test_for_null,
    "pc-04": a_missing_creator_in_a_frame,
    "pc-06": a_frame_as_parquet,
    "pc-07": payloads_of_different_kinds,
    "pc-08": a_job_without_ids,
    "pc-09": a_target_that_can_never_work,
    "pc-11": a_restored_backup,
    "pc-13": any_mapping_as_payload,
    "pc-14": scalars_of_numpy,
    "pc-16": one_record_of_many,
    "pc-17": clients_and_queries_travel,
    "pc-19": one_vote_of_each,
}


@pytest.mark.parametrize("case", CHECKS)
def test_the_case_is_right(running: RunningServer, tmp_path: Path, case: str) -> None:
    with plaudit.Client(f"cases/{case}", target=running.target) as client:
        CHECKS[case](client, tmp_path)


def test_each_case_has_its_check() -> None:
    assert [case["id"] for case in read_lines(CLIENT) if case["id"] not in CHECKS] == []
