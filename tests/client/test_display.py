"""Feedback as tables: the columns, one row's fields; markup in a user's text has no effect."""

from __future__ import annotations

import builtins
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

import plaudit
from plaudit._show.grid import visible
from plaudit._show.table import text as text_of_grid
from tests.client.fakes import PROJECT, FakeTransport, feedback, message

HEADINGS = ["Type", "Feedback", "Created", "ID", "Creator"]


class Printer:
    """What IPython gives to `_repr_pretty_`."""

    def __init__(self) -> None:
        self.written = ""

    def text(self, text: str) -> None:
        self.written += text


def pretty(shown: Any, cycle: bool = False) -> str:
    printer = Printer()
    shown._repr_pretty_(printer, cycle)
    return printer.written


def text(rows: plaudit.Feedbacks) -> str:
    return text_of_grid(rows._grid())


def note(number: int, words: str, **fields: Any) -> plaudit.Feedback:
    import json

    return feedback(number, feedback_type="wandb.note.1", payload_json=json.dumps({"note": words}), **fields)


def shown(*rows: plaudit.Feedback, show_refs: bool = False) -> str:
    return text(plaudit.Feedbacks(show_refs, rows))


def grid(output: str) -> list[list[str]]:
    """The cells of a text table, line by line, without its frame."""
    lines = [re.split("[┃│]", line)[1:-1] for line in output.split("\n")]
    return [[cell.strip() for cell in line] for line in lines if line]


class Cells(HTMLParser):
    """The texts of a table's cells, and all its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data


def test_rows_in_columns() -> None:
    cells = grid(
        shown(
            feedback(1, feedback_type="wandb.reaction.1", payload_json='{"emoji":"👍"}', creator="Jane"),
            note(2, "Right, and short."),
            feedback(3, feedback_type="correctness", payload_json='{"score": 0.90}', creator=""),
        )
    )

    assert cells == [
        HEADINGS,
        ["reaction", "👍", "2025-03-01 10:01:00Z", feedback(1).id, "Jane (alice)"],
        ["note", "Right, and short.", "2025-03-01 10:02:00Z", feedback(2).id, "alice"],
        ["correctness", '{"score": 0.90}', "2025-03-01 10:03:00Z", feedback(3).id, "alice"],
    ]


def test_refs_are_shown_when_asked() -> None:
    cells = grid(shown(feedback(1), feedback(2, ref="urn:x"), show_refs=True))

    assert cells[0] == ["Ref", *HEADINGS]
    assert [line[0] for line in cells[1:]] == [feedback(1).ref, "urn:x"]


@pytest.mark.parametrize("show_refs", [True, False])
def test_nothing_is_a_header(show_refs: bool) -> None:
    assert grid(shown(show_refs=show_refs)) == [(["Ref"] if show_refs else []) + HEADINGS]


def test_one_row_is_its_fields() -> None:
    cells = dict(grid(shown(note(1, "hi", creator="Jane", scorer_tags=["a"]), show_refs=True)))

    assert cells.pop("Field") == "Value"
    assert cells["id"] == feedback(1).id
    assert cells["feedback_type"] == "wandb.note.1"
    assert cells["payload"] == '{"note": "hi"}'
    assert cells["creator"] == "Jane"
    assert cells["scorer_tags"] == '["a"]'
    assert "queue_id" not in cells


def test_query_shows_its_result() -> None:
    client = plaudit.Client(PROJECT, transport=FakeTransport([message(1), message(2)]))

    assert grid(pretty(client.get_feedback()))[0] == ["Ref", *HEADINGS]
    assert grid(pretty(client.ref(message(1).ref)))[0] == HEADINGS
    assert client.get_feedback()._repr_html_().count("<tr>") == 3


@pytest.mark.parametrize("shown_class", [plaudit.FeedbackQuery, plaudit.RefFeedbackQuery, plaudit.Feedbacks])
def test_ipython_finds_the_table_before_the_repr(shown_class: type) -> None:
    # It walks the classes, and takes the first that has either.
    first = next(cls for cls in shown_class.__mro__ if {"__repr__", "_repr_pretty_"} & vars(cls).keys())

    assert "_repr_pretty_" in vars(first)


def test_cycle_is_cut_without_a_call() -> None:
    transport = FakeTransport()
    client = plaudit.Client(PROJECT, transport=transport)

    assert pretty(client.get_feedback(), cycle=True) == "FeedbackQuery(...)"
    assert pretty(plaudit.Feedbacks(False), cycle=True) == "Feedbacks(...)"
    assert transport.calls == 0


@pytest.mark.parametrize("words", ["[red]x[/red]", "[/]", "[link=https://x]y[/link]", ":smile:", "\\[x]"])
def test_markup_of_users_is_text(words: str) -> None:
    rows = plaudit.Feedbacks(False, [note(1, words), note(2, "x")])
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor")
    with console.capture() as captured:
        console.print(rows)

    assert words in text(rows)
    assert words in captured.get()
    assert words in rows._repr_html_()


def test_html_of_users_is_text() -> None:
    words = "<script>alert(1)</script> & \"<b x='y'>"
    rows = plaudit.Feedbacks(True, [note(1, words, creator="<i>Jane</i>", ref="urn:<img>"), note(2, "x")])

    cells = Cells(rows._repr_html_())

    assert cells.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert cells.rows[0] == ["Ref", *HEADINGS]
    assert cells.rows[1] == [
        "urn:<img>", "note", words, "2025-03-01 10:01:00Z", feedback(1).id, "<i>Jane</i> (alice)"
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 2])
def test_control_characters_are_visible_and_harmless(rows: int) -> None:
    words = "a\x1b[2Jb\nc\td\x07\x7f\x9b\u202ee\u2066\u2028"
    found = plaudit.Feedbacks(False, [note(number, words, creator=words) for number in range(rows)])

    for output in (text(found), found._repr_html_()):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066\u2028]", output)
        assert "a␛[2Jb␊c␉d␇␡\\u009b\\u202ee\\u2066\\u2028" in output.replace("\n", "")


@pytest.mark.parametrize("emoji", ["👍🏽", "👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "❤️", "é", "शुभ"])
def test_emoji_and_scripts_stay_whole(emoji: str) -> None:
    assert visible(emoji) == emoji
    assert emoji in shown(note(1, emoji), note(2, "x"))


def test_long_content_is_cut() -> None:
    output = shown(note(1, "x" * 5000), note(2, "y"))

    assert "…" in output
    assert output.count("x") == 199


def test_many_rows_are_cut_and_counted() -> None:
    rows = plaudit.Feedbacks(False, [feedback(number) for number in range(1000)])

    assert text(rows).split("\n")[-1].strip() == "… and 800 more, not shown here"
    assert len(grid(text(rows))) == 201
    assert "… and 800 more" in rows._repr_html_()


@pytest.mark.parametrize("width", range(80, 330, 10))
@pytest.mark.parametrize("show_refs", [True, False])
def test_fits_the_terminal_and_loses_nothing(width: int, show_refs: bool) -> None:
    words = "0123456789" * 19
    rows = [note(1, words, ref="urn:" + words, creator="Jane"), feedback(2)]
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(plaudit.Feedbacks(show_refs, rows))
    output = captured.get()

    assert max(cell_len(line) for line in output.split("\n")) <= width
    # The folded lines of the first row, put together again, column by column.
    start = next(i for i, line in enumerate(grid(output)) if "note" in line)
    end = next(i for i, line in enumerate(grid(output)) if "custom" in line)
    columns = ["".join(parts) for parts in zip(*grid(output)[start:end], strict=True)]
    expected = ["note", words, "2025-03-01 10:01:00Z", rows[0].id, "Jane (alice)"]
    assert [column.replace(" ", "") for column in columns] == [
        cell.replace(" ", "") for cell in (["urn:" + words] if show_refs else []) + expected
    ]


@pytest.mark.parametrize(("columns", "widest"), [(90, 90), (500, 230)])
def test_text_is_as_wide_as_the_terminal_at_most(monkeypatch: pytest.MonkeyPatch, columns: int, widest: int) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))

    lines = shown(note(1, "word " * 30), note(2, "x")).split("\n")

    assert max(map(cell_len, lines)) <= widest
    assert "\x1b" not in "".join(lines)


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_repr_of_results_is_short() -> None:
    assert repr(plaudit.Feedbacks(True, [feedback(1)])) == "Feedbacks(show_refs=True, 1 records)"
    assert repr(plaudit.Refs(["urn:x"])) == "Refs(['urn:x'])"


def test_to_pandas() -> None:
    frame = plaudit.Feedbacks(False, [feedback(1, payload_json='{"a":1}'), feedback(2)]).to_pandas()

    assert list(frame["id"]) == [feedback(1).id, feedback(2).id]
    assert list(frame["payload"]) == [{"a": 1}, {}]
    assert list(frame.columns)[:3] == ["id", "project", "ref"]
    assert list(plaudit.Feedbacks(False).to_pandas().columns) == list(frame.columns)


def test_to_pandas_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_pandas(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    client = plaudit.Client(PROJECT, transport=FakeTransport())
    with pytest.raises(ImportError, match="pip install pandas"):
        client.get_feedback().to_pandas()
