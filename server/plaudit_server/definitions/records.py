"""A definition as a value, its versions, and those of a whole project; nothing is checked or decided here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from plaudit._contract.jsontext import place
from plaudit_server.definitions.kinds import Rule
from plaudit_server.definitions.schema import JsonSchema
from plaudit_server.feedback import types
from plaudit_server.feedback.judging import Judgement
from plaudit_server.store.base import Placement, Table

ALL_OTHERS: Final = "*"
"""The type whose definition is that of every type that has none of its own and is not built in."""

BUILT_IN: Final = frozenset((types.REACTION, types.NOTE, types.AGENT_MONITOR, types.AGENT_USER_FEEDBACK))
"""Types that already have a rule of their own, to which `*` does not apply."""


@dataclass(frozen=True, slots=True)
class Unique:
    """One record of a type for each ref, or each combination of what is named; with `replaces` the last one counts."""

    by_rater: bool = False
    by_creator: bool = False
    by_value: bool = False
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """What a type means, ready to be used; made from a message by `rules.read`.

    `content` is that message without what the server sets, in one spelling: equal definitions have equal content.
    `value_path` are the keys and positions that lead to the value; empty is the payload itself.
    """

    feedback_type: str
    content: bytes = field(repr=False)
    closed: bool = False
    enforced: bool = True
    value_path: tuple[str, ...] = ("value",)
    rule: Rule | JsonSchema | None = None
    allow_null: bool = False
    reason_required: bool = False
    refuse_other_keys: bool = False
    writers: tuple[str, ...] = ()
    unique: Unique | None = None
    annotation_ref: str | None = None

    @property
    def value_place(self) -> str:
        """Where the value is, as violations write it."""
        return place(self.value_path, "payload")

    def judges_as(self, other: Definition) -> bool:
        """Whether both ask the same of a payload; they may differ in everything else."""
        return self._judgement() == other._judgement()

    def _judgement(self) -> tuple[object, ...]:
        rule = self.rule.text if isinstance(self.rule, JsonSchema) else self.rule
        return self.value_path, rule, self.allow_null, self.reason_required, self.refuse_other_keys


class StoredDefinition(NamedTuple):
    """A row of `definition` without its project; `created_at` in microseconds since 1970 UTC."""

    feedback_type: str
    version: int
    since_revision: int
    user_id: str
    created_at: int
    content: bytes


DEFINITION: Final = Table(
    name="definition",
    title="definitions",
    columns=("project", *StoredDefinition._fields),
    placement=Placement.BY_PROJECT,
    order=("feedback_type", "version"),
    types={"version": "int8", "since_revision": "int8", "created_at": "int8", "content": "bytea"},
    proof=("feedback_type", "version", "user_id", "created_at"),
)
"""Every version of every definition."""


class Version(NamedTuple):
    """A definition as stored; `created_at` in microseconds since 1970 UTC."""

    definition: Definition
    version: int
    since_revision: int
    user_id: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Defined:
    """All versions of one type, oldest first; the newest decides about the type, and one of them about a payload."""

    versions: Sequence[Version]
    by_ref: Mapping[str, Version] = field(default_factory=dict)
    plain: Definition | None = None
    """The newest, where a new record is judged by nothing but what it asks of a payload."""

    @classmethod
    def of(cls, versions: Iterable[Version]) -> Defined:
        """The versions of a type, in order; the newest of those that name an annotation spec checks its records."""
        ordered = tuple(versions)
        named = {version.definition.annotation_ref: version for version in ordered}
        by_ref = {ref: version for ref, version in named.items() if ref is not None}
        newest = ordered[-1].definition
        judged_otherwise = by_ref or newest.closed or newest.writers or not newest.enforced
        return cls(ordered, by_ref, None if judged_otherwise else newest)

    @property
    def newest(self) -> Version:
        """The version in force."""
        return self.versions[-1]

    def for_annotations(self) -> Defined:
        """The same for an annotation, whose value is always in `value`."""
        if self.newest.definition.value_path == ("value",):
            return self
        return Defined.of([self.newest._replace(definition=replace(self.newest.definition, value_path=("value",)))])

    def judge(self, annotation_ref: str | None) -> Version | None:
        """The version that checks the payload of a record; None when none names the spec that the record names."""
        return self.by_ref.get(annotation_ref or "") if self.by_ref else self.newest


@dataclass(frozen=True, slots=True)
class ProjectDefinitions:
    """What is defined in a project, after `number` changes."""

    number: int = 0
    by_type: Mapping[str, Defined] = field(default_factory=dict)
    any_unique: bool = field(init=False)
    """Whether there is a type with places."""
    cost_per_character: int = field(init=False)
    """An upper bound of what checking a record costs, whatever its type, for each character of its payload."""
    nothing: Judgement = field(init=False)
    """What is said of records with which nothing is wrong, and that take no place."""

    def __post_init__(self) -> None:
        newest = [defined.newest.definition for defined in self.by_type.values()]
        versions = [version.definition for defined in self.by_type.values() for version in defined.versions]
        costs = [definition.rule.cost_per_character for definition in versions if definition.rule is not None]
        object.__setattr__(self, "any_unique", any(definition.unique is not None for definition in newest))
        object.__setattr__(self, "cost_per_character", max(costs, default=0))
        object.__setattr__(self, "nothing", Judgement(self.number))

    def of(self, feedback_type: str) -> Defined | None:
        """The definition of a type, its own or that of all other types; None for a type without one."""
        found = self.by_type.get(feedback_type)
        if found is None and self.by_type and feedback_type not in BUILT_IN:
            found = self.by_type.get(ALL_OTHERS)
            if found is not None and feedback_type.startswith(types.ANNOTATION):
                return found.for_annotations()
        return found

    def with_version(self, version: Version) -> ProjectDefinitions:
        """The same with one version more, as they are after a put."""
        type = version.definition.feedback_type
        before = self.by_type[type].versions if type in self.by_type else ()
        return ProjectDefinitions(self.number + 1, {**self.by_type, type: Defined.of((*before, version))})


NOTHING_DEFINED: Final = ProjectDefinitions()
