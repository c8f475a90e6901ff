"""Rows that change in their source, rows that cannot be imported, and inputs that are broken: each is reported."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import plaudit
from plaudit import importers
from plaudit.importers import Given, Record, Refusal, UnusableError, open_source
from plaudit.importers.documents import rows
from plaudit.importers.exact import dumps, loads
from plaudit.importers.recognise import recognised
from tests.importers.conftest import Store

ANNOTATION: Mapping[str, Any] = {
    "id": "U3BhbjoxMQ==",
    "created_at": "2026-11-28T10:55:01+00:00",
    "updated_at": "2026-11-28T10:55:01+00:00",
    "source": "API",
    "user_id": "user-7",
    "name": "quality",
    "annotator_kind": "HUMAN",
    "result": {"label": "good", "score": 4.0, "explanation": None},
    "metadata": {},
    "identifier": "reviewer-1",
    "span_id": "43b026c48bbf33fe",
}


def written(path: Path, *values: Any) -> str:
    """A file with the given annotations, as Phoenix answers them."""
    path.write_text(json.dumps({"data": values}), "utf-8")
    return str(path)


def read(path: str, system: str = "phoenix", **options: Any) -> list[Any]:
    """What a source gives."""
    return list(open_source(system, Given(path, "acme/chat", options)).read())


@pytest.fixture
def store(request: pytest.FixtureRequest, new_store: Callable[[str], Store]) -> Store:
    """A project for a test."""
    return new_store(f"rows/{request.node.name[-100:]}")


def test_a_row_that_changed_in_its_source_is_a_new_version_with_its_author_and_time(
    store: Store, tmp_path: Path
) -> None:
    assert store.run(written(tmp_path / "a.json", ANNOTATION)).exit_code == 0
    [before] = store.records
    later = dict(ANNOTATION, updated_at="2026-11-29T10:00:00+00:00", user_id="user-8", result={"label": "bad"})
    done = store.run(written(tmp_path / "a.json", later))
    assert "updated 1" in done.output
    [after] = store.records
    assert (after["id"], after["version"], after["user_id"]) == (before["id"], 2, "phoenix:user-8")
    assert after["payload"]["label"] == "bad"
    assert after["updated_at"].isoformat() == "2026-11-29T10:00:00+00:00"
    assert after["created_at"] == before["created_at"]
    older = store.run(written(tmp_path / "a.json", ANNOTATION))
    assert "kept 1" in older.output


def test_a_purged_row_is_not_imported_again_and_is_reported(store: Store, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", ANNOTATION)
    store.run(path)
    with plaudit.Client(store.project, target=store.target) as client:
        client.purge([store.records[0]["id"]])
    done = store.run(path)
    assert done.exit_code == 1
    assert "purged here" in done.output
    assert not store.records


def test_a_report_may_be_long_and_shows_its_beginning(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plaudit._cli.importing._IDS", 7)
    long = "n" * 200
    rows = [dict(ANNOTATION, name=long, identifier=str(number)) for number in range(50)]
    gone = dict(ANNOTATION, identifier="gone", name=long)
    report = tmp_path / "report.json"
    for values, options in (([*rows, gone], ()), (rows, ("--mirror", 'ref ^= "phoenix://"'))):
        done = store.run(written(tmp_path / "a.json", *values), "--report", str(report), *options)
        assert done.exit_code == 0, done.output
    said = json.loads(report.read_text("utf-8"))
    assert (said["changed_on_the_way"], len(said["changes"]), len(said["missing_records"])) == (50, 50, 1)
    assert "… and 30 more; --report FILE lists them" in done.output
    assert done.output.count("changed: row") == 20
    tombstones = [{"tombstone": {"id": row["id"]}} for row in store.records]
    (tmp_path / "gone.jsonl").write_text("".join(json.dumps(each) + "\n" for each in tombstones))
    purged = store.run(str(tmp_path / "gone.jsonl"), "--from", "plaudit", "--apply-purges")
    assert "purged there 51, purged 51" in purged.output
    again = store.run(written(tmp_path / "a.json", *rows), "--report", str(report))
    assert (again.exit_code, "50 of these were purged here" in again.output) == (1, True)
    places = [row["place"] for row in json.loads(report.read_text("utf-8"))["refused_rows"]]
    assert sorted(places) == sorted(f"row {number}" for number in range(1, 51))


def test_the_report_names_each_row_that_was_refused(store: Store, tmp_path: Path) -> None:
    without_target = {key: value for key, value in ANNOTATION.items() if key != "span_id"}
    wrong_time = dict(ANNOTATION, created_at="yesterday")
    path = written(tmp_path / "a.json", without_target, ANNOTATION, wrong_time, 7)
    done = store.run(path, "--report", str(tmp_path / "report.json"))
    assert done.exit_code == 1
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["refused_rows"] == [
        {"place": "row 1", "reason": "is about no span, trace or session"},
        {"place": "row 3", "reason": "created_at is no time"},
        {"place": "row 4", "reason": "is no JSON object"},
    ]
    assert report["new"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"result": {"score": float("nan")}}, "the payload holds NaN, which JSON does not have"),
        ({"name": ""}, "has no name"),
        ({"created_at": None}, "has no created_at"),
        ({"metadata": "{" * 70_000}, "has metadata of more than 65536 bytes"),
        ({"metadata": "[" * 5_000}, "has metadata that cannot be read"),
        ({"metadata": "__import__('os')"}, "has metadata that cannot be read"),
    ],
)
def test_a_row_that_cannot_be_imported_says_why(tmp_path: Path, change: Mapping[str, Any], reason: str) -> None:
    [found] = read(written(tmp_path / "a.json", {**ANNOTATION, **change}))
    assert isinstance(found, Refusal)
    assert found.reason.startswith(reason)


def test_a_truncated_file_gives_what_came_before_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    whole = json.dumps({"data": [ANNOTATION, ANNOTATION]})
    path.write_text(whole[:-40])
    found = read(str(path))
    assert isinstance(found[0], Record)
    assert isinstance(found[1], Refusal)
    assert found[1].place == "row 2"
    assert "nothing after it was read" in found[1].reason


def test_a_mark_of_the_encoding_is_no_part_of_it_and_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"data": [ANNOTATION]}).encode())
    assert isinstance(read(str(path))[0], Record)
    path.write_bytes(json.dumps({"data": [ANNOTATION]}).replace("good", "gööd").encode("latin-1"))
    [refused] = read(str(path))
    assert isinstance(refused, Refusal)
    assert "UTF-8" in refused.reason


def test_an_input_is_read_in_pieces_and_at_most_100_times_its_compressed_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plaudit.importers.pieces._FREE", 1024 * 1024)
    path = tmp_path / "a.json.gz"
    with gzip.open(path, "wb") as file:
        file.write(b'{"data":[')
        for _ in range(8):
            file.write(b" " * 1024 * 1024)
        file.write(b"]}")
    with pytest.raises(UnusableError, match="100 times its compressed size"):
        read(str(path))


def test_a_row_longer_than_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"data":[{"a":"' + "x" * (18 * 1024 * 1024) + '"}]}')
    [refused] = read(str(path))
    assert isinstance(refused, Refusal)
    assert "16777216" in refused.reason


def test_a_table_is_read_in_pieces_within_the_same_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setattr("plaudit.importers.tables.LINE_BYTES", 10_000)
    row = {"span_id": "43b026c48bbf33fe", "annotation_name": "q", "annotator_kind": "HUMAN", "result.score": "1"}
    row |= {"created_at": "2026-11-28T10:55:01+00:00", "identifier": "", "metadata": ""}
    long = dict(row, identifier="x" * 20_000)
    head = ",".join(row)
    for number, text in enumerate(("\n".join(["", *["x"] * 9_000]), long["identifier"])):
        path = tmp_path / f"{number}.csv"
        quoted = ",".join(dict(row, identifier=f'"{text}"').values())
        path.write_text(f"{head}\n{','.join(row.values())}\n{quoted}\n")
        first, refused = read(str(path))
        assert isinstance(first, Record)
        assert (refused.place, "10000" in refused.reason) == ("row 2", True)
    values = [dict(row, identifier=str(number)) for number in range(250)]
    values[120] = long
    parquet.write_table(pyarrow.Table.from_pylist(values), tmp_path / "a.parquet")
    found = read(str(tmp_path / "a.parquet"))
    assert [each.place for each in found] == [f"row {number}" for number in range(1, 251)]
    assert [each.place for each in found if isinstance(each, Refusal)] == ["row 121"]
    assert [each.fields.payload["origin"]["identifier"] for each in found[121:]] == list(map(str, range(121, 250)))
    monkeypatch.setattr("plaudit.importers.pieces._FREE", 1_000)
    table = pyarrow.table({"a": ["x" * 1_000] * 5_000})
    parquet.write_table(table, tmp_path / "b.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(UnusableError, match="100 times its compressed size"):
        read(str(tmp_path / "b.parquet"))


def test_links_in_folders_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    written(folder / "a.json", ANNOTATION)
    (folder / "b.json").symlink_to(folder / "a.json")
    assert [record.place for record in read(str(folder))] == ["a.json: row 1"]


@pytest.mark.parametrize("text", ["9007199254740993", "4.0", "1e-07", "1.10", "-0", "123456789.123456789123456789"])
def test_numbers_keep_their_text(text: str) -> None:
    assert dumps(loads(f'{{"a":[{text},true,null,"1"]}}')) == f'{{"a":[{text},true,null,"1"]}}'


@pytest.mark.parametrize("size", [1, 7, 100])
def test_rows_are_the_same_whatever_pieces_they_are_read_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("plaudit.importers.pieces._PIECE", size)
    path = tmp_path / "a.json"
    for text, expected in (
        ('{"meta": {"data": [1]}, "data": [12, {"a": "ö]"}, -3.5e1 ], "next": null}', ["12", '{"a":"ö]"}', "-3.5e1"]),
        ("[1,2 , 3]\n", ["1", "2", "3"]),
        ('{"a":1}\n{"a":22}\n\n{"a":"\\u00e4"}', ['{"a":1}', '{"a":22}', '{"a":"ä"}']),
        ('{"data": []}', []),
    ):
        path.write_text(text, "utf-8")
        assert [dumps(row.value) for row in rows(str(path), ("data",)) if not row.wrong] == expected


def test_names_that_plaudit_has_no_room_for_are_changed_and_counted(tmp_path: Path) -> None:
    long, reserved = read(
        written(tmp_path / "a.json", dict(ANNOTATION, name="n" * 200), dict(ANNOTATION, name="wandb.note.9"))
    )
    assert (len(long.fields.feedback_type), long.changed) == (127, ["the type's name was too long"])
    assert json.loads(long.fields.payload_json)["origin"]["name"] == "n" * 200
    assert reserved.fields.feedback_type == "phoenix.wandb.note.9"
    assert reserved.changed


def test_a_ref_may_be_the_applications_own(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", ANNOTATION)
    [record] = read(path, ref_template="https://app.example.org/{span}", type_prefix="px.")
    assert record.fields.ref == "https://app.example.org/43b026c48bbf33fe"
    assert record.fields.feedback_type == "px.quality"
    [record] = read(path, instance="px.example.org", source_project="support bot")
    assert record.fields.ref == "phoenix://px.example.org/support%20bot/span/43b026c48bbf33fe"
    [wrong] = read(path, ref_template="https://app.example.org/{answer}")
    assert isinstance(wrong, Refusal)


def test_the_trace_of_a_span_is_found_in_a_file_of_spans(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", ANNOTATION, dict(ANNOTATION, span_id="0000000000000001"))
    spans = tmp_path / "spans.json"
    spans.write_text(json.dumps({"data": [{"context": {"span_id": ANNOTATION["span_id"], "trace_id": "7f"}}, 5]}))
    found, unknown = read(path, spans=str(spans))
    assert (found.fields.span_trace_id, unknown.fields.span_trace_id) == ("7f", "")
    assert read(path)[0].fields.span_trace_id == ""


def test_of_a_row_that_was_written_again_the_newest_counts_wherever_it_stands(tmp_path: Path) -> None:
    row = {"id": "r1", "created": "2026-11-28T10:55:01Z", "project_id": "p", "root_span_id": "s"}
    versions = [("999", 0.1), ("1000", 0.9), ("998", 0.2)]
    lines = [row | {"_xact_id": at, "scores": {"quality": score}} for at, score in versions]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, [*lines, 5, row | {"id": "r2", "_xact_id": "1", "scores": {"q": 1}}])))
    newest, wrong, other = read(str(path), "braintrust")
    assert (newest.fields.payload["score"], newest.place, other.fields.feedback_type) == (0.9, "row 2", "q")
    assert isinstance(wrong, Refusal)


def test_what_is_no_annotation_is_counted(tmp_path: Path) -> None:
    annotation = {"id": 1, "created_at": "2026-11-28T10:55:01Z", "completed_by": 2, "result": []}
    tasks = [
        {"id": number, "data": {}, "project": 1, "predictions": [1, 2], "drafts": [3], "annotations": [annotation]}
        for number in range(3)
    ]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    source: Any = open_source("label-studio", Given(str(tmp_path / "a.json"), "acme/chat"))
    assert len(list(source.read())) == 3
    assert source.notes == [
        "3 drafts are no annotations: they are left out",
        "6 predictions are no annotations: they are left out",
    ]


def test_every_system_is_recognised_by_no_other_ones_rows(tmp_path: Path) -> None:
    assert recognised(written(tmp_path / "a.json", ANNOTATION)) == "phoenix"
    (tmp_path / "b.json").write_text('{"a": 1}')
    with pytest.raises(UnusableError, match="looks like the export of none of"):
        recognised(str(tmp_path / "b.json"))
    with pytest.raises(UnusableError, match="there is no importer for 'nothing'"):
        open_source("nothing", Given("a", "acme/chat"))
    assert set(importers.SOURCES) >= {"weave", "langfuse", "langsmith", "phoenix", "mlflow", "opik", "argilla"}


def test_what_is_no_ref_is_refused_or_becomes_a_urn(new_store: Callable[[str], Store], tmp_path: Path) -> None:
    row = {"id": "01931c2e-5a60-7cc1-a9d8-fd1f1e0e0c11", "weave_ref": "weave:///acme/bad refs/thing/1", "payload": {}}
    row |= {
        "project_id": "acme/bad",
        "feedback_type": "t",
        "created_at": "2026-11-28 11:02:54+00:00",
        "wb_user_id": "u",
    }
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"result": [row]}))
    store = new_store("acme/bad")
    refused = store.run(str(path))
    assert (refused.exit_code, "refused 1" in refused.output) == (1, True)
    done = store.run(str(path), "--bad-refs", "urn")
    assert (done.exit_code, "changed on the way 1" in done.output) == (0, True)
    assert [record["ref"] for record in store.records] == ["urn:weave-ref:weave:///acme/bad%20refs/thing/1"]
