"""An analyst's hour: scores into a frame, into a Parquet file, back from it, and into the server again, unchanged.

Beside `make run`, with `pip install pandas pyarrow`: `python examples/frame.py scores.parquet`
"""

# pandas has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import sys
from pathlib import Path

import pandas

import plaudit


def store(client: plaudit.Client) -> None:
    """Some scores of two models."""
    client.ingest(
        (
            {
                "ref": f"weave:///acme/frames/call/{number}",
                "feedback_type": "correctness",
                "creator": "judge-2" if number % 3 else None,
                "payload": {"score": number % 11 / 10, "model": "large" if number % 2 else "small"},
                "scorer_tags": [],
            }
            for number in range(200)
        ),
        key=("ref", "feedback_type"),
    )


def main(path: Path) -> None:
    """Read, look, write, read again, store again."""
    with plaudit.Client("acme/frames") as client:
        store(client)
        scores = client.get_feedback(plaudit.field("feedback_type") == "correctness")

        frame = scores.to_pandas(payload="columns")
        print(frame.pivot_table("payload.score", "payload.model"))

        frame.to_parquet(path)
        again = pandas.read_parquet(path)

        # The same ids with the same content: nothing new is stored, and nothing is refused.
        client.create_batch(again.to_dict("records"))
        print(f"{len(again)} rows, {scores.count()} records, {scores.refresh() == scores.execute()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
