"""What a second worker brings on PostgreSQL: durable creates with one process and with two, the load being C's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from tests.bench import rows
from tests.bench.creates import CREATE, anew, stored
from tests.bench.figures import Contender, Family, Figure, NotMeasured, Settings, Target, ratio
from tests.bench.load import Call, Shape
from tests.bench.serving import plaudit_server
from tests.postgres.cluster import EXISTING, Cluster, Database, binaries

# As many calls as keep two workers busy, on enough connections that the kernel gives each worker its share.
SHAPE = Shape(32, 16)
SHARE = Shape(8, 16)  # of one of four projects
_NAMES = {1: "one worker", 2: "two workers"}


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """A PostgreSQL server, with a database for servers of one worker and one for servers of two."""
    if not EXISTING and binaries() is None:
        raise NotMeasured("no PostgreSQL is installed, and PLAUDIT_TEST_POSTGRES names none")
    calls = [Call(CREATE, rows.create_request(project)) for project in rows.PROJECTS]
    into_one = partial(stored, calls=calls[:1], shape=SHAPE, seconds=settings.seconds)
    into_four = partial(stored, calls=calls, shape=SHARE, seconds=settings.seconds)
    with ExitStack() as stack:
        url = EXISTING
        if not url:
            cluster = Cluster()
            stack.callback(cluster.remove)
            url = cluster.url("postgres")
        found = []
        for workers, name in _NAMES.items():
            database = Database(url)
            stack.callback(database.drop)
            measure = partial(
                anew, partial(plaudit_server, database.url, "--workers", str(workers)), calls[0], settings.seconds
            )
            found += [
                Contender(name, "calls/s", partial(measure, into_one)),
                Contender(f"{name}, four projects", "calls/s", partial(measure, into_four)),
            ]
        yield found


FAMILY = Family(
    "workers",
    (
        Figure(
            "workers-2",
            "--workers 2 on PostgreSQL, durable creates/s, 512 in flight",
            ("two workers", "one worker"),
            ratio("two workers", "one worker"),
            Target(1.3, "times one worker", at_least=True),
        ),
        Figure(
            "workers-2-four-projects",
            "the same into four projects, each with a load process of its own",
            ("two workers, four projects", "one worker, four projects"),
            ratio("two workers, four projects", "one worker, four projects"),
            None,
        ),
    ),
    contenders,
)
