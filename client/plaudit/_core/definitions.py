"""Definitions as values: what a feedback type means in a project, and their messages; nothing here does I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from plaudit import v1
from plaudit._contract.refs import Ref
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.model import Feedback


@dataclass(frozen=True, slots=True)
class Numeric:
    """A number from `min` to `max`, both included; with `step`, `min` (else 0) and whole steps, in decimals."""

    min: float | None = None
    max: float | None = None
    step: float = 0.0
    integer: bool = False


@dataclass(frozen=True, slots=True)
class Category:
    """One value that may be chosen: `value` is stored, `label` shown, `score` its number in aggregates.

    A `retired` one takes no new records; stored ones stay good.
    """

    value: str
    label: str = ""
    description: str = ""
    score: float | None = None
    retired: bool = False


@dataclass(frozen=True, slots=True, init=False)
class Categories:
    """One of some texts; with `max_choices` above 1 always a list of `min_choices` to `max_choices` of them."""

    categories: tuple[Category, ...]
    min_choices: int = 0
    max_choices: int = 0
    ordered: bool = False

    def __init__(
        self, *categories: str | Category, min_choices: int = 0, max_choices: int = 0, ordered: bool = False
    ) -> None:
        """A text is a category with that value and nothing else."""
        object.__setattr__(self, "categories", _categories(categories))
        object.__setattr__(self, "min_choices", min_choices)
        object.__setattr__(self, "max_choices", max_choices)
        object.__setattr__(self, "ordered", ordered)


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    true_label: str = ""
    false_label: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Text; 0 for the longest means 10,000 code points."""

    min_characters: int = 0
    max_characters: int = 0


@dataclass(frozen=True, slots=True)
class Ranking:
    """A list of ranks, best first, each a list of refs; 0 means 2 refs at least, and 20 at most."""

    min_refs: int = 0
    max_refs: int = 0
    ties: bool = False


@dataclass(frozen=True, slots=True, init=False)
class Spans:
    """Parts of a text: a list of `{start, end, label, text?}`, half open, in code points."""

    labels: tuple[Category, ...]
    max_spans: int = 0
    overlap: bool = False

    def __init__(self, *labels: str | Category, max_spans: int = 0, overlap: bool = False) -> None:
        """A text is a label with that value and nothing else."""
        object.__setattr__(self, "labels", _categories(labels))
        object.__setattr__(self, "max_spans", max_spans)
        object.__setattr__(self, "overlap", overlap)


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """Whatever a JSON Schema (2020-12) accepts, given as a mapping or as its text."""

    schema: Mapping[str, Any] | str = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The schema as JSON text."""
        return self.schema if isinstance(self.schema, str) else json.dumps(self.schema, ensure_ascii=False)


Rule = Numeric | Categories | Boolean | Text | Ranking | Spans | JsonSchema

_DIRECTIONS: Final = {
    None: v1.Direction.DIRECTION_UNSPECIFIED,
    "higher": v1.Direction.DIRECTION_HIGHER_IS_BETTER,
    "lower": v1.Direction.DIRECTION_LOWER_IS_BETTER,
}
_REPEATS: Final = {"refuse": v1.OnRepeat.ON_REPEAT_REFUSE, "replace": v1.OnRepeat.ON_REPEAT_REPLACE}
_UNIQUE: Final = {"rater": "by_rater", "creator": "by_creator", "value": "by_value", "ref": ""}


@dataclass(frozen=True, slots=True)
class Definition:
    """What a feedback type means in a project. `Client.define` stores it; the server checks every write.

    `direction` is `higher`, `lower` or None: which values are better. `unique` names what there may be one record for,
    beside the ref: `rater`, `creator`, `value`, several of them, or `ref` alone; `on_repeat` is `refuse` or `replace`.
    `value_path` None means `value`. The last four fields are set by the server.
    """

    feedback_type: str
    rule: Rule | None = None
    direction: Literal["higher", "lower"] | None = None
    description: str = ""
    title: str = ""
    closed: bool = False
    advisory: bool = False
    value_path: str | None = None
    allow_null: bool = False
    reason_required: bool = False
    refuse_other_keys: bool = False
    writers: tuple[str, ...] = ()
    unique: tuple[str, ...] | str | None = None
    on_repeat: Literal["refuse", "replace"] = "refuse"
    annotation_ref: str | None = None
    version: int = 0
    since_revision: int = 0
    user_id: str = ""
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        unique = (self.unique,) if isinstance(self.unique, str) else self.unique
        object.__setattr__(self, "unique", None if unique is None else tuple(unique))
        object.__setattr__(self, "writers", tuple(self.writers))
        if self.direction not in _DIRECTIONS:
            raise ValueError(f"direction is 'higher', 'lower' or None, not {self.direction!r}")
        if self.on_repeat not in _REPEATS:
            raise ValueError(f"on_repeat is 'refuse' or 'replace', not {self.on_repeat!r}")
        if unknown := set(self.unique or ()) - _UNIQUE.keys():
            raise ValueError(f"unique is made of {', '.join(_UNIQUE)}, not of {', '.join(sorted(unknown))}")

    @classmethod
    def from_schema(cls, feedback_type: str, schema: Mapping[str, Any], **options: Any) -> Definition:
        """A definition by a JSON Schema, such as pydantic's `model_json_schema()`; `options` are other fields.

        A schema of one number, bool or text, or of an enum of texts, becomes the typed kind that says the same.
        `discriminator`, which is no keyword of JSON Schema, is left out.
        """
        plain = _without(schema, "discriminator")
        typed = _typed(plain)
        if not options.get("description") and isinstance(plain.get("description"), str):
            options["description"] = plain["description"]
        if not options.get("title") and isinstance(plain.get("title"), str):
            options["title"] = plain["title"]
        return cls(feedback_type, typed or JsonSchema(plain), **options)

    @property
    def content(self) -> Definition:
        """The same without what the server sets."""
        return replace(self, version=0, since_revision=0, user_id="", created_at=None)

    def to_proto(self) -> v1.Definition:
        """The message, without what the server sets."""
        message = v1.Definition(
            feedback_type=self.feedback_type,
            title=self.title,
            description=self.description,
            direction=_DIRECTIONS[self.direction],
            allow_null=self.allow_null,
            reason_required=self.reason_required,
            refuse_other_keys=self.refuse_other_keys,
            writers=self.writers,
            value_path=self.value_path,
            annotation_ref=self.annotation_ref,
        )
        if self.closed:
            message.state = v1.DefinitionState.DEFINITION_STATE_CLOSED
        if self.advisory:
            message.enforcement = v1.Enforcement.ENFORCEMENT_ADVISORY
        if self.unique is not None:
            message.unique.SetInParent()
            for name in self.unique:
                if _UNIQUE[name]:
                    setattr(message.unique, _UNIQUE[name], True)
            message.unique.on_repeat = _REPEATS[self.on_repeat]
        if self.rule is not None:
            _write_rule(message, self.rule)
        return message

    @classmethod
    def from_proto(cls, message: v1.Definition) -> Definition:
        """A definition from its message."""
        unique: tuple[str, ...] | None = None
        if message.HasField("unique"):
            names = [name for name, flag in _UNIQUE.items() if flag and getattr(message.unique, flag)]
            unique = tuple(names) or ("ref",)
        replaces = message.unique.on_repeat == v1.OnRepeat.ON_REPEAT_REPLACE
        direction = next(name for name, number in _DIRECTIONS.items() if number == message.direction)
        return cls(
            message.feedback_type,
            _read_rule(message),
            direction,  # type: ignore[arg-type]
            message.description,
            message.title,
            message.state == v1.DefinitionState.DEFINITION_STATE_CLOSED,
            message.enforcement == v1.Enforcement.ENFORCEMENT_ADVISORY,
            message.value_path if message.HasField("value_path") else None,
            message.allow_null,
            message.reason_required,
            message.refuse_other_keys,
            tuple(message.writers),
            unique,
            "replace" if replaces else "refuse",
            message.annotation_ref or None,
            message.version,
            message.since_revision,
            message.user_id,
            _time(message),
        )

    def payload(self, value: Any, reason: str | None = None) -> dict[str, Any]:
        """A payload with a value at its place, and a reason. Refs in it become their URIs.

        Raises InvalidArgumentError for a value that cannot be the payload itself, where it has to be.
        """
        return _placed("value" if self.value_path is None else self.value_path, _plain(value), reason)


def undefined_payload(value: Any, reason: str | None = None) -> dict[str, Any]:
    """A payload of a type that has no definition: the value is in `value`."""
    return _placed("value", _plain(value), reason)


@dataclass(frozen=True, slots=True)
class Breakage:
    """What breaks in one place of stored records: in `count` of them, of which `ids` are some."""

    path: str
    description: str
    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a definition would refuse of what is stored; `revision` is the project's before it was looked at."""

    checked: int
    breaking: int
    repeated: int
    breakages: tuple[Breakage, ...]
    revision: int

    @property
    def examples(self) -> tuple[str, ...]:
        """Ids of some records that break it."""
        return tuple(dict.fromkeys(id for breakage in self.breakages for id in breakage.ids))

    @classmethod
    def of(cls, pages: Sequence[v1.CheckDefinitionResponse]) -> CheckResult:
        """The pages of a check, together."""
        found: dict[tuple[str, str], Breakage] = {}
        for breakage in (breakage for page in pages for breakage in page.breakages):
            key = breakage.path, breakage.description
            before = found.get(key, Breakage(*key, 0, ()))
            found[key] = Breakage(*key, before.count + breakage.count, (*before.ids, *breakage.ids)[:10])
        return cls(
            sum(page.checked_count for page in pages),
            sum(page.breaking_count for page in pages),
            sum(page.repeated_count for page in pages),
            tuple(sorted(found.values(), key=lambda breakage: -breakage.count)),
            pages[0].revision,
        )


def _categories(given: Iterable[str | Category]) -> tuple[Category, ...]:
    return tuple(Category(category) if isinstance(category, str) else category for category in given)


def _time(message: v1.Definition) -> datetime | None:
    if not message.HasField("created_at"):
        return None
    return Feedback(v1.Feedback(created_at=message.created_at)).created_at


def _write_rule(message: v1.Definition, rule: Rule) -> None:
    match rule:
        case Numeric():
            message.numeric.CopyFrom(v1.NumericRule(min=rule.min, max=rule.max, step=rule.step, integer=rule.integer))
        case Categories():
            message.categorical.CopyFrom(
                v1.CategoricalRule(
                    categories=map(_category, rule.categories),
                    min_choices=rule.min_choices,
                    max_choices=rule.max_choices,
                    ordered=rule.ordered,
                )
            )
        case Boolean():
            message.boolean.CopyFrom(v1.BooleanRule(true_label=rule.true_label, false_label=rule.false_label))
        case Text():
            message.text.CopyFrom(v1.TextRule(min_characters=rule.min_characters, max_characters=rule.max_characters))
        case Ranking():
            message.ranking.CopyFrom(v1.RankingRule(min_refs=rule.min_refs, max_refs=rule.max_refs, ties=rule.ties))
        case Spans():
            message.spans.CopyFrom(
                v1.SpansRule(labels=map(_category, rule.labels), max_spans=rule.max_spans, overlap=rule.overlap)
            )
        case JsonSchema():
            message.json_schema.CopyFrom(v1.JsonSchemaRule(schema_json=rule.text))
        case _:
            raise TypeError(f"a rule is Numeric, Categories, …, not {type(rule).__name__}")


def _category(category: Category) -> v1.Category:
    return v1.Category(
        value=category.value,
        label=category.label,
        description=category.description,
        score=category.score,
        retired=category.retired,
    )


def _read_category(message: v1.Category) -> Category:
    score = message.score if message.HasField("score") else None
    return Category(message.value, message.label, message.description, score, message.retired)


def _read_rule(message: v1.Definition) -> Rule | None:
    match message.WhichOneof("rule"):
        case "numeric":
            given = message.numeric
            low = given.min if given.HasField("min") else None
            high = given.max if given.HasField("max") else None
            return Numeric(low, high, given.step, given.integer)
        case "categorical":
            rule = message.categorical
            return Categories(
                *map(_read_category, rule.categories),
                min_choices=rule.min_choices,
                max_choices=rule.max_choices,
                ordered=rule.ordered,
            )
        case "boolean":
            return Boolean(message.boolean.true_label, message.boolean.false_label)
        case "text":
            return Text(message.text.min_characters, message.text.max_characters)
        case "ranking":
            return Ranking(message.ranking.min_refs, message.ranking.max_refs, message.ranking.ties)
        case "spans":
            spans = message.spans
            return Spans(*map(_read_category, spans.labels), max_spans=spans.max_spans, overlap=spans.overlap)
        case "json_schema":
            return JsonSchema(json.loads(message.json_schema.schema_json))
        case _:
            return None


def _without(schema: Any, keyword: str) -> Any:
    """A schema without a keyword, at any depth; names of properties are not keywords."""
    if isinstance(schema, list):
        return [_without(part, keyword) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {}
    for name, value in schema.items():
        if name in ("properties", "patternProperties", "$defs", "dependentSchemas") and isinstance(value, Mapping):
            kept[name] = {key: _without(part, keyword) for key, part in value.items()}
        elif name in ("const", "enum", "default", "examples"):
            kept[name] = value
        elif name != keyword:
            kept[name] = _without(value, keyword)
    return kept


_ANNOTATIONS: Final = frozenset(("title", "description", "default", "examples", "$schema", "$comment"))


def _typed(schema: Mapping[str, Any]) -> Rule | None:
    """The typed kind that says the same as a schema; None where there is none."""
    said = {name: value for name, value in schema.items() if name not in _ANNOTATIONS}
    kind = said.pop("type", None)
    if kind in ("number", "integer") and said.keys() <= {"minimum", "maximum"}:
        return Numeric(said.get("minimum"), said.get("maximum"), integer=kind == "integer")
    if kind == "boolean" and not said:
        return Boolean()
    if kind in ("string", None) and said.keys() == {"enum"} and all(isinstance(v, str) and v for v in said["enum"]):
        return Categories(*said["enum"])
    if kind == "string" and said.keys() <= {"minLength", "maxLength"} and said.get("maxLength", 10_000) > 0:
        return Text(said.get("minLength", 0), said.get("maxLength", 0)) if "maxLength" in said else None
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, Ref):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    if isinstance(value, Mapping):
        return {key: _plain(element) for key, element in value.items()}
    return value


def _placed(path: str, value: Any, reason: str | None) -> dict[str, Any]:
    said = {} if reason is None else {"reason": reason}
    if not path:
        if not isinstance(value, dict):
            problem = f"must be a JSON object, not a {type(value).__name__}: the type's value is the payload itself"
            raise InvalidArgumentError.of([Violation("feedback.payload", problem)])
        return {**value, **said}
    # An escaped dot hides as a NUL, which no path holds.
    for key in reversed(path.replace("\\.", "\0").split(".")):
        value = {key.replace("\0", "."): value}
    payload: dict[str, Any] = value
    return {**payload, **said}
