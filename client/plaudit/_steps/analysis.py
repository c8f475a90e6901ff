"""Questions about many records, once for both clients: the bodies of a query's measures, and of groups; no I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, Protocol, TypeVar

from plaudit import v1
from plaudit._core.expr import Expr, QueryLike
from plaudit._core.grouping import Grouped, Grouping, Measured, expr_of
from plaudit._core.literals import literal_of
from plaudit._core.measures import FUNCTIONS, Measure
from plaudit._core.options import NONE, CallOptions
from plaudit._core.question import Question, query_message
from plaudit._results.agreement import Agreement
from plaudit._results.groups import Group, better_in, feedback_type_of
from plaudit._steps.definitions import Known, known
from plaudit._steps.step import Call, Steps, all_pages
from plaudit._wire.methods import AGGREGATE, AGREEMENT, DESCRIBE

QUARTERS: Final = (25, 50, 75)


class Client(Protocol):
    """What a question needs of a client."""

    _known_definitions: dict[str, Known]

    def project_for(self, project: str | None) -> str:
        """The given project, else the client's."""


ClientT = TypeVar("ClientT", bound=Client)


class AskedGroups(ABC, Generic[ClientT]):
    """What both clients share of groups: their question, and what was read of the answer."""

    def __init__(self, grouping: Grouping, client: ClientT, options: CallOptions = NONE) -> None:
        self._grouping = grouping
        self.client = client
        self._options = options
        self._groups: list[Group] | None = None
        self._total: Group | None = None

    @property
    def project_id(self) -> str:
        """`entity/project`."""
        return self._grouping.project or self.client.project_for(None)

    def group_by(self, *keys: Grouped, **named: Grouped) -> Any:
        """With further keys: paths, expressions, or keys such as `field("created_at").day("Europe/Berlin")`."""
        return type(self)(self._grouping.by(keys, named), self.client, self._options)

    def agg(self, **measures: Measured) -> Any:
        """With further measures: `score=field("payload.score").mean()`, or `refs=("ref", "count_distinct")`."""
        return type(self)(self._grouping.measured(measures), self.client, self._options)

    def having(self, condition: QueryLike) -> Any:
        """With only those groups for which a condition on the names of keys and measures, or on row_count, is true."""
        return type(self)(self._grouping.having(condition), self.client, self._options)

    def sort(self, *names: str) -> Any:
        """In the order of these names, with a `-` before those that descend."""
        return type(self)(replace(self._grouping, order=names), self.client, self._options)

    def limit(self, most: int) -> Any:
        """With only the first groups."""
        return type(self)(replace(self._grouping, most=most), self.client, self._options)

    def newest_of(self, *paths: str | Expr) -> Any:
        """Of records that agree in all of these only the newest counts."""
        return type(self)(self._grouping.newest(paths), self.client, self._options)

    @property
    def _request(self) -> v1.AggregateFeedbackRequest:
        return self._grouping.request(self.project_id)

    def _all(self) -> Steps[list[Group]]:
        if self._groups is None:
            return (yield from self._again())
        return self._groups

    def _again(self) -> Steps[list[Group]]:
        first = self._request
        pages = yield from all_pages(AGGREGATE, first)
        groups = [Group(first, group) for page in pages for group in page.groups]
        self._groups, self._total = groups, None
        return groups

    def _better(self) -> Steps[Mapping[str, str]]:
        """Which values of the measures are better, by the definitions; reads them once for a client and a project."""
        cache = self.client._known_definitions
        if feedback_type_of(self._request) is not None and self.project_id not in cache:
            cache[self.project_id] = yield from known(self.project_id)
        return self._known_better()

    def _known_better(self) -> Mapping[str, str]:
        """The same, of definitions that were read already."""
        return better_in(self._request, self.client._known_definitions.get(self.project_id, {}))

    def _over_all(self) -> Steps[Group]:
        if self._total is None:
            request = self._grouping.total_request(self.project_id)
            response = yield from Call(AGGREGATE, request)
            self._total = Group(request, response.total)
        return self._total


class Analyzed(ABC):
    """What both clients share of the questions that a query can ask about all of its records at once."""

    _question: Question
    _options: CallOptions

    @property
    @abstractmethod
    def project_id(self) -> str:
        """`entity/project`."""

    def _grouping(self) -> Grouping:
        """The query as a question about groups. Raises ValueError for one with a limit or an offset."""
        question = self._question
        if question.offset or question.limit is not None:
            raise ValueError("a query with a limit or an offset has no measures: they would be those of a page")
        return Grouping(question.project, question.query)

    def _one(self, path: str | Expr, function: str) -> Steps[Any]:
        """One measure of all records."""
        if function not in FUNCTIONS:
            raise ValueError(f"there is no function {function!r}: {', '.join(FUNCTIONS)}")
        return self._measured(value=(path, function), read="value")

    def _measured(self, value: Measured, read: str) -> Steps[Any]:
        request = self._grouping().measured({read: value}).request(self.project_id)
        response = yield from Call(AGGREGATE, request)
        return Group(request, response.groups[0])[read]

    def _statistics(self, path: str | Expr) -> Steps[dict[str, Any]]:
        """As pandas' describe."""
        value = expr_of(path)
        named: dict[str, Measured] = {
            "count": value.as_double().count(),
            "mean": value.mean(),
            "std": value.stddev(),
            "min": value.min(),
            "quarters": value.percentiles(*QUARTERS),
            "max": value.max(),
        }
        request = self._grouping().measured(named).request(self.project_id)
        response = yield from Call(AGGREGATE, request)
        group = Group(request, response.groups[0])
        quarters = {f"{percent}%": group["quarters"][percent] for percent in QUARTERS}
        head = {name: group[name] for name in ("count", "mean", "std", "min")}
        return {**head, **quarters, "max": group["max"]}

    def _fields(self, newest: int | None) -> Steps[list[dict[str, Any]]]:
        """What there is to ask about."""
        request = v1.DescribeFeedbackRequest(
            project=self.project_id, query=query_message(self._grouping().query), newest=newest or 0, all=newest is None
        )
        pages = yield from all_pages(DESCRIBE, request)
        return [
            {each.name: getattr(field, each.name) for each in field.DESCRIPTOR.fields}
            for page in pages
            for field in page.fields
        ]

    def _agreement(
        self,
        value: str | Expr,
        unit: str | Expr | None,
        rater: str | Expr | None,
        scale: str,
        categories: Sequence[Any],
        repeats: str,
        raters: Iterable[str],
    ) -> Steps[Agreement]:
        scales, rules = dict(v1.AgreementScale.items()), dict(v1.RepeatRule.items())
        for name, words, prefix in ((scale, scales, "AGREEMENT_SCALE_"), (repeats, rules, "REPEAT_RULE_")):
            if f"{prefix}{name.upper()}" not in words:
                raise ValueError(f"{name!r} is none of {', '.join(w.removeprefix(prefix).lower() for w in words)}")
        request = v1.MeasureAgreementRequest(
            project=self.project_id,
            query=query_message(self._grouping().query),
            value=expr_of(value).to_proto(),
            unit=None if unit is None else expr_of(unit).to_proto(),
            rater=None if rater is None else expr_of(rater).to_proto(),
            scale=scales[f"AGREEMENT_SCALE_{scale.upper()}"],
            categories=[literal_of(each, "categories") for each in categories],
            repeats=rules[f"REPEAT_RULE_{repeats.upper()}"],
            raters=raters,
            include_pairs=True,
            include_confusion=True,
        )
        return Agreement((yield from Call(AGREEMENT, request)))


def top(path: str | Expr, most: int) -> Measure:
    """The most frequent values."""
    return expr_of(path).top_values(most)


def _as_dict(field: v1.FieldSummary) -> dict[str, Any]:
    return {each.name: getattr(field, each.name) for each in field.DESCRIPTOR.fields}
