"""Declared indexes for tests of stores: a store with rows that differ in indexed values, and difficult paths."""

from __future__ import annotations

import json
import random
from typing import Any

from plaudit_server.feedback.records import Record
from tests.store.factory import record

# Names of keys that would end a literal, or a path in it, if they were not escaped.
HOSTILE = (
    *("'", "''", '"', '\\"', "\\", "\\\\'", "$", "$.x", "$[0]", "%", "%s", "%(x)s", "?", "?1", ":x", "@x", "{json}"),
    *("{}", "{0}", "--", "/*", "*/", ";", "a'); drop table feedback; --", "\n", "\r\n", "\t", "\x01", "\x7f", "é", "İ"),
    *("\u2028", "\ufeff", " ", "-1", "01", " 1", "[0]", "#-1", "*", "a\\.b", "E'", "\\u0041", "$$", ",", "NULL"),
    *("(", "::text", "`", "😀", "null"),
)  # fmt: skip


def path_of(key: str) -> str:
    """The path of one key in the payload."""
    return "payload." + key.replace("\\.", "\0").replace(".", "\\.").replace("\0", "\\.")


def scored(rows: int, projects: int = 1, seed: int = 7) -> list[Record]:
    """Records with a score from 0 to 1, a name of 100, and a flag that is rarely set."""
    chance = random.Random(seed)

    def payload(number: int) -> dict[str, Any]:
        return {
            "score": round(chance.random(), 6),
            "name": f"n{number % 100}",
            "flag": number % 100 == 0,
            "text": "x" * 200,
            "list": [{"v": number}],
        }

    return [
        record(
            n,
            json.dumps(payload(n)),
            project=f"acme/p{n % projects}",
            creator=f"c{n % 10}",
            feedback_type=f"t{n % 4}",
            scorer_ratings={"q": round(chance.random(), 6)},
        )
        for n in range(rows)
    ]
