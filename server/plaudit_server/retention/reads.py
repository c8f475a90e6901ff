"""The reads of retention: rules, the projects and types on which they act, and how much a rule would remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plaudit_server.retention.records import ALL_OTHERS, Rule, Rules
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.ledger import Flag
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import Lane


class RetentionStatements:
    """The fixed statements about rules."""

    def __init__(self, traits: Traits) -> None:
        sql = traits.sql
        self.rules = sql(f"SELECT {', '.join(Rule._fields)} FROM retention_rule WHERE project = ?")
        self.flags = sql("SELECT flags FROM project WHERE project = ?")
        self.put = sql(
            "INSERT INTO retention_rule (project, feedback_type, days, user_id, put_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (project, feedback_type)"
            " DO UPDATE SET days = excluded.days, user_id = excluded.user_id, put_at = excluded.put_at"
        )
        self.next_type = sql(
            "SELECT feedback_type FROM feedback WHERE project = ? AND feedback_type > ? ORDER BY feedback_type LIMIT 1"
        )
        counted = "SELECT count(*), min(created_at) FROM feedback WHERE project = ? AND created_at < ? AND "
        self.due_of_type = sql(counted + "feedback_type = ?")
        self.due_of_others = sql(counted + "NOT (feedback_type {in})")


class SweepStatements:
    """The one statement that a server asks of all projects at once, now and then: which have rules. They are few."""

    def __init__(self, traits: Traits) -> None:
        self.projects = traits.sql(
            "SELECT DISTINCT project FROM retention_rule WHERE project > ? AND days > 0 ORDER BY project LIMIT ?"
        )


class Due(NamedTuple):
    """How many records are past the days of a rule, and when the oldest was created (microseconds)."""

    rule: Rule
    before: int
    rows: int
    oldest: int | None


def rules_of(sql: Prepared, project: str) -> Steps[list[Rule]]:
    """The rows about a project's rules."""
    rows = yield Statement(sql.of(RetentionStatements).rules, (project,))
    return [Rule(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class GetRules(Read[Rules]):
    """The rules of a project."""

    project: str

    @property
    def lane(self) -> Lane:
        """A bounded number of rows by their key."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[Rules]:
        """The rules, and the project's row."""
        rules = yield from rules_of(sql, self.project)
        flags = yield Statement(sql.of(RetentionStatements).flags, (self.project,))
        return Rules.of(rules, held=bool(flags and flags[0][0] & Flag.HELD))


@dataclass(frozen=True, slots=True)
class SelectRuledProjects(Read[list[str]]):
    """The projects above `after` that have rules, at most `limit`."""

    after: str
    limit: int

    def steps(self, sql: Prepared) -> Steps[list[str]]:
        """One statement."""
        rows = yield Statement(sql.of(SweepStatements).projects, (self.after, self.limit))
        return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class SelectTypes(Read[list[str]]):
    """The types above `after` of which a project has records, at most `limit`."""

    project: str
    after: str
    limit: int

    @property
    def lane(self) -> Lane:
        """A bounded number of rows, each by its key."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[list[str]]:
        """A statement for each type, which finds the next one in an index, whatever the number of records."""
        found: list[str] = []
        after = self.after
        while len(found) < self.limit:
            rows = yield Statement(sql.of(RetentionStatements).next_type, (self.project, after))
            if not rows:
                break
            after = rows[0][0]
            found.append(after)
        return found


@dataclass(frozen=True, slots=True)
class CountDue(Read[list[Due]]):
    """How much each of some rules of a project would remove at the time `now`, in microseconds.

    `own_types` are those to which the rule for all other types does not apply.
    """

    project: str
    rules: Sequence[Rule]
    own_types: Sequence[str]
    now: int

    def steps(self, sql: Prepared) -> Steps[list[Due]]:
        """A statement for each rule."""
        statements = sql.of(RetentionStatements)
        found = []
        for rule in self.rules:
            before = rule.before(self.now)
            if rule.feedback_type == ALL_OTHERS:
                bound = self.project, before, sql.traits.bind_list(self.own_types)
                [[count, oldest]] = yield Statement(statements.due_of_others, bound)
            else:
                [[count, oldest]] = yield Statement(statements.due_of_type, (self.project, before, rule.feedback_type))
            found.append(Due(rule, before, count, oldest))
        return found
