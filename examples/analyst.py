"""An analyst's questions, answered by the server: means by model and week, top notes, who disagrees, thumbs by day.

python examples/analyst.py FILE starts a server on a temporary store, loads the records of the file (a JSON object on
each line), and prints the answers. Where a record says no time, they are spread over some weeks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import plaudit
from plaudit import field
from plaudit_server.testing import server

ZONE = "Europe/Berlin"
PROJECT = "nyu-mll/squality"
FIRST = datetime(2025, 3, 10, 22, 30, tzinfo=UTC)  # so that clocks go forward meanwhile
STEP = timedelta(minutes=11)
GOOD = 50

REVIEWS = field("feedback_type") == "squality.review"
THUMBS = field("feedback_type") == "wandb.reaction.1"


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file; for each review, its rater's thumb too, up if the summary is good."""
    at = FIRST
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        record.setdefault("created_at", at)
        at += STEP
        yield record
        if record["feedback_type"] == "squality.review":
            thumb = "👍" if record["payload"]["overall_rating"] >= GOOD else "👎"
            same = {name: record[name] for name in ("ref", "creator", "created_at")}
            yield {"feedback_type": "wandb.reaction.1", "payload": {"emoji": thumb}} | same


def mean_by_model_and_week(client: plaudit.Client) -> Any:
    """The mean rating of each system in each local week, and how many records had one."""
    groups = client.get_feedback(REVIEWS).group_by(
        system="payload.system", week=field("created_at").week(ZONE, fill=True)
    )
    return groups.agg(rating=field("payload.overall_rating").mean())


def top_notes(client: plaudit.Client, most: int = 10) -> Any:
    """The comments that were written most often, each counted once a record."""
    notes = client.get_feedback().group_by(note=field("payload.comments").each()).agg(refs=("ref", "count_distinct"))
    return notes.having(field("note") != "").sort("-row_count").limit(most)


def disagreements(client: plaudit.Client) -> list[dict[str, Any]]:
    """Each two raters, those first whose ratings of the same summaries are farthest apart."""
    reviews = client.get_feedback(REVIEWS)
    agreement = reviews.agreement("payload.overall_rating", rater="creator", scale="interval")
    return sorted(agreement.pairs, key=lambda pair: -pair["mae"])


def thumbs_by_day(client: plaudit.Client) -> Any:
    """The share of thumbs that are up, by local day."""
    groups = client.get_feedback(THUMBS).group_by(day=field("created_at").day(ZONE, fill=True))
    return groups.agg(up=(field("payload.emoji") == "👍").share_true())


def main(path: Path) -> None:
    """Print every answer."""
    with server() as running:
        client = running.client(project=PROJECT)
        client.import_records(records(path))
        for group in mean_by_model_and_week(client):
            week = group["week"].start.date()
            print(f"{group['system']:8} {week}  {group['rating'] or 0:6.2f}  of {group.value_count('rating')}")
        for group in top_notes(client):
            print(f"{group.row_count:4} × {group['note']!r}")
        for pair in disagreements(client):
            print(f"{pair['rater_a']} and {pair['rater_b']}: {pair['mae']:.1f} apart on {pair['unit_count']} summaries")
        for group in thumbs_by_day(client):
            share = "  none" if group["up"] is None else f"{group['up']:6.0%}"
            print(f"{group['day'].start.date()} {share} of {group.row_count}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
