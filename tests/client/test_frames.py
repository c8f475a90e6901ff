"""Frames of pandas, Arrow and polars: types, what goes to a file and comes back, and where a schema comes from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plaudit
from plaudit import frames
from plaudit._contract import jsontext
from plaudit._core.paths import differing, flattened, nested
from plaudit._core.records import to_message
from plaudit_server.testing import RunningServer, server
from tests.client.fakes import feedback

FORMS: Any = ("dict", "json", "columns")
_projects = itertools.count()

RECORDS: list[dict[str, Any]] = [
    {"ref": "urn:f:1", "feedback_type": "a", "payload": {"score": 0.5, "wide": 2**53 + 1}, "creator": "ana"},
    {"ref": "urn:f:2", "feedback_type": "a", "payload": {"score": "0.5", "deep": {"x.y": [1, None], "z": {}}}},
    {"ref": "urn:f:3", "feedback_type": "b", "payload": {"score": None, "é": True, "": "=1+1", "text": 'a"b\nc'}},
    {"ref": "urn:f:4", "feedback_type": "b", "payload": {}, "queue_id": "q"},
    {
        "ref": "weave:///acme/x/agent_turn/t",
        "feedback_type": "wandb.agent_user_feedback",
        "payload": {"good": True, "nothing": None},
        "scorer_tags": ["a", "b", "a"],
        "scorer_tag_reasons": {"a": 'because, "so"', "b": ""},
        "scorer_tag_confidences": {"a": 0.1, "b": 1.0},
        "scorer_ratings": {"r": 1 / 3},
        "span_status_code": "ERROR",
    },
]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server() as running:
        yield running


@pytest.fixture(scope="module")
def filled(running: RunningServer) -> plaudit.FeedbackQuery:
    """Records whose payloads, tags and maps differ in every way."""
    client = running.client("frame/source")
    client.create_batch(RECORDS)
    return client.get_feedback()


def to_parquet_and_back(frame: pandas.DataFrame, path: Path) -> Any:
    frame.to_parquet(path)
    return pandas.read_parquet(path).to_dict("records")


def to_csv_and_back(frame: pandas.DataFrame, path: Path) -> Any:
    frame.to_csv(path, index=False)
    read = pandas.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    return read.to_dict("records")


def arrow_and_back(frame: pandas.DataFrame, path: Path) -> Any:
    return pyarrow.Table.from_pandas(frame).to_pylist()


def rows(frame: pandas.DataFrame, path: Path) -> Any:
    return frame.to_dict("records")


@pytest.mark.parametrize("payload", FORMS)
@pytest.mark.parametrize("through", [rows, to_parquet_and_back, to_csv_and_back, arrow_and_back])
def test_a_frame_of_pandas_comes_back_unchanged(
    filled: plaudit.FeedbackQuery,
    running: RunningServer,
    tmp_path: Path,
    payload: Any,
    through: Callable[[pandas.DataFrame, Path], Any],
) -> None:
    records = through(filled.to_pandas(payload=payload), tmp_path / "frame")
    assert stored_anew(running, records) == [content(record) for record in filled]
    # Where the records are already, they are the same records.
    assert list(filled.client.create_batch(records)) == list(filled)


@pytest.mark.parametrize("payload", ["json", "columns"])
def test_a_table_of_arrow_comes_back_unchanged(
    filled: plaudit.FeedbackQuery, running: RunningServer, tmp_path: Path, payload: Any
) -> None:
    table = filled.to_arrow(payload=payload)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    read = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert read.schema.equals(table.schema)
    expected = [content(record) for record in filled]
    for records in (
        read.to_pylist(),
        pandas.read_parquet(tmp_path / "t.parquet").to_dict("records"),
        filled.to_polars(payload=payload).to_dicts(),
        polars.read_parquet(tmp_path / "t.parquet").to_dicts(),
    ):
        assert stored_anew(running, records) == expected


def stored_anew(running: RunningServer, records: list[dict[str, Any]]) -> list[Any]:
    """The records as they are in a project of their own, after an import."""
    client = running.client(f"frame/p{next(_projects)}")
    assert client.import_records(records, project=client.project).stored == len(records)
    return [content(record) for record in client.get_feedback()]


def content(record: plaudit.Feedback) -> dict[str, Any]:
    return {**record.to_dict(), "payload": record.payload_json, "project": None, "revision": None}


def test_types_are_the_same_whatever_is_in_it(filled: plaudit.FeedbackQuery) -> None:
    nothing = plaudit.Feedbacks(False)
    for payload in FORMS[:2]:
        full, empty = filled.to_pandas(payload=payload), nothing.to_pandas(payload=payload)
        assert list(full.dtypes.items()) == list(empty.dtypes.items())
        assert len(empty) == 0
    assert filled.to_arrow().schema.equals(nothing.to_arrow().schema)
    assert filled.to_arrow().schema.equals(frames.schema())
    assert nothing.to_polars().schema == filled.to_polars().schema
    assert str(full.dtypes["created_at"]) == "datetime64[us, UTC]"
    assert str(full.dtypes["version"]) == "int64"
    assert list(full.columns) == list(filled.to_arrow().schema.names) == list(filled[0].to_dict())


def test_the_schema_of_files() -> None:
    types = {field.name: str(field.type) for field in frames.schema([frames.Column("payload.score", "number")])}
    assert types["payload"] == types["ref"] == "string"
    assert types["created_at"] == "timestamp[us, tz=UTC]"
    assert types["version"] == "int64"
    assert types["creator"] == "dictionary<values=string, indices=int32, ordered=0>"
    assert types["scorer_tags"].startswith("list<")
    assert types["scorer_ratings"].startswith("map<string, double")
    assert types["payload.score"] == "double"


def test_cells_are_dicts_and_lists_that_can_be_grouped(filled: plaudit.FeedbackQuery) -> None:
    frame = filled.to_pandas()
    assert [dict(cell) for cell in frame["payload"]] == [record.payload for record in filled]
    assert frame["payload"][0]["score"] == 0.5
    assert isinstance(frame.loc[4, "scorer_tags"], list)
    assert len(frame.drop_duplicates()) == 5
    assert frame.nunique()["scorer_ratings"] == 2
    assert frame["scorer_tags"].value_counts().tolist() == [4, 1]
    assert frame.groupby("scorer_tags").size().tolist() == [1, 4]
    assert pandas.concat([frame, frame]).duplicated(subset=["payload"]).sum() == 5
    assert pandas.json_normalize(frame["payload"])["score"].tolist()[0] == 0.5
    assert frame.sort_values("payload").iloc[::-1].reindex(range(7))["payload"].isna().sum() == 2
    assert frame[["id", "payload"]].merge(frame[["id", "scorer_tags"]], on="id")["scorer_tags"][4] == ["a", "b", "a"]
    assert frame["payload"].apply(lambda payload: payload.get("score")).tolist()[:2] == [0.5, "0.5"]
    assert json.loads(frame.to_json(orient="records", date_format="iso"))[0]["payload"]["score"] == 0.5
    frame.loc[0, "scorer_tags"] = None
    frame["payload"] = frame["payload"].where(frame["creator"] == "ana")
    assert frame["payload"].isna().tolist() == [False, True, True, True, True]
    assert frame["scorer_tags"].isna().sum() == 1


def test_each_path_has_a_column_of_its_kind(running: RunningServer) -> None:
    client = running.client("frame/paths")
    payloads: list[dict[str, Any]] = [
        {"n": 1, "x": 1, "ok": True, "t": "a", "u": {"tokens": 5, "a.b": "c"}, "mixed": 1, "l": [1]},
        {"n": 2, "x": 0.5, "ok": None, "u": {}, "mixed": "1", "l": []},
    ]
    client.create_batch([{"ref": "urn:x:1", "feedback_type": "t", "payload": payload} for payload in payloads])
    frame = client.get_feedback().to_pandas(payload="columns")
    table = client.get_feedback().to_arrow(payload="columns")
    found = {name: str(kind) for name, kind in frame.dtypes.items() if str(name).startswith("payload.")}
    text = str(frame.dtypes["payload"])
    assert found == {
        "payload.n": "Int64",
        "payload.x": "Float64",
        "payload.ok": "boolean",
        "payload.t": text,
        "payload.u.tokens": "Int64",
        "payload.u.a\\.b": text,
        "payload.mixed": text,
        "payload.l": "object",
        "payload.u": "object",
    }
    assert frame["payload.x"].mean() == 0.75
    assert frame["payload.mixed"].tolist() == ["1", '"1"']
    assert frame["payload.l"].tolist() == [[1], []]
    assert [str(table.schema.field(name).type) for name in ("payload.n", "payload.x", "payload.ok", "payload.l")] == [
        *("int64", "double", "bool", "string")
    ]
    assert table.column("payload.u.tokens").to_pylist() == [5, None]


def test_columns_of_paths_are_stored_or_must_say_the_same(running: RunningServer) -> None:
    client = running.client("frame/edited")
    client.create({"ref": "urn:x:1", "feedback_type": "t", "payload": {"n": 1, "deep": {"a": "x"}}})
    [row] = client.get_feedback().to_pandas(payload="columns").to_dict("records")
    with pytest.raises(plaudit.InvalidArgumentError, match=r"feedback\[0\].payload.n: is not what the payload holds"):
        client.create_batch([{**row, "payload.n": 2}])
    del row["payload"], row["id"]
    [stored] = client.create_batch([{**row, "payload.n": 2, "payload.deep.b": float("nan"), "payload.a\\.b": True}])
    assert stored.payload == {"n": 2, "deep": {"a": "x"}, "a.b": True}
    with pytest.raises(plaudit.InvalidArgumentError, match="above or below"):
        client.create({"ref": "urn:x:1", "feedback_type": "t", "payload.a": 1, "payload.a.b": 2})


def test_a_key_that_ends_in_a_backslash_is_no_path_of_its_own() -> None:
    payload = {"a\\": {"b": 1}, "a\\.b": 2, "a": {"b\\": 3}}
    paths = {path: values[0] for path, values in flattened([payload]).items()}
    assert nested(paths, "feedback") == (payload, [])
    assert len(paths) == 3


def test_too_many_paths_are_refused() -> None:
    many = plaudit.Feedbacks(False, [feedback(1, payload_json=json.dumps({str(n): n for n in range(2001)}))])
    with pytest.raises(ValueError, match="more than 2,000 paths"):
        many.to_pandas(payload="columns")
    assert len(many.to_pandas(payload="json")) == 1


def test_another_form_of_payloads_is_refused() -> None:
    for name in ("to_pandas", "to_arrow", "to_polars"):
        with pytest.raises(ValueError, match="payload is one of 'dict', 'json', 'columns'"):
            getattr(plaudit.Feedbacks(False), name)(payload="text")


@pytest.mark.parametrize(("library", "method", "package"), [
    ("pandas", "to_pandas", "pandas"),
    ("pyarrow", "to_arrow", r"plaudit\[arrow\]"),
    ("polars", "to_polars", "polars"),
])  # fmt: skip
def test_without_the_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, library: str, method: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(ImportError, match=f"pip install '?{package}"):
        getattr(plaudit.Feedbacks(False), method)()


def test_groups_have_the_types_of_their_measures(filled: plaudit.FeedbackQuery) -> None:
    field = plaudit.field
    groups = filled.group_by("feedback_type", day=field("created_at").day("Europe/Berlin")).agg(
        n=field("payload.score").count(), mean=field("payload.score").mean(), top=field("payload.score").top_values()
    )
    full, empty = groups.to_pandas(), groups.having(field("row_count") > 99).to_pandas()
    numbers = ["row_count", "n", "mean", "day"]
    assert full.dtypes[numbers].tolist() == empty.dtypes[numbers].tolist()
    assert list(map(str, full.dtypes[numbers])) == ["int64", "Int64", "Float64", "datetime64[us, Europe/Berlin]"]
    assert [sorted(map(str, top)) for top in full["top"]] == [["['0.5', 2]"], [], []]
    table = groups.to_arrow(counts=True)
    measures = [name for measure in ("n", "mean", "top") for name in (measure, f"{measure}_count")]
    assert table.column_names == ["feedback_type", "day", "row_count", *measures]
    assert table.num_rows == len(full) == len(groups)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(".ab", max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.text(".ab", max_size=3), JSON, max_size=4), max_size=4))
@settings(deadline=None)
def test_payloads_by_path_say_the_same_again(payloads: list[dict[str, Any]]) -> None:
    paths = flattened(payloads)
    for index, payload in enumerate(payloads):
        row = {path: values[index] for path, values in paths.items()}
        assert differing(row, payload, "feedback") == []
        again, violations = nested(row, "feedback")
        assert violations == []
        assert again == without_nulls(payload)


def without_nulls(value: Any) -> Any:
    """A payload as it comes of columns, where a null is a missing value."""
    if not isinstance(value, dict):
        return value
    inner = {key: without_nulls(entry) for key, entry in value.items() if entry is not None}
    return {key: entry for key, entry in inner.items() if entry != {} or value[key] == {}}


def test_texts_of_files_are_read_as_what_they_stand_for() -> None:
    row = {
        "ref": "urn:x:1",
        "feedback_type": "wandb.agent_user_feedback",
        "payload": ' {"a": 5.00}',
        "scorer_tags": '["a"]',
        "scorer_ratings": [("r", 0.5)],
        "scorer_tag_reasons": [{"key": "a", "value": "b"}],
        "version": "3",
        "created_at": "2026-01-01 10:00:00.123456+00:00",
    }
    message = to_message(row, imported=True)
    assert message.payload_json == ' {"a": 5.00}'
    assert (list(message.scorer_tags), dict(message.scorer_ratings), message.version) == (["a"], {"r": 0.5}, 3)
    assert dict(message.scorer_tag_reasons) == {"a": "b"}
    refused: dict[str, list[Any]] = {
        "payload": ["text", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}'],
        "scorer_tags": ["a", '{"a": 1}', "[1]", "[1"],
        "scorer_ratings": ["a", "[1]", '{"a": "b"}', [1]],
        "version": ["x", "-1", "9" * 20, 1.5],
    }
    for name, wrong in refused.items():
        for value in wrong:
            with pytest.raises(plaudit.InvalidArgumentError, match=f"feedback.{name}"):
                to_message({**row, name: value}, imported=True)
    assert jsontext.check(message.payload_json)[1] == []
