"""What a declared index gains for a filter by a payload path, and costs on writing: two servers, one with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from plaudit import Query
from plaudit.v1 import BatchCreateFeedbackRequest, CountFeedbackRequest
from plaudit_server.store.engines.sqlite import indexes as sqlite_indexes
from plaudit_server.store.url import open_store
from tests.bench import rows
from tests.bench.declared_index import INDEX, PROJECT, SCORE, write
from tests.bench.figures import Contender, Family, Figure, Settings, Target, ratio
from tests.bench.load import Call, latency
from tests.bench.places import store_directory
from tests.service.process import server_process

MOST_ROWS = 100_000


async def _fill(url: str, count: int) -> None:
    store = open_store(url)
    await store.open()
    await write(store, 0, count)
    await store.close()


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """Two stores with the same rows, each with a server; the index is made when the rows are stored."""
    query = Query(SCORE > 0.999).to_proto()
    count = Call(
        "/plaudit.v1.FeedbackService/CountFeedback",
        CountFeedbackRequest(project=PROJECT, query=query).SerializeToString(),
    )
    batch = Call(
        "/plaudit.v1.FeedbackService/BatchCreateFeedback",
        BatchCreateFeedbackRequest(
            project=PROJECT, feedback=[rows.feedback(number) for number in range(100)]
        ).SerializeToString(),
    )
    with store_directory(settings) as directory:
        plain, indexed = directory / "plain.db", directory / "indexed.db"
        for path in (plain, indexed):
            asyncio.run(_fill(f"sqlite:{path}", min(settings.rows, MOST_ROWS)))
        sqlite_indexes.create(str(indexed), INDEX)
        with server_process(plain) as without, server_process(indexed) as having:
            yield [
                Contender(f"{what} {how}", "ms", partial(latency, server.target, server.process.pid, call, window))
                for what, call, window in (("count", count, settings.seconds), ("write", batch, settings.seconds / 4))
                for how, server in (("without", without), ("with", having))
            ]


FAMILY = Family(
    "declared",
    (
        Figure(
            "declared-index",
            "count of 1 in 1,000 of 100,000 rows by a payload path with a declared index, p50",
            ("count without", "count with"),
            ratio("count without", "count with"),
            Target(10, "times as fast as without", at_least=True),
        ),
        Figure(
            "declared-index-write",
            "BatchCreate of 100 into a store with that index, p50, of that into one without",
            ("write with", "write without"),
            ratio("write with", "write without"),
            None,
        ),
    ),
    contenders,
)
