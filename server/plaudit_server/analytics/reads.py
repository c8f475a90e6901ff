"""What is asked of many records: groups, fields, refs at a glance, ratings, each a value with its steps; no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from plaudit_server.analytics.aggregation import Aggregated, aggregate, columns_of, measuring
from plaudit_server.analytics.describe import DescribeQuestion, Description, FieldCount
from plaudit_server.analytics.dialects import MOMENT
from plaudit_server.analytics.groups import ALL, Wanted
from plaudit_server.analytics.measures import NOTHING, measure
from plaudit_server.analytics.overview import Overview, SummaryQuestion
from plaudit_server.analytics.pages import BYTES
from plaudit_server.analytics.ratings import AgreementQuestion, Ratings, RatingsTable
from plaudit_server.analytics.records import Aggregate, Grouping, Key, Measured, Value
from plaudit_server.analytics.statements import Statements, plain_value
from plaudit_server.feedback.matching import where as matching
from plaudit_server.feedback.reactions import EMOJI, REACTION_TYPES, Reacted, fold_reactions
from plaudit_server.feedback.records import OWNER, Row
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.evaluate import text_of
from plaudit_server.query.fields import COLUMNS, MAPS
from plaudit_server.query.tree import Field
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.ledger import revision
from plaudit_server.store.prepared import Prepared

# How many records are read at a time: an engine without threads processes them on the event loop.
_BYTES: Final = 4_000_000
_DESCRIBED_BYTES: Final = 256_000
_DESCRIBED_ROWS: Final = 250
_RATED_ROWS: Final = 1_000
# How many of the newest records of refs are read by one statement.
_RECORDS: Final = 100
# Of a ref with no more records than this, their types are read as a list, which is faster than to group them.
_LISTED: Final = 1_000

# Coefficients of fewer ratings are computed at once.
_FEW_RATINGS: Final = 100

_DIGITS: Final = len(str(MOMENT))

_REF: Final = Grouping("ref", Value(Field(COLUMNS["ref"]), "text"))


class Answering(Protocol):
    """Groups that may still have to be made of rows, which is work for a thread unless they are few."""

    @property
    def is_small(self) -> bool:
        """Whether they are so few that no thread is needed."""

    def answer(self) -> Aggregated:
        """The groups in the order asked for. Raises AggregateTooLarge."""


class Described(NamedTuple):
    """The fields of the records looked at, how many these are, how many match, and the project's revision."""

    fields: list[FieldCount]
    scanned: int
    found: int
    revision: int


class Summarized(NamedTuple):
    """What there is on each ref, in the order asked, the project's revision, and newest records by their ids.

    Of the newest records, if asked for, there are as many as fit an answer, in the order of the refs.
    """

    overviews: list[Overview]
    revision: int
    newest: Mapping[str, Row] = MappingProxyType({})


class Rated(NamedTuple):
    """One value by each rater on each unit, and the project's revision."""

    ratings: Ratings
    revision: int

    @property
    def is_small(self) -> bool:
        """Whether coefficients of these take less than a millisecond."""
        return self.ratings.row_count < _FEW_RATINGS


@dataclass(frozen=True, slots=True)
class SelectGroups(Read[Answering]):
    """Groups of records; what comes back still has to be arranged."""

    question: Aggregate
    wanted: Wanted = ALL

    @property
    def project(self) -> str:
        """Of the question."""
        return self.question.project

    @property
    def snapshot(self) -> bool:
        """All statements must see the same records."""
        return True

    def steps(self, sql: Prepared) -> Steps[Answering]:
        """A statement for all simple measures, and one for each expression whose values are counted."""
        answer = yield from aggregate(sql, self.question, self.wanted)
        return answer


@dataclass(frozen=True, slots=True)
class SelectFields(Read[Described]):
    """The fields of the newest matches. Raises AggregateTooLarge."""

    question: DescribeQuestion

    @property
    def snapshot(self) -> bool:
        """The count and the records must be of one state."""
        return True

    def steps(self, sql: Prepared) -> Steps[Described]:
        """From the newest record on, some at a time."""
        return _describe(sql, self.question)


@dataclass(frozen=True, slots=True)
class SelectOverviews(Read[Summarized]):
    """Refs at a glance."""

    question: SummaryQuestion

    @property
    def snapshot(self) -> bool:
        """All statements must see the same records."""
        return True

    @property
    def steps_through_index(self) -> bool:
        """The index of refs has what most of them have."""
        return self.question.filter is None and not self.question.measures

    def steps(self, sql: Prepared) -> Steps[Summarized]:
        """Counts by type, the newest records, reactions, measures."""
        return _summarize(sql, self.question)


@dataclass(frozen=True, slots=True)
class SelectRatings(Read[Rated]):
    """The ratings that an agreement is measured of. Raises AggregateTooLarge."""

    question: AgreementQuestion

    @property
    def snapshot(self) -> bool:
        """No record may be missed or seen twice between two statements."""
        return True

    def steps(self, sql: Prepared) -> Steps[Rated]:
        """From the oldest record on, some at a time."""
        return _rate(sql, self.question)


def _describe(sql: Prepared, question: DescribeQuestion) -> Steps[Described]:
    """The fields of the newest matches. Raises AggregateTooLarge."""
    at = yield from revision(sql, question.project)
    where = yield from matching(sql, question.project, question.filter)
    [(found,)] = yield Statement(f"select count(*) from feedback as f where {where.text}", where.params)
    description = Description()
    wanted = found if question.newest is None else min(found, question.newest)
    scanned = 0
    after = Sql("")
    maps = ", ".join(f"f.{name}" for name in MAPS)
    while scanned < wanted:
        text = sql.traits.sql(
            f"select {{payload:f}}, f.head, f.feedback_type, f.created_at, f.id, {maps} from feedback as f"
            f" where {{where}}{after.text} order by f.created_at desc, f.id desc limit ?"
        ).replace("{where}", where.text)
        rows = yield Statement(
            text, (*where.params, *after.params, min(_DESCRIBED_ROWS, wanted - scanned)), _DESCRIBED_BYTES
        )
        for payload, _, feedback_type, _, _, *held in rows:
            columns = {name: json.loads(text) for name, text in zip(MAPS, held, strict=True)}
            description.add(feedback_type, bytes(payload).decode(), columns)
        scanned += len(rows)
        after = Sql(" and (f.created_at, f.id) < (?, ?)", (rows[-1][3], rows[-1][4]))
    return Described(description.fields(), scanned, found, at)


def _summarize(sql: Prepared, question: SummaryQuestion) -> Steps[Summarized]:
    """What there is on each ref, in the order asked, and the project's revision."""
    at = yield from revision(sql, question.project)
    found = yield from matching(sql, question.project, question.filter)
    types: dict[str, Mapping[str, int]] = {}
    newest: dict[str, str] = {}
    rows = [row for row in (yield _listed(sql, question.refs, found)) if row[2] is not None]
    # All arrays at once, which takes half the time.
    for (ref, _, id), listed in zip(rows, json.loads(f"[{','.join(row[1] or '[]' for row in rows)}]"), strict=True):
        types[ref], newest[ref] = _counts(listed), id
    many = [ref for ref, counts in types.items() if not counts]
    if many:
        grouped: dict[str, dict[str, int]] = {}
        for ref, feedback_type, count in (yield _typed(_on_refs(sql, found, many))):
            grouped.setdefault(ref, {})[feedback_type] = count
        types |= grouped
    reacting = [ref for ref, counts in types.items() if not counts.keys().isdisjoint(REACTION_TYPES)]
    reacted = (yield from _reacted(sql, _on_refs(sql, found, reacting))) if reacting else {}
    by_ref = Aggregate(question.project, group_by=(_REF,), measures=question.measures)
    measured: dict[Key, tuple[Measured, ...]] = {}
    if question.measures:
        statements = Statements(columns_of(sql), by_ref, _on_refs(sql, found, question.refs), {})
        measures = yield from measuring(statements, grouped=True)
        measured = {group.keys[0]: group.measures for group in measures.groups(by_ref)}
    nothing = tuple(measure(each, NOTHING) for each in question.measures)
    overviews = [
        Overview(
            ref,
            sum(counts.values()),
            tuple(sorted(counts.items())),
            fold_reactions(reacted[ref], question.viewer, question.any_tone) if ref in reacted else (),
            newest.get(ref),
            measured.get(ref, nothing),
        )
        for ref, counts in ((ref, types.get(ref, {})) for ref in question.refs)
    ]
    ids = [newest[ref] for ref in question.refs if newest.get(ref)] if question.with_newest else []
    return Summarized(overviews, at, (yield from _records(sql, question.project, ids)))


def _records(sql: Prepared, project: str, ids: Sequence[str]) -> Steps[dict[str, Row]]:
    """Records by their ids: the first ones, as long as their bytes are fewer than fit an answer."""
    text = sql.traits.asking + sql.traits.asked("feedback", "f.head, {payload:f}, f.id")
    found: dict[str, Row] = {}
    left = BYTES
    for start in range(0, len(ids), _RECORDS):
        wanted = ids[start : start + _RECORDS]
        rows = yield Statement(text, (sql.traits.bind_list(wanted), project), _BYTES)
        by_id = {id: Row(bytes(head), bytes(payload)) for head, payload, id in rows}
        for id in wanted:
            row = by_id.get(id)
            if row is None or (left := left - len(row.head) - len(row.payload)) < 0:
                return found
            found[id] = row
    return found


def _rate(sql: Prepared, question: AgreementQuestion) -> Steps[Rated]:
    """One value by each rater on each unit, and the project's revision. Raises AggregateTooLarge."""
    at = yield from revision(sql, question.project)
    where = yield from matching(sql, question.project, question.filter)
    columns = columns_of(sql)
    parts = [columns.value(part) for part in (question.unit, question.rater, question.value)]
    listed = ", ".join(part.text for part in parts)
    params = tuple(param for part in parts for param in part.params)
    table = RatingsTable(question)
    after = Sql("")
    while True:
        text = sql.traits.sql(
            f"select f.created_at, f.id, {{listed}} from feedback as f where {{where}}{after.text}"
            " order by f.created_at, f.id limit ?"
        )
        text = text.replace("{listed}", listed).replace("{where}", where.text)
        rows = yield Statement(text, (*params, *where.params, *after.params, _RATED_ROWS))
        for _, _, unit, rater, value in rows:
            named = _read(question.rater, rater)
            name = None if named is None else text_of(named)
            table.add(_read(question.unit, unit), name, _read(question.value, value))
        if len(rows) < _RATED_ROWS:
            return Rated(table.ratings(), at)
        after = Sql(" and (f.created_at, f.id) > (?, ?)", (rows[-1][0], rows[-1][1]))


def _read(value: Value, held: Any) -> Any:
    return None if held is None else plain_value(held, value.kind)


def _on_refs(sql: Prepared, where: Sql, refs: Sequence[str]) -> Sql:
    return Sql(f"{where.text} and f.ref {sql.traits.sql('{in}')}", (*where.params, sql.traits.bind_list(list(refs))))


def _listed(sql: Prepared, refs: Sequence[str], where: Sql) -> Statement:
    """Of each ref the types of its records as a JSON array, null for none or too many, and the id of the newest.

    An index has both in the order of a ref's records: no record is read, and nothing is sorted.
    """
    types = columns_of(sql).own.listed.replace("{value}", "f.feedback_type")
    on_ref = f"from feedback as f where {where.text} and f.ref = r.ref"
    text = (
        f"select r.ref, (select case when count(*) <= {_LISTED} then {types} end {on_ref}),"
        f" (select f.id {on_ref} order by f.created_at desc, f.id desc limit 1) from {sql.traits.list_table} as r"
    )
    return Statement(text, (*where.params, *where.params, sql.traits.bind_list(list(refs))))


def _counts(texts: Sequence[str]) -> Mapping[str, int]:
    """How often each text is among them; faster than a Counter where they are few."""
    counts: dict[str, int] = {}
    for each in texts:
        counts[each] = counts.get(each, 0) + 1
    return counts


def _typed(where: Sql) -> Statement:
    """Of each ref how many records of each type it has."""
    text = (
        f"select f.ref, f.feedback_type, count(*) from feedback as f where {where.text} group by f.ref, f.feedback_type"
    )
    return Statement(text, where.params)


def _reacted(sql: Prepared, where: Sql) -> Steps[dict[str, list[Reacted]]]:
    """The reactions on each ref, of which there are usually few."""
    columns = columns_of(sql)
    emoji = columns.value(Value(Field(EMOJI), "text"))
    marks = ", ".join([sql.traits.placeholder] * len(REACTION_TYPES))
    # In a form that leads the engine to the refs, where the index has the type: all reactions may be very many.
    is_reaction = f"case when f.feedback_type in ({marks}) then 1 end = 1"
    rows = (
        f"select f.ref as ref, {emoji.text} as emoji, {OWNER} as owner, f.creator as creator,"
        f" f.created_at as created_at, f.id as id from feedback as f where {where.text} and {is_reaction}"
        f" {columns.own.fence}"
    )
    text = (
        f"select ref, emoji, owner, creator, count(*), min({columns.own.moment}) from ({rows}) as found"
        " where emoji is not null group by ref, emoji, owner, creator"
    )
    reacted: dict[str, list[Reacted]] = {}
    for ref, said, owner, creator, count, moment in (
        yield Statement(text, (*emoji.params, *where.params, *REACTION_TYPES))
    ):
        created_at, id = int(moment[:_DIGITS]) - MOMENT, moment[_DIGITS:]
        reacted.setdefault(ref, []).append(Reacted(said, owner, creator, count, created_at, id))
    return reacted
