"""Questions about many records in Python, against a real server: groups, measures, agreement, frames, tables."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandas
import pytest

import plaudit
import plaudit_server.testing
from plaudit import AsyncClient, AsyncFeedbackQuery, AsyncGroups, FeedbackQuery, field
from plaudit._core.measures import Histogram
from plaudit_server.testing import RunningServer

PROJECT = "acme/chat"
REFS = [f"weave:///acme/chat/call/{n}" for n in range(2)]
ROWS: list[dict[str, Any]] = [
    {"model": "a", "score": 1, "label": "x", "ok": True},
    {"model": "a", "score": 3, "label": "y", "ok": False},
    {"model": "b", "score": 5.5, "label": "x", "ok": True},
    {"model": "c", "label": "x"},
]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with plaudit_server.testing.server() as running:
        client = running.client(PROJECT)
        client.create_batch(
            {
                "ref": f"weave:///acme/chat/call/{n % 2}",
                "feedback_type": "score",
                "payload": payload,
                "creator": f"u{n}",
            }
            for n, payload in enumerate(ROWS)
        )
        yield running


@pytest.fixture
def query(running: RunningServer) -> FeedbackQuery:
    return FeedbackQuery("acme", "chat", None, client=running.client(PROJECT))


def test_one_number_of_all_records(query: FeedbackQuery) -> None:
    assert query.mean("payload.score") == pytest.approx(9.5 / 3)
    assert query.sum("payload.score") == 9.5
    assert query.min("payload.score") == 1
    assert query.max(field("payload.score")) == 5.5
    assert query.mean("payload.nothing") is None
    assert query.count_distinct("payload.label") == 2
    assert query.value_counts("payload.label", 1) == [("x", 3)]


def test_describe_is_that_of_pandas(query: FeedbackQuery) -> None:
    expected = pandas.Series([row["score"] for row in ROWS if "score" in row]).describe().to_dict()

    assert query.describe("payload.score") == pytest.approx(expected)


def test_groups_with_measures_in_an_order(query: FeedbackQuery) -> None:
    groups = (
        query.group_by("payload.model")
        .agg(
            score=field("payload.score").mean(),
            low=field("payload.score").percentile(0),
            good=(field("payload.score") >= 2).share_true(),
            marked=field("payload.score").count().where(field("payload.ok") == True),  # noqa: E712
            refs=("ref", "count_distinct"),
        )
        .having(field("row_count") >= 1)
        .sort("-score")
        .limit(2)
    )

    assert [(g["payload.model"], g.row_count, g["score"], g["low"], g["good"], g["refs"]) for g in groups] == [
        ("b", 1, 5.5, 5.5, 1.0, 1),
        ("a", 2, 2.0, 1.0, 0.5, 2),
    ]
    assert [group["marked"] for group in groups] == [1, 1]
    assert groups[1].value_count("score") == 2
    assert groups.total.row_count == 4
    assert groups.total["score"] == pytest.approx(9.5 / 3)
    assert len(groups) == 2


def test_several_kinds_of_results(query: FeedbackQuery) -> None:
    [group] = query.agg(
        quarters=field("payload.score").percentiles(0, 100),
        labels=field("payload.label").top_values(),
        spread=field("payload.score").histogram([0, 2, 4]),
    )

    assert group["quarters"] == {0: 1.0, 100: 5.5}
    assert group["labels"] == [("x", 3), ("y", 1)]
    assert group["spread"] == Histogram([1, 1], 0, 1)


def test_calendar_parts_of_refs_and_newest(query: FeedbackQuery) -> None:
    [day] = query.group_by(field("created_at").day("Europe/Berlin"))
    assert day["created_at"].start <= datetime.now(UTC) < day["created_at"].end
    assert [g["ref"] for g in query.group_by(field("ref").part("id"))] == ["0", "1"]
    assert query.newest_of("ref")[0].row_count == 2
    assert [group.row_count for group in query.newest_of("ref").group_by("payload.model").count()] == [1, 1]


def test_a_frame_keeps_kinds(query: FeedbackQuery) -> None:
    groups = query.group_by("payload.model", day=field("created_at").day("Europe/Berlin")).agg(
        score=field("payload.score").max(),
        n=field("payload.score").count(),
        p=field("payload.score").percentiles(5, 95),
    )

    frame = groups.to_pandas(counts=True)

    assert list(frame.columns) == [
        *("payload.model", "day", "row_count", "score", "score_count", "n", "n_count", "p_5", "p_95", "p_count"),
    ]
    assert str(frame["day"].dt.tz) == "Europe/Berlin"
    assert frame["n"].dtype == "Int64"
    assert frame["score"].isna().tolist() == [False, False, True]
    assert query.group_by("payload.model").mean("payload.score").to_pandas()["mean"].tolist()[:2] == [2.0, 5.5]


def test_a_table_shows_text_as_text(query: FeedbackQuery) -> None:
    html = query.group_by(label="payload.label").agg(m=field("payload.score").mean())._repr_html_()

    assert "row_count" in html
    assert "█" in html


def test_a_query_with_a_limit_has_no_measures(running: RunningServer) -> None:
    limited = FeedbackQuery("acme", "chat", None, limit=2, client=running.client(PROJECT))
    with pytest.raises(ValueError, match="limit"):
        limited.mean("payload.score")
    with pytest.raises(ValueError, match="limit"):
        limited.group_by("payload.model")


def test_what_is_no_measure_is_refused_before_anything_is_sent(query: FeedbackQuery) -> None:
    with pytest.raises(TypeError):
        query.agg(score="payload.score")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode"):
        query.agg(score=("payload.score", "mode"))
    with pytest.raises(ValueError, match="parent"):
        field("ref").part("parent")
    with pytest.raises(TypeError):
        (field("payload.score") > 1).each()
    with pytest.raises(plaudit.InvalidArgumentError) as refused:
        query.agg(score=field("payload.score").percentile(101)).execute()
    assert refused.value.violations[0].field == "measures[0].percents[0]"


def test_fields_and_agreement(query: FeedbackQuery) -> None:
    fields = {each["path"]: each for each in query.fields()}
    assert fields["payload.score"]["number_count"] == 3
    assert fields["payload.ok"]["bool_count"] == 3

    agreement = query.agreement("payload.label", rater="creator")

    assert agreement.percent_agreement == pytest.approx(0.5)
    assert agreement.cohen_kappa is None
    assert agreement.undefined["cohen_kappa"] == "not_two_raters"
    assert [(pair["rater_a"], pair["rater_b"], pair["agreement"]) for pair in agreement.pairs] == [
        ("u0", "u2", 1.0),
        ("u1", "u3", 0.0),
    ]
    assert agreement.confusion("u3", "u1") == {("x", "y"): 1}
    with pytest.raises(ValueError, match="nominal"):
        query.agreement("payload.label", scale="logarithmic")


def test_refs_at_a_glance_and_reactions(running: RunningServer) -> None:
    client = running.client("acme/glance")
    refs = [f"weave:///acme/glance/call/{n}" for n in range(2)]
    first = client.ref(refs[0])
    first.add("score", score=2)
    first.add("score", score=4)

    assert first.set_reaction("❤️").mine
    assert first.set_reaction("❤").count == 1  # another spelling of the same
    assert not first.toggle_reaction("❤").mine
    other = client.ref(refs[0])
    assert other.toggle_reaction("❤").mine
    assert not client.ref(refs[0]).toggle_reaction("❤️").mine
    assert client.ref(refs[0]).toggle_reaction("👍🏽").mine
    assert not client.ref(refs[0]).toggle_reaction("👍", any_tone=True).mine
    first.set_reaction("👍")

    one, two = client.summarize_refs(refs, score=field("payload.score").mean(), include_newest=True)

    assert (one.ref, one.row_count, one["score"]) == (refs[0], 3, 3.0)
    assert one.types == {"score": 2, "wandb.reaction.1": 1}
    assert [(r.emoji, r.count, r.user_count, r.mine) for r in one.reactions] == [("👍", 1, 1, True)]
    assert one.newest is not None
    assert one.newest.payload["emoji"] == "👍"
    assert (two.row_count, two.reactions, two.newest_id, two["score"]) == (0, [], None, None)


def test_the_same_awaited(running: RunningServer) -> None:
    async def ask() -> dict[str, Any]:
        async with AsyncClient(PROJECT, target=running.target) as client:
            query = AsyncFeedbackQuery("acme", "chat", None, client=client)
            groups = query.group_by("payload.model").agg(score=("payload.score", "mean"))
            assert isinstance(groups, AsyncGroups)
            return {
                "mean": await query.mean("payload.score"),
                "groups": [group["score"] async for group in groups],
                "total": (await groups.total()).row_count,
                "frame": len(await groups.to_pandas()),
                "fields": len(await query.fields()),
                "describe": await query.describe("payload.score"),
                "overviews": [each.row_count for each in await client.summarize_refs(REFS)],
                "reaction": (await client.ref(REFS[0]).set_reaction("👍", False)).mine,
                "toggled": (await client.ref("weave:///acme/other/call/1").toggle_reaction("👍")).mine,
                "agreement": (await query.agreement("payload.label", rater="creator")).unit_count,
            }

    found = asyncio.run(ask())

    query = FeedbackQuery("acme", "chat", None, client=running.client(PROJECT))
    assert found["mean"] == query.mean("payload.score")
    assert found["groups"] == [2.0, 5.5, None]
    assert (found["total"], found["frame"], found["agreement"]) == (4, 3, 2)
    assert (found["overviews"], found["reaction"], found["toggled"]) == ([2, 2], False, True)
    assert found["fields"] == len(query.fields())
    assert found["describe"] == query.describe("payload.score")
