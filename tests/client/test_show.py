"""Single records, histories, changes and awaited queries as tables; terminals without Unicode; bars in a notebook."""

from __future__ import annotations

import asyncio
import io
import sys
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import plaudit
from plaudit import v1
from plaudit._results.definitions import Definitions
from plaudit._results.refs import RefOverview
from plaudit._show import progress
from plaudit._show.notebook import Place
from tests.client.blocking import AsyncFake
from tests.client.fakes import PROJECT, FakeTransport, feedback, message
from tests.client.test_display import Cells, Printer, grid, pretty

TOMBSTONE = plaudit.Tombstone(
    id=feedback(1).id,
    ref=feedback(1).ref,
    feedback_type="custom",
    user_id="bob",
    purged_at=datetime(2025, 3, 2, tzinfo=UTC),
    revision=9,
)
CREATED = plaudit.Change(revision=1, kind="created", feedback=feedback(1), tombstone=None)
PURGED = plaudit.Change(revision=9, kind="purged", feedback=None, tombstone=TOMBSTONE)
VERSIONS = [
    feedback(1, payload_json='{"score":1}'),
    feedback(1, payload_json='{"score":2}', version=2, user_id="bob", creator="<b>"),
]


def html(shown: Any) -> list[list[str]]:
    """The cells of the HTML form, row by row; the caption has no row."""
    return Cells(str(shown._repr_html_()).partition("</caption>")[2] or shown._repr_html_()).rows


def rich(shown: Any, encoding: str = "utf-8") -> str:
    """What rich prints of it to a terminal."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=250, force_jupyter=False).print(shown)
    file.flush()
    printed: bytes = file.buffer.getvalue()
    return printed.decode(encoding)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (feedback(1, payload_json='{"a": 1.0}'), {"id": feedback(1).id, "payload": '{"a": 1.0}', "user_id": "alice"}),
        (TOMBSTONE, {"id": feedback(1).id, "user_id": "bob", "purged_at": "2025-03-02 00:00:00+00:00"}),
        (CREATED, {"revision": "1", "change": "created", "id": feedback(1).id, "payload": "{}"}),
        (PURGED, {"revision": "9", "change": "purged", "id": feedback(1).id, "user_id": "bob"}),
        (plaudit.History([], TOMBSTONE), {"id": feedback(1).id, "user_id": "bob", "revision": "9"}),
    ],
)
def test_one_thing_is_its_fields_in_every_form(shown: Any, expected: dict[str, str]) -> None:
    for rows in (html(shown), grid(pretty(shown)), grid(rich(shown))):
        assert rows[0] == ["Field", "Value"]
        assert len(rows[1:]) == len(dict(rows[1:]))
        assert expected.items() <= dict(rows[1:]).items()


def test_a_history_is_its_versions() -> None:
    for rows in (html(plaudit.History(VERSIONS)), grid(pretty(plaudit.History(VERSIONS)))):
        assert rows == [
            ["Version", "Type", "Feedback", "Made", "Creator"],
            ["1", "custom", '{"score":1}', "2025-03-01 10:01:00Z", "alice"],
            ["2", "custom", '{"score":2}', "2025-03-01 10:01:00Z", "<b> (bob)"],
        ]


def test_refs_are_a_table_with_their_numbers_where_these_are_known() -> None:
    counted = plaudit.Feedbacks(False, [feedback(1), feedback(2), feedback(3, ref="urn:<b>")]).refs()

    assert html(counted) == [["Ref", "Records"], [feedback(1).ref, "2"], ["urn:<b>", "1"]]
    assert html(plaudit.Refs(["urn:x"])) == [["Ref"], ["urn:x"]]


def test_an_awaited_query_is_its_question_and_then_its_rows() -> None:
    transport = FakeTransport([message(1), message(2)])

    async def show() -> None:
        client = plaudit.AsyncClient(PROJECT, transport=AsyncFake(transport))
        query = client.get_feedback(plaudit.field("id") == message(1).id, limit=5)
        groups = client.get_feedback().group_by("payload.model")

        assert ["limit", "5"] in html(query)
        assert "field('id') ==" in dict(html(query)[1:])["query"]
        assert "not read yet: await query.execute()" in pretty(query)
        assert ["group by", "payload.model"] in html(groups)
        assert "not read yet: await groups.execute()" in " ".join(rich(groups).split())
        assert transport.calls == 0

        assert html(await query.execute()) == html(query) == html(feedback(1))
        assert "not read yet" not in pretty(query)

    asyncio.run(show())


@pytest.mark.parametrize(
    "shown",
    [
        feedback(1),
        TOMBSTONE,
        PURGED,
        plaudit.History(VERSIONS),
        plaudit.Feedbacks(False),
        plaudit.Refs(["urn:x"]),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_ipython_finds_each_table_before_the_repr(shown: Any) -> None:
    first = next(cls for cls in type(shown).__mro__ if {"__repr__", "_repr_pretty_"} & vars(cls).keys())
    printer = Printer()
    shown._repr_pretty_(printer, True)

    assert "_repr_pretty_" in vars(first)
    assert printer.written == f"{type(shown).__name__}(...)"
    assert len(repr(shown).splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_unicode_gets_what_it_can_write(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = '{"note":"Zoë says → 👍"}'
    rows = plaudit.Feedbacks(False, [feedback(n, feedback_type="wandb.note.1", payload_json=words) for n in range(300)])
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))

    for output in (pretty(rows), rich(rows, encoding)):
        output.encode(encoding)  # or it raises
        name = "Zo\\xeb" if encoding == "ascii" else "Zoë"
        assert f"| note | {name} says \\u2192 \\U0001f44d |" in output
        assert output.splitlines()[0].strip().strip("+-") == ""
        assert ("…" if encoding == "cp1252" else "...") + " and 100 more, not shown here" in output


def test_a_notebook_gets_nothing_but_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    # What rich asks, to find out whether a notebook runs it; then it displays whatever a console prints.
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *_: pytest.fail("an output before the table"))

    assert "alice" in pretty(plaudit.Feedbacks(False, [feedback(1), feedback(2)]))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook is given to show in one place, drawing by drawing."""
    drawings: list[str] = []
    display = ModuleType("IPython.display")
    handle = SimpleNamespace(update=drawings.append)

    def first(shown: str, display_id: bool) -> Any:
        assert display_id
        drawings.append(shown)
        return handle

    vars(display).update(HTML=str, display=first)
    ipython = ModuleType("IPython")
    vars(ipython)["get_ipython"] = lambda: SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return drawings


def test_progress_in_a_notebook_is_html_in_one_place(drawn: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    client = plaudit.Client(PROJECT, transport=FakeTransport())
    client.ingest([{"ref": "urn:x", "feedback_type": "t"}] * 1500, progress=True)

    assert "<progress value=" in drawn[0]
    assert "0 stored, 0 refused" in drawn[0]
    assert 'value="1500" max="1500"' in drawn[-1]
    assert "1,500 stored, 0 refused" in drawn[-1]
    assert capsys.readouterr() == ("", "")


def test_progress_of_an_unknown_number_has_a_bar_without_a_share(drawn: list[str]) -> None:
    client = plaudit.Client(PROJECT, transport=FakeTransport())
    client.ingest(({"ref": "urn:x", "feedback_type": "t"} for _ in range(10)), progress=True)

    assert "<progress ></progress> 10 stored" in drawn[-1]


def test_a_notebook_is_drawn_as_often_as_a_reader_can_follow(drawn: list[str]) -> None:
    now = [100.0]
    bar = progress._NotebookBar(Place(sys.modules["IPython.display"]), 10_000, lambda: now[0])
    for stored in range(1, 10_001):
        now[0] += 0.001
        bar.update(plaudit.Ingested(stored=stored))
    bar.draw()

    assert 95 <= len(drawn) <= 105
    assert "10,000 stored, 0 refused, 10 s" in drawn[-1]


def test_a_terminal_of_ipython_is_no_notebook(drawn: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    vars(sys.modules["IPython"])["get_ipython"] = SimpleNamespace  # a shell without a kernel
    plaudit.Client(PROJECT, transport=FakeTransport()).ingest([{"ref": "urn:x", "feedback_type": "t"}], progress=True)

    assert drawn == []
    assert "1 stored, 0 refused" in capsys.readouterr().err


def test_definitions_are_a_table() -> None:
    found = Definitions.of(
        [
            plaudit.Definition("score", plaudit.Numeric(0, 1), description="How right it is.", version=3),
            plaudit.Definition("<b>", unique=("rater", "ref"), closed=True, advisory=True),
        ]
    )

    assert html(found) == [
        ["Type", "Version", "Value", "One for each", "Status", "Description"],
        ["score", "3", repr(plaudit.Numeric(0, 1)), "", "", "How right it is."],
        ["<b>", "0", "anything", "ref and rater", "closed, advisory", ""],
    ]
    assert pretty(found, cycle=True) == "Definitions(...)"


def test_a_check_is_what_is_broken() -> None:
    breakages = (plaudit.Breakage("payload.value", "must be a number", 2, ()),)
    found = plaudit.Check(lambda: plaudit.CheckResult(10, 2, 0, breakages, 7))

    assert html(found) == [["Path", "What is wrong", "Records"], ["payload.value", "must be a number", "2"]]
    assert "2 of 10 records break the definition" in " ".join(pretty(found).split())


def test_an_agreement_has_each_coefficient_or_why_there_is_none() -> None:
    answer = v1.MeasureAgreementResponse(row_count=4, rater_count=2)
    answer.percent_agreement.value = 0.5
    answer.cohen_kappa.undefined = v1.Undefined.UNDEFINED_NO_VARIATION
    rows = dict(html(plaudit.Agreement(answer))[1:])

    assert rows["percent_agreement"] == "0.5"
    assert rows["cohen_kappa"] == "not defined: no_variation"
    assert (rows["row_count"], rows["rater_count"]) == ("4", "2")


def test_a_ref_at_a_glance_has_its_reactions_and_measures() -> None:
    asked = v1.SummarizeRefsRequest(measures=[v1.Measure(name="score"), v1.Measure(name="none")])
    answer = v1.RefOverview(
        ref="urn:<x>",
        row_count=3,
        types=[v1.TypeCount(feedback_type="wandb.reaction.1", count=2)],
        reactions=[v1.ReactionCount(emoji="👍", count=2, mine=True)],
        measures=[v1.MeasureResult(value=v1.AggregateValue(double_value=0.5)), v1.MeasureResult()],
    )
    rows = dict(html(RefOverview(asked, answer))[1:])

    assert (rows["ref"], rows["wandb.reaction.1"], rows["reactions"]) == ("urn:<x>", "2", "👍 2 (mine)")
    assert (rows["score"], rows["none"]) == ("0.5", "–")
