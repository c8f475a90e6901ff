"""A server that looks for what retention makes due without a rest between: `python -m tests.growth.serving URL`."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from plaudit_server.retention import sweeping
from plaudit_server.store.url import open_store
from tests.bench.serving import serve

_PERIOD_SECONDS: Final = 0.2

if __name__ == "__main__":
    # A hold, under which a sweep ends, is lifted and put again many times; it would be noticed after a minute.
    vars(sweeping)["PERIOD_SECONDS"] = _PERIOD_SECONDS
    asyncio.run(serve(open_store(sys.argv[1])))
