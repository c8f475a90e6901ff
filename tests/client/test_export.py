"""Exports: one state of a project, whatever happens meanwhile; stopped and resumed; and back in, every row equal."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from pyarrow import parquet

import plaudit
import plaudit.frames
from plaudit import Feedback, field, v1
from plaudit._core.lines import line_of, lines_of
from plaudit._export import place, snapshot
from plaudit._export import run as exporting
from plaudit._export.finish import finish
from plaudit._export.spool import Spool
from plaudit._export.tables import Parquet
from plaudit._sync.export import ProjectReader, exported, exported_apart
from plaudit.importers import Given, Record
from plaudit.importers.exported import ExportedSource
from plaudit_server.testing import RunningServer, server
from tests.client.commands import Plaudit
from tests.shared import FEEDBACK, read_lines

_projects = itertools.count()
KILLS = int(os.environ.get("PLAUDIT_TEST_EXPORT_KILLS", "20"))


@pytest.fixture
def project() -> str:
    return f"export/p{next(_projects)}"


@pytest.fixture
def client(running: RunningServer, project: str) -> Iterator[plaudit.Client]:
    with running.client(project) as client:
        yield client


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, running: RunningServer, project: str, tmp_path: Path) -> Plaudit:
    config = str(tmp_path / "config.toml")
    return Plaudit(monkeypatch, PLAUDIT_TARGET=running.target, PLAUDIT_PROJECT=project, PLAUDIT_CONFIG_FILE=config)


def fill(client: plaudit.Client, count: int = 500) -> list[Feedback]:
    payloads = ({"n": n, "score": n / 7, "big": 2**53 + n, "text": f"ä{n}", "none": None} for n in range(count))
    return list(
        client.create_batch(
            {"ref": f"urn:{n % 10}", "feedback_type": f"t{n % 3}", "payload": payload, "creator": "x" if n % 2 else ""}
            for n, payload in enumerate(payloads)
        )
    )


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def here(client: plaudit.Client, query: Any = None) -> dict[str, Any]:
    """Every record by its id, as the export has it."""
    return {row.id: row.to_dict() for row in client.stream(query)}


def same(exported: list[Any], expected: dict[str, Any]) -> None:
    """The exported lines are these records, each once, to the digit."""
    assert len(exported) == len(expected)
    for line in exported:
        whole = {**Feedback(v1.Feedback()).to_dict(), **line}
        for name in ("created_at", "updated_at"):
            whole[name] = datetime.fromisoformat(whole[name])
        assert whole == expected[line["id"]]


def test_lines_are_the_records_and_the_manifest_describes_them(client: plaudit.Client, tmp_path: Path) -> None:
    fill(client)
    client.update(next(iter(client.stream())).id, {"n": -1})
    path = tmp_path / "all.jsonl"
    done = client.get_feedback().export(path)
    same(lines(path), here(client))
    assert [line["created_at"] for line in lines(path)] == sorted(line["created_at"] for line in lines(path))
    manifest = json.loads((tmp_path / "all.jsonl.manifest.json").read_text())
    content = path.read_bytes()
    assert (manifest["rows"], manifest["bytes"], manifest["revision"]) == (500, len(content), 501)
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest() == done.sha256
    assert (manifest["format"], manifest["project"], manifest["query"]) == (
        "plaudit-export",
        client._settings.project,
        None,
    )
    assert manifest["store_id"] == client.server_info().store_id != ""
    assert sorted(each.name for each in tmp_path.iterdir()) == ["all.jsonl", "all.jsonl.manifest.json"]

    some = client.get_feedback((field("payload.n") >= 100) & (field("feedback_type") == "t1"))
    done = some.export(tmp_path / "some.jsonl.gz")
    assert done.query == 'payload.n >= 100 and feedback_type = "t1"'
    with gzip.open(tmp_path / "some.jsonl.gz", "rt", encoding="utf-8") as text:
        same([json.loads(line) for line in text], here(client, some.query))
    with pytest.raises(ValueError, match="no limit"):
        client.get_feedback(limit=3).export(path)


def test_many_records_are_written_as_one_is() -> None:
    """A page is written field by field: also where records do not have the same fields, or no first one."""
    full = v1.Feedback(
        id="1",
        ref="urn:x",
        payload_json='{"a":\r\n1}',
        creator="",
        scorer_tags=["a", "ä"],
        scorer_ratings={"z": 1, "b": 0.5},
    )
    full.created_at.FromJsonString("0001-01-01T00:00:59.000001Z")
    full.updated_at.FromJsonString("2026-11-28T23:59:59.999999Z")
    some = v1.Feedback(id="2", feedback_type='a "b"', span_status_code=v1.SpanStatusCode.SPAN_STATUS_CODE_ERROR)
    empty = v1.Feedback()
    for page in ([full], [full, some], [some, full, full], [full, empty], [empty, some], [empty], []):
        assert lines_of(page) == "".join(f"{line_of(message)}\n" for message in page)
        table = plaudit.frames.to_arrow([Feedback(message) for message in page])
        assert table.schema == plaudit.frames.schema()
        if page:
            part, form = io.BytesIO(), Parquet()
            assert form.write(io.BytesIO(form.packed(page) * 2), {}, part) == 2 * len(page)
            assert parquet.read_table(part).to_pylist() == table.to_pylist() * 2
        for row, message in zip(table.to_pylist(), page, strict=True):
            fields = Feedback(message).to_dict()
            texts = ("scorer_tag_reasons", "scorer_ratings")
            assert {name: dict(row[name]) for name in texts} == {name: fields[name] for name in texts}
            same = ("id", "creator", "created_at", "updated_at", "scorer_tags", "span_status_code", "version", "owner")
            assert {name: row[name] for name in same} == {name: fields[name] for name in same}


def test_csv_is_flat_and_safe_for_spreadsheets_on_request(client: plaudit.Client, tmp_path: Path) -> None:
    client.create({"ref": "urn:x", "feedback_type": "t", "creator": '=HYPERLINK("x")', "payload": {"a": 'b,"c"\n'}})
    client.create({"ref": "urn:y", "feedback_type": "t", "creator": "@sum", "scorer_trace_id": "-1"})
    for excel in (False, True):
        client.get_feedback().export(tmp_path / "x.csv", excel=excel)
        with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
            first, second = csv.DictReader(file)
        mark = "'" if excel else ""
        assert first["creator"] == f'{mark}=HYPERLINK("x")'
        assert (second["creator"], second["scorer_trace_id"]) == (f"{mark}@sum", f"{mark}-1")
        assert json.loads(first["payload"]) == {"a": 'b,"c"\n'}
        assert (first["queue_id"], first["version"]) == ("", "1")


def test_parquet_gives_the_aggregates_of_the_server(client: plaudit.Client, tmp_path: Path) -> None:
    import duckdb
    import pandas
    import polars

    fill(client)
    path = tmp_path / "all.parquet"
    extract = ["payload.score:double", "payload.big:int", "payload.text:text", "payload.none:bool"]
    done = client.get_feedback().export(path, extract=extract)
    assert done.rows == 500
    groups = (
        client.get_feedback().group_by("feedback_type").agg(mean=("payload.score", "mean"), top=("payload.big", "max"))
    )
    expected = {
        group["feedback_type"]: (group.row_count, pytest.approx(group["mean"]), group["top"]) for group in groups
    }

    frame = pandas.read_parquet(path)
    by_type = frame.groupby("feedback_type", observed=True)
    assert {
        name: (len(part), part["payload.score"].mean(), part["payload.big"].max()) for name, part in by_type
    } == expected
    table = polars.read_parquet(path).with_columns(polars.col("feedback_type").cast(polars.String))
    summed = table.group_by("feedback_type").agg(
        polars.len(), polars.col("payload.score").mean(), polars.col("payload.big").max().alias("top")
    )
    assert {row[0]: tuple(row[1:]) for row in summed.iter_rows()} == expected
    asked = f"""SELECT feedback_type, count(*), avg("payload.score"), max("payload.big")
                FROM read_parquet('{path}') GROUP BY 1"""
    assert {row[0]: tuple(row[1:]) for row in duckdb.execute(asked).fetchall()} == expected
    lost = duckdb.execute(f"SELECT count(*) FROM read_parquet('{path}') WHERE \"payload.none\" IS NOT NULL").fetchall()
    assert lost == [(0,)]
    assert json.loads(frame["payload"][7]) == {"n": 7, "score": 1.0, "big": 2**53 + 7, "text": "ä7", "none": None}
    assert str(frame["created_at"].dtype) == "datetime64[us, UTC]"
    assert parquet.ParquetFile(path).metadata.num_row_groups == 1
    nothing = client.get_feedback(field("feedback_type") == "none").export(tmp_path / "none.parquet")
    assert (nothing.rows, parquet.read_table(tmp_path / "none.parquet").schema) == (0, plaudit.frames.schema())
    with pytest.raises(ValueError, match=r"payload\.score:double"):
        client.get_feedback().export(path, extract=["score"])


class Busy:
    """Writes that go on during an export: creates, replaces, and purges of records that may be read already."""

    def __init__(self, client: plaudit.Client, records: list[Feedback]) -> None:
        self._client, self._records = client, records
        self._random = random.Random(7)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.written = 0

    def _write(self) -> None:
        while not self._ended.is_set():
            record = self._random.choice(self._records)
            match self._random.randrange(4):
                case 0:
                    self._client.create({"ref": "urn:new", "feedback_type": "t1", "payload": {"n": self.written}})
                case 1:
                    self._client.purge([record.id])
                case _:
                    try:
                        self._client.update(record.id, {"n": self._random.randrange(500)})
                    except plaudit.NotFoundError:
                        continue
            self.written += 1

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()


def state_at(client: plaudit.Client, revision: int, matches: Any = lambda record: True) -> dict[str, Any]:
    """The records at a revision, out of all changes; without those that were purged later, which left nothing."""
    records: dict[str, Any] = {}
    with client.watch(after=0) as changes:
        for change in changes._until(ProjectReader(client, client.project_for(None)).revision()):
            if change.revision > revision:
                break
            if change.feedback is None:
                records.pop(change.id, None)
            else:
                records[change.id] = change.feedback
    return {id: record.to_dict() for id, record in records.items() if matches(record)}


@pytest.mark.parametrize("text", [None, "payload.n < 250"])
def test_an_export_is_one_state_while_others_write(client: plaudit.Client, tmp_path: Path, text: str | None) -> None:
    records = fill(client, 2_000)
    query = None if text is None else plaudit.Query.from_text(text)
    with Busy(client, records) as busy:
        while busy.written < 5:
            time.sleep(0.01)
        slow = lambda rows: time.sleep(0.02)  # noqa: E731
        done = client.get_feedback(query).export(tmp_path / "x.jsonl", progress=slow)
    expected = state_at(client, done.revision, lambda r: text is None or r.payload["n"] < 250)
    found = {line["id"]: line for line in lines(tmp_path / "x.jsonl")}
    assert len(found) == len(lines(tmp_path / "x.jsonl")) == done.rows
    purged_later = set(found) - set(expected)
    now = here(client)
    assert all(id not in now for id in purged_later), "only what was purged after that revision differs"
    same([line for id, line in found.items() if id in expected], {id: expected[id] for id in found if id in expected})
    assert set(expected) <= set(found)
    assert done.revision > 2_000


def test_standard_output_repeats_what_changed_and_the_last_line_counts(
    client: plaudit.Client, run: Plaudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = fill(client, 30)
    scan = snapshot.scan

    def scan_and_write(*arguments: Any) -> Iterator[Sequence[v1.Feedback]]:
        yield from scan(*arguments)
        client.update(records[3].id, {"n": 300})
        client.purge([records[4].id])
        client.create({"ref": "urn:new", "feedback_type": "t"})

    monkeypatch.setattr(exporting, "scan", scan_and_write)
    done = run("export", "--manifest", "-")
    manifest = json.loads(done.err)
    assert (manifest["rows"], manifest["revision"]) == (33, 33)
    last: dict[str, Any] = {}
    for line in map(json.loads, done.out.split("\n")[:-1]):
        last[line.get("tombstone", line)["id"]] = line
    assert {id for id, line in last.items() if "tombstone" in line} == {records[4].id}
    same([line for line in last.values() if "tombstone" not in line], here(client))


def content(path: Path) -> object:
    """What is in a file; of a table its rows, as the bytes depend on how its pages were cut."""
    return parquet.read_table(path).to_pylist() if path.suffix == ".parquet" else path.read_bytes()


@pytest.mark.parametrize(("form", "settle"), [("csv", None), ("parquet", None), ("jsonl", True)])
def test_every_form_goes_to_the_standard_output(
    client: plaudit.Client,
    project: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    settle: bool | None,
) -> None:
    fill(client, 20)
    written = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", written)
    done, _ = exported(client, project, None, "-", form=form, settle=settle)
    assert (done.path, done.rows) == ("-", 20)
    (tmp_path / f"out.{form}").write_bytes(written.buffer.getvalue())
    client.get_feedback().export(tmp_path / f"x.{form}")
    assert content(tmp_path / f"out.{form}") == content(tmp_path / f"x.{form}")
    monkeypatch.setattr(written, "isatty", lambda: True)
    if form == "parquet":
        with pytest.raises(ValueError, match="nothing for a terminal"):
            exported(client, project, None, "-", form=form)


class Killed(BaseException):
    """In place of a signal that ends the process."""


@pytest.mark.parametrize(("form", "kills"), [("jsonl", KILLS), ("csv", KILLS // 2), ("parquet", KILLS // 2)])
def test_an_export_that_is_stopped_anywhere_is_resumed_and_equal(
    client: plaudit.Client,
    running: RunningServer,
    project: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    kills: int,
) -> None:
    fill(client, 400)
    text = f'{{"lines":\r\n\n1,"long":"{"x" * 200_000}"}}'
    odd = v1.Feedback(ref="urn:x", feedback_type="t", creator='a "b", c', payload_json=text)
    with grpc.insecure_channel(running.target) as channel:  # our client would send the payload without its blanks
        v1.FeedbackServiceStub(channel).CreateFeedback(v1.CreateFeedbackRequest(project=project, feedback=odd))
    whole = tmp_path / f"whole.{form}"
    client.get_feedback().export(whole)
    chance = random.Random(3)
    add, replace, pages = Spool.add, os.replace, ProjectReader.pages
    left = 0

    def small_pages(*arguments: Any) -> Iterator[Sequence[v1.Feedback]]:
        for page in pages(*arguments):
            yield from (page[start : start + 5] for start in range(0, len(page), 5))

    def dying_add(spool: Spool, page: Sequence[v1.Feedback]) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            spool._file.flush()
            raise Killed
        add(spool, page)

    def dying_replace(*arguments: Any) -> None:
        if left > 0:
            raise Killed
        replace(*arguments)

    monkeypatch.setattr(ProjectReader, "pages", small_pages)
    monkeypatch.setattr(Spool, "add", dying_add)
    monkeypatch.setattr(os, "replace", dying_replace)
    resumed = 0
    for number in range(kills):
        path = tmp_path / f"x{number}.{form}"
        left = chance.randrange(1, 100)
        with pytest.raises(Killed):
            client.get_feedback().export(path)
        assert not path.exists()
        part = path.with_name(f"{path.name}.part")
        torn = part.stat().st_size - chance.randrange(20)
        os.truncate(part, max(torn, 0))  # what the system had not written yet
        left = chance.randrange(1, 60)
        try:
            client.get_feedback().export(path, resume=True)
        except Killed:
            left = 0
            resumed += 1
            client.get_feedback().export(path, resume=True)
        left = 0
        assert content(path) == content(whole)
        assert not part.exists()
    assert resumed > 0


def test_an_import_that_is_stopped_anywhere_is_run_again_and_equal(
    client: plaudit.Client, run: Plaudit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client, 400)
    client.update(next(iter(client.stream())).id, {"n": -1})
    path = tmp_path / "x.jsonl"
    client.get_feedback().export(path)
    chance = random.Random(5)
    read = ExportedSource.read
    limit = 0

    def dying_read(source: ExportedSource) -> Iterator[Any]:
        yield from itertools.islice(read(source), limit)
        raise Killed

    with server() as other, other.client(client._settings.project) as copy:
        with monkeypatch.context() as patch:
            patch.setattr(ExportedSource, "read", dying_read)
            for _ in range(KILLS):
                limit = chance.randrange(400)
                with pytest.raises(Killed):
                    run("import", str(path), "-t", other.target)
        assert 0 < copy.count() < 400
        assert "refused 0" in run("import", str(path), "-t", other.target).err
        ours, theirs = here(client), here(copy)
        assert {id: row | {"revision": 0} for id, row in ours.items()} == {
            id: row | {"revision": 0} for id, row in theirs.items()
        }


def test_places_to_export_to(
    client: plaudit.Client, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import fs

    fill(client, 10)
    expected = here(client)
    folder = tmp_path / "folder"
    folder.mkdir()
    done = client.get_feedback().export(folder)
    assert done.path == str(folder / f"{project.replace('/', '_')}.jsonl")
    same(lines(Path(done.path)), expected)
    client.get_feedback().export(f"{tmp_path}/new/x.jsonl.zst")
    source = ExportedSource(Given(f"{tmp_path}/new/x.jsonl.zst", project))
    ids = [row.fields.id for row in source.read() if isinstance(row, Record) and isinstance(row.fields, Feedback)]
    assert ids == list(expected)
    (tmp_path / "bucket").mkdir()
    monkeypatch.chdir(tmp_path)
    bucket = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    monkeypatch.setattr(place, "_filesystem", lambda uri: (bucket, uri.removeprefix("s3://bucket/")))
    done = client.get_feedback().export("s3://bucket/x.parquet")
    assert done.path == "s3://bucket/x.parquet"
    assert {each.name for each in (tmp_path / "bucket").iterdir()} == {"x.parquet", "x.parquet.manifest.json"}
    assert hashlib.sha256((tmp_path / "bucket" / "x.parquet").read_bytes()).hexdigest() == done.sha256
    assert {each.name for each in tmp_path.iterdir()} == {"folder", "new", "bucket"}, "nothing is left here"
    with pytest.raises(ValueError, match="leave the suffix out"):
        client.get_feedback().export(tmp_path / "x.parquet.gz")
    with pytest.raises(ValueError, match="option of csv"):
        client.get_feedback().export(tmp_path / "x.jsonl", excel=True)


def test_what_is_resumed_is_the_same_question(client: plaudit.Client, tmp_path: Path, run: Plaudit) -> None:
    fill(client, 50)
    path = tmp_path / "x.jsonl"
    (tmp_path / "x.jsonl.state").write_text('{"version": 1, "project": "other/one", "query": null, "revision": 1}')
    (tmp_path / "x.jsonl.part").write_bytes(b"nonsense of another export")
    done = run("export", "--to", str(path), "--resume")
    assert done.code == 0
    assert "nothing to resume" in done.err
    same(lines(path), here(client))


def test_a_process_that_is_killed_leaves_what_can_be_resumed(
    client: plaudit.Client, running: RunningServer, project: str, tmp_path: Path
) -> None:
    fill(client, 1_000)
    path = tmp_path / "x.jsonl.gz"
    env = {**os.environ, "PLAUDIT_TARGET": running.target, "PLAUDIT_PROJECT": project}
    command = [sys.executable, "-m", "plaudit", "export", "--to", str(path)]
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "x.jsonl.gz.part").exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    client.update(next(iter(client.stream())).id, {"n": -5})
    subprocess.run([*command, "--resume"], env=env, check=True, stderr=subprocess.DEVNULL)
    with gzip.open(path, "rt", encoding="utf-8") as text:
        same([json.loads(line) for line in text], here(client))


def test_a_table_is_written_by_a_process_that_has_read_nothing(
    client: plaudit.Client, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = fill(client, 300)
    scan = snapshot.scan

    def scan_and_write(*arguments: Any) -> Iterator[Sequence[v1.Feedback]]:
        yield from scan(*arguments)
        client.update(records[3].id, {"n": 300, "score": 0.5})
        client.purge([records[4].id, records[299].id])
        client.create({"ref": "urn:new", "feedback_type": "new"})
        client.create({"ref": "urn:newer", "feedback_type": "new", "creator": "n"})

    extract = ["payload.score:double"]
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "scan", scan_and_write)
        left, resumed = exported_apart(client, project, None, str(tmp_path / "x.parquet"), extract=extract)
    assert not resumed
    # Killed before it is written, it is resumed as any other.
    client.get_feedback().export(tmp_path / "x.parquet", resume=True, extract=extract)
    expected = content(tmp_path / "x.parquet")
    client.get_feedback().export(tmp_path / "whole.parquet", extract=extract)
    assert content(tmp_path / "whole.parquet") == expected
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "scan", scan)
        left, _ = exported_apart(client, project, None, str(tmp_path / "x.parquet"), extract=extract)
    (tmp_path / "x.parquet").unlink()
    assert finish(left).rows == 300
    assert content(tmp_path / "x.parquet") == expected
    names = {"x.parquet", "whole.parquet"}
    assert {each.name for each in tmp_path.iterdir()} == names | {f"{name}.manifest.json" for name in names}


def test_a_command_that_exports_a_table_is_one_process_after_the_other(
    client: plaudit.Client, running: RunningServer, project: str, tmp_path: Path
) -> None:
    fill(client, 100)
    client.get_feedback().export(tmp_path / "whole.parquet")
    env = {**os.environ, "PLAUDIT_TARGET": running.target, "PLAUDIT_PROJECT": project, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "plaudit", "export"]

    def ran(*arguments: str) -> tuple[int, bytes, str]:
        done = subprocess.run([*command, *arguments], env=env, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr.decode()

    path = tmp_path / "made" / "x.parquet"
    code, out, error = ran("--to", str(path), "--resume", "--manifest", "-")
    assert (code, out) == (0, b"")
    nothing, manifest, told = error.splitlines()
    assert (nothing, told) == ("nothing to resume: started over", "100 records at revision 100")
    assert json.loads(manifest)["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert content(path) == content(tmp_path / "whole.parquet")
    assert [each.name for each in path.parent.iterdir()] == ["x.parquet"]

    code, out, error = ran("--format", "parquet", "feedback_type = 't1'".replace("'", '"'))
    assert (code, error) == (0, "")
    assert parquet.read_table(io.BytesIO(out)).num_rows == 33
    assert list((tmp_path / "tmp").iterdir()) == []
    (path.parent / "y.parquet.tmp").mkdir()
    code, _, error = ran("--to", str(path.parent / "y.parquet"), "--json-errors")
    assert code == 2
    assert "y.parquet.tmp" in json.loads(error)["error"]["message"]


def test_changes_are_repeated_elsewhere_with_their_versions_and_authors(
    client: plaudit.Client, run: Plaudit, tmp_path: Path
) -> None:
    records = fill(client, 20)
    client.update(records[0].id, {"n": 100})
    client.update(records[0].id, {"n": 101})
    client.purge([records[1].id])
    first = tmp_path / "first.jsonl"
    assert run("export", "--changes", "--to", str(first)).code == 0
    manifest = json.loads((tmp_path / "first.jsonl.manifest.json").read_text())
    assert (manifest["form"], manifest["after"], manifest["revision"]) == ("changes", 0, 23)
    client.update(records[2].id, {"n": 200})
    second = tmp_path / "second.jsonl"
    assert run("export", "--changes", "--after", "23", "--to", str(second)).code == 0
    assert [line["change"] for line in lines(second)] == ["replaced"]
    assert run.ok("export", "--changes", "--after", "24") == ""
    assert len(run.ok("export", "--changes", 'feedback_type = "t0"').split("\n")) == 7 + 2 + 1 + 1

    with server() as other:
        copy = other.client(client._settings.project)
        for file in (first, second, first, second):
            done = run("import", str(file), "-t", other.target, "--report", str(tmp_path / "report.json"))
            assert done.code == 0, done
        report = json.loads((tmp_path / "report.json").read_text())
        assert (report["new"], report["updated"]) == (0, 0)
        unlike = {"revision"}
        for row in client.stream():
            twin = copy.get(row.id).to_dict()
            assert {k: v for k, v in twin.items() if k not in unlike} == {
                k: v for k, v in row.to_dict().items() if k not in unlike
            }
            versions = [(v.version, v.payload, v.updated_at) for v in client.history(row.id)]
            assert [(v.version, v.payload, v.updated_at) for v in copy.history(row.id)] == versions
        assert copy.count() == client.count() == 19
        copy.close()


def test_a_row_that_changed_in_the_source_becomes_one_new_version(
    client: plaudit.Client, run: Plaudit, project: str, tmp_path: Path
) -> None:
    [record, *_] = fill(client, 3)
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    run.ok("export", "--to", str(before))
    client.update(record.id, {"n": 50}, creator="ben")
    run.ok("export", "--to", str(after))
    with server() as other, other.client(project) as copy:
        target = ("-t", other.target)
        assert "new 3" in run("import", str(before), *target).err
        assert "updated 1" in run("import", str(after), *target).err
        again = run("import", str(after), *target)
        assert "new 0, there 3, refused 0" in again.err
        back = run("import", str(before), *target)
        assert "kept 1" in back.err
        [_, newest] = copy.history(record.id)
        assert (newest.creator, newest.updated_at, newest.version) == ("ben", client.get(record.id).updated_at, 2)
        copy.purge([record.id])
        gone = run("import", str(after), *target)
        assert gone.code == 1
        assert "were purged here" in gone.err


@pytest.mark.skipif(
    not read_lines(FEEDBACK), reason="squality-feedback.jsonl lies beside the repository, in shared/data"
)
def test_real_feedback_out_of_one_store_into_another(running: RunningServer, run: Plaudit, tmp_path: Path) -> None:
    project = "nyu-mll/squality"
    path = str(tmp_path / "squality.jsonl")
    with running.client(project) as client, server() as other, other.client(project) as copy:
        client.ingest(read_lines(FEEDBACK))
        run.ok("export", "-p", project, "--to", path)
        done = run("import", path, "-p", project, "-t", other.target)
        assert done.code == 0, done
        ours, theirs = here(client), here(copy)
        assert len(ours) == len(theirs) > 4_000
        for id, row in ours.items():
            assert row | {"revision": 0} == theirs[id] | {"revision": 0}


def test_bad_files_are_reported_by_row_or_refused_as_a_whole(
    client: plaudit.Client, run: Plaudit, tmp_path: Path
) -> None:
    fill(client, 5)
    path = tmp_path / "x.jsonl"
    run.ok("export", "--to", str(path))
    good = path.read_bytes().split(b"\n")
    for name, content, text in (
        ("truncated", path.read_bytes()[:-40], "is not the file that its manifest describes"),
        ("changed", path.read_bytes().replace(b"urn:1", b"urn:2"), "is not the file that its manifest describes"),
    ):
        path.write_bytes(content)
        done = run("import", "--from", "plaudit", str(path), "-p", "export/bad")
        assert (done.code, text in done.err) == (2, True), name
    manifest = tmp_path / "x.jsonl.manifest.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 1', '"format_version": 99'))
    assert "version 99" in run("import", "--from", "plaudit", str(path), "-p", "export/bad").err
    manifest.unlink()

    rows = [
        b"\xef\xbb\xbf" + good[0],
        b"",
        b"{",
        b"\xff",
        good[1][:-9],
        b'{"id":"' + b"x" * 36 + b'"}',
        good[2],
        good[2],
    ]
    path.write_bytes(b"\r\n".join(rows))
    done = run("import", "--from", "plaudit", str(path), "-p", "export/bad", "--report", str(tmp_path / "report.json"))
    assert done.code == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["place"] for row in report["refused_rows"]] == ["line 3", "line 4", "line 5", "line 6"]
    assert (report["rows"], report["new"], report["there"], report["refused"]) == (7, 2, 1, 4)
    assert run("import", "--from", "plaudit", str(path), "-p", "export/bad", "--dry-run").code == 1

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.jsonl").write_bytes(good[3])
    (tmp_path / "folder" / "link.jsonl").symlink_to(path)
    assert "new 1" in run("import", "--from", "plaudit", str(tmp_path / "folder"), "-p", "export/bad").err
    bomb = tmp_path / "bomb.jsonl.gz"
    with gzip.open(bomb, "wb") as out:
        for _ in range(66):
            out.write(b" " * 1024 * 1024)
    assert "times its compressed size" in run("import", "--from", "plaudit", str(bomb), "-p", "export/bad").err
    assert run("import", "--from", "plaudit", str(tmp_path / "x.csv"), "-p", "export/bad").code == 2


async def _awaited(client: plaudit.AsyncClient, path: Path) -> None:
    async with client:
        done = await client.get_feedback().export(path)
        assert done.rows == 5


def test_an_async_client_exports_too(
    client: plaudit.Client, running: RunningServer, project: str, tmp_path: Path
) -> None:
    import asyncio

    fill(client, 5)
    asyncio.run(_awaited(plaudit.AsyncClient(project, target=running.target), tmp_path / "x.jsonl"))
    same(lines(tmp_path / "x.jsonl"), here(client))
