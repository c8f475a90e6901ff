"""Transactions as an engine ran them, statement by statement, and the rule about the first of each, for every one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from plaudit_server.auth.keys import new_key
from plaudit_server.auth.keystore import API_KEY
from plaudit_server.config.grants import Role
from plaudit_server.feedback.commands import Purge, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.importing import Existing, Import
from plaudit_server.feedback.records import FEEDBACK
from plaudit_server.feedback.retaining import Retain
from plaudit_server.retention.commands import ApplyRule, PutRule
from plaudit_server.retention.holds import Hold, lift, put
from plaudit_server.retention.records import DAY, Rule
from plaudit_server.store import transfer
from plaudit_server.store.base import Reading, SqlEngine
from plaudit_server.store.transfer import Standing
from tests.keys import BlockingKeys
from tests.store import suite
from tests.store.factory import PROJECT, id_of, record
from tests.store.purges import purge

_END: Final = re.compile(r"\s*(commit|rollback|end)\b", re.IGNORECASE)
_SETTING: Final = re.compile(r"\s*set\s+local\b", re.IGNORECASE)
_BEGIN: Final = re.compile(r"\s*begin\b", re.IGNORECASE)
_ROW_LOCK: Final = re.compile(r"\bfor\s+((no\s+key\s+)?update|(key\s+)?share)\b", re.IGNORECASE)


SqlStore = Any
"""A Engine that is Movable too."""


class Ran(NamedTuple):
    """A statement that was run, and whether it is one that writes, if only over what is there."""

    text: str
    writes: bool


@dataclass(slots=True)
class Transaction:
    """The statements between a BEGIN and its end, or one that was run by itself."""

    begin: str | None
    statements: list[Ran] = field(default_factory=list)

    def is_for_writing(self, reads_only: re.Pattern[str]) -> bool:
        """Whether it was begun so that it may write (`reads_only` finds the BEGIN of the others), or did."""
        begun = self.begin is not None and not reads_only.search(self.begin)
        return begun or any(ran.writes for ran in self.statements)


class Recorder:
    """Cuts what connections run into transactions; `reads_only` finds the BEGIN of one that cannot write."""

    def __init__(self, reads_only: str) -> None:
        self._reads_only = re.compile(reads_only)
        self._open: dict[object, Transaction] = {}
        self.transactions: list[Transaction] = []

    def ran(self, connection: object, text: str, writes: bool) -> None:
        """A connection ran a statement."""
        if _SETTING.match(text):
            return  # it reads and locks nothing
        if _END.match(text):
            self._open.pop(connection, None)
        elif _BEGIN.match(text):
            self._open[connection] = Transaction(text)
            self.transactions.append(self._open[connection])
        elif connection in self._open:
            self._open[connection].statements.append(Ran(text, writes))
        else:
            self.transactions.append(Transaction(None, [Ran(text, writes)]))

    def firsts(self) -> set[str]:
        """The first statements of all transactions for writing, however often they came."""
        return {found.statements[0].text for found in self._for_writing()}

    def offences(self) -> list[str]:
        """The first statements that do not write, of transactions for writing; and row locks of a SELECT."""
        late = [ran.text for found in self._for_writing() if not (ran := found.statements[0]).writes]
        locks = [ran.text for found in self.transactions for ran in found.statements if _ROW_LOCK.search(ran.text)]
        return late + locks

    def _for_writing(self) -> list[Transaction]:
        return [found for found in self.transactions if found.statements and found.is_for_writing(self._reads_only)]


RULE = Rule("note", 1, "root", 5)


async def write_everything(store: SqlEngine) -> None:
    """Each thing that a store writes, also where nothing is left to write, or it is refused."""
    other = "acme/other"
    await store.write(
        [Create(PROJECT, [record(n) for n in range(10)]), Create(other, [record(1, project=other, new_id=True)])]
    )
    for command in (
        Create(PROJECT, [record(0), record(11)]),
        Create(PROJECT, [record(0)]),
        Create(PROJECT, [record(0, {"other": 1})]),
        Import(PROJECT, [record(12, created_at=5)]),
        Import(PROJECT, [record(12, {"a": 7}, created_at=5, updated_at=9), record(13, created_at=5)], Existing.UPDATE),
        Replace(PROJECT, record(1, {"a": 5})),
        Replace(PROJECT, record(1, {"a": 6}), expected_version=7),
        Create(PROJECT, [record(1)]),
        Purge(PROJECT, "p", ids=[id_of(2)]),
        Purge(PROJECT, "p", [id_of(1)], (1,), suite.payload("a", 5)),
        Purge(PROJECT, "p", [id_of(3)], owner="p"),
        Purge("acme/empty", "p", [id_of(1)]),
        PutRule(PROJECT, "note", 1, "root", 5),
        ApplyRule(PROJECT, "note", RULE, 3 * DAY, [id_of(12), id_of(4)]),
        ApplyRule(PROJECT, "note", RULE, 2 * DAY + 10, [id_of(12), id_of(4)]),
        Retain(PROJECT, None, 10, [id_of(13)]),
        Create(PROJECT, [record(12), record(14)], atomic=False),
        PutRule("acme/empty", "note", 1, "root", 5),
    ):
        await store.write([command])
    await purge(store, PROJECT, filter=suite.payload("a", 4), dry_run=True)
    await purge(store, PROJECT, filter=suite.payload("a", 4))
    await store.check()
    rows = await store.read(Reading(lambda sql: transfer.export(sql, FEEDBACK, PROJECT, None, 100, 1_000_000)))
    moved = [("acme/copy", *row[1:]) for row in rows]
    await store.transact(lambda sql: transfer.put(sql, FEEDBACK, Standing("acme/copy", 99, 7), moved))
    key = ("id", "judge", b"hash", "writer", "[]", 1, None, None)
    await store.transact(lambda sql: transfer.put_whole(sql, API_KEY, [key]))
    await store.transact(lambda sql: put(sql, Hold(PROJECT, 5, "root", "a case")))
    await store.write([Purge(PROJECT, "p", [id_of(14)])])
    await store.transact(lambda sql: lift(sql, PROJECT, 6, "root"))


def write_keys(keys: BlockingKeys) -> None:
    """Each thing that is written about API keys."""
    _, key = new_key("judge", Role.WRITER, ("acme/*",), 7)
    keys.add(replace(key, id="first"))
    assert keys.revoke("first", 8)
    assert not keys.revoke("nobody", 8)
