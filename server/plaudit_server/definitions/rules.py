"""From a Definition message to its violations, and to a definition that can be used; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from plaudit import v1 as wire
from plaudit._contract import limits
from plaudit._contract.refs import InvalidRefError, names_digest, parse_ref
from plaudit_server.definitions.kinds import Boolean, Categorical, Categories, Numeric, Ranking, Rule, Spans, Text
from plaudit_server.definitions.kinds import decimal as exact
from plaudit_server.definitions.records import BUILT_IN, Definition, Unique
from plaudit_server.definitions.schema import BadSchema, JsonSchema
from plaudit_server.errors import Violation
from plaudit_server.feedback import types
from plaudit_server.feedback.fields import CONTROL
from plaudit_server.query.fields import PayloadPath, UnknownField, resolve

TITLE_BYTES: Final = 256
DESCRIPTION_CHARACTERS: Final = 10_000
CATEGORIES: Final = 1_000
CATEGORY_BYTES: Final = 256
WRITERS: Final = 20
RANKED_REFS: Final = 1_000
TEXT_CHARACTERS: Final = 10_000
SPANS: Final = 1_000

_SET_BY_SERVER: Final = ("version", "since_revision", "user_id", "created_at")
_NOT_FOR_BUILT_IN: Final = ("allow_null", "reason_required", "refuse_other_keys")

_Out = list[Violation]


def read(message: wire.Definition, project: str, out: _Out, at: str = "definition") -> Definition | None:
    """A definition from its message; None when it breaks rules, which then are in `out`, under `at`.

    Raises SchemaSupportMissing for a JSON Schema on a server that was installed without the extra `schema`.
    """
    found: _Out = []
    type = message.feedback_type
    _check_type(type, found)
    _check_line(message.title, "title", TITLE_BYTES, found)
    _check_prose(message.description, "description", found)
    for name, kinds in _ENUMS.items():
        if getattr(message, name) not in kinds.values():
            found.append(Violation(name, f"{getattr(message, name)} is no value of this enum"))
    rule = _rule(message, found)
    path = _value_path(message, found)
    if type in BUILT_IN:
        _check_built_in(message, found)
    _check_writers(message.writers, found)
    unique = _unique(message, found)
    annotation_ref = _annotation_ref(message, project, found)
    if found:
        out += [Violation(f"{at}.{violation.field}", violation.description) for violation in found]
        return None
    return Definition(
        type,
        content_of(message),
        closed=message.state == wire.DefinitionState.DEFINITION_STATE_CLOSED,
        enforced=message.enforcement != wire.Enforcement.ENFORCEMENT_ADVISORY,
        value_path=path,
        rule=rule,
        allow_null=message.allow_null,
        reason_required=message.reason_required,
        refuse_other_keys=message.refuse_other_keys,
        writers=tuple(message.writers),
        unique=unique,
        annotation_ref=annotation_ref,
    )


def content_of(message: wire.Definition) -> bytes:
    """What a definition says, encoded: without what the server sets, and with each default in one spelling."""
    kept = wire.Definition()
    kept.CopyFrom(message)
    for name in _SET_BY_SERVER:
        kept.ClearField(name)
    kept.state = kept.state or wire.DefinitionState.DEFINITION_STATE_OPEN
    kept.enforcement = kept.enforcement or wire.Enforcement.ENFORCEMENT_ENFORCED
    if kept.HasField("unique"):
        kept.unique.on_repeat = kept.unique.on_repeat or wire.OnRepeat.ON_REPEAT_REFUSE
    if kept.HasField("value_path") and kept.value_path == "value":
        kept.ClearField("value_path")
    if not kept.annotation_ref:
        kept.ClearField("annotation_ref")
    kept.DiscardUnknownFields()
    return kept.SerializeToString(deterministic=True)


_ENUMS: Final[Mapping[str, Any]] = {
    "state": wire.DefinitionState,
    "enforcement": wire.Enforcement,
    "direction": wire.Direction,
}


# --- what is not about the value


def _check_type(type: str, out: _Out) -> None:
    if not type:
        out.append(Violation("feedback_type", "is required"))
    _check_line(type, "feedback_type", limits.FEEDBACK_TYPE_BYTES, out)
    for prefix in (types.ANNOTATION, types.RUNNABLE):
        if type.startswith(prefix) and not (type[len(prefix) :].startswith(".") and type[len(prefix) + 1 :]):
            out.append(Violation("feedback_type", f"must be {prefix}.<name>"))


def _check_line(text: str, field: str, limit: int, out: _Out) -> None:
    size = len(text.encode())
    if size > limit:
        out.append(Violation(field, f"has {size} bytes, the limit is {limit}"))
    if CONTROL.search(text):
        out.append(Violation(field, "holds a control character"))


def _check_prose(text: str, field: str, out: _Out) -> None:
    if len(text) > DESCRIPTION_CHARACTERS:
        out.append(Violation(field, f"has {len(text)} characters, the limit is {DESCRIPTION_CHARACTERS}"))
    if "\0" in text:
        out.append(Violation(field, "holds a NUL character"))


def _check_built_in(message: wire.Definition, out: _Out) -> None:
    if message.WhichOneof("rule"):
        out.append(Violation("rule", "is for types that are not built in: these have their rule already"))
    for name in _NOT_FOR_BUILT_IN:
        if getattr(message, name):
            out.append(Violation(name, "is for types that are not built in"))


def _value_path(message: wire.Definition, out: _Out) -> tuple[str, ...]:
    type = message.feedback_type
    if type == types.NOTE:
        own: tuple[str, ...] = ("note",)
    elif type == types.REACTION:
        own = ("alias",)  # which two spellings of one emoji share
    else:
        own = ("value",)
    if not message.HasField("value_path") or message.value_path == "value":
        return own
    if type in (types.NOTE, types.REACTION) or type.startswith(types.ANNOTATION):
        out.append(Violation("value_path", f"must be absent: the value of this type is in {own[0]}"))
        return own
    if not message.value_path:
        return ()
    try:
        path = resolve(f"payload.{message.value_path}")
    except UnknownField as error:
        out.append(Violation("value_path", str(error)))
        return own
    assert isinstance(path, PayloadPath)
    if len(path.segments) >= limits.PAYLOAD_DEPTH:
        out.append(Violation("value_path", f"has more than {limits.PAYLOAD_DEPTH - 1} segments"))
    return path.segments


def _check_writers(writers: Sequence[str], out: _Out) -> None:
    if len(writers) > WRITERS:
        out.append(Violation("writers", f"has {len(writers)} patterns, the limit is {WRITERS}"))
    for index, pattern in enumerate(writers[:WRITERS]):
        if not pattern:
            out.append(Violation(f"writers[{index}]", "must not be empty"))
        _check_line(pattern, f"writers[{index}]", limits.USER_ID_BYTES, out)


def _unique(message: wire.Definition, out: _Out) -> Unique | None:
    if not message.HasField("unique"):
        return None
    given = message.unique
    if given.on_repeat not in wire.OnRepeat.values():
        out.append(Violation("unique.on_repeat", f"{given.on_repeat} is no OnRepeat"))
    replaces = given.on_repeat == wire.OnRepeat.ON_REPEAT_REPLACE
    return Unique(given.by_rater, given.by_creator, given.by_value, replaces)


def _annotation_ref(message: wire.Definition, project: str, out: _Out) -> str | None:
    uri = message.annotation_ref
    if not uri:
        return None
    prefix = f"{types.ANNOTATION}."
    if not message.feedback_type.startswith(prefix):
        out.append(Violation("annotation_ref", f"is for {prefix}<name> only"))
        return None
    try:
        ref = parse_ref(uri)
    except InvalidRefError as error:
        out.append(Violation("annotation_ref", str(error)))
        return None
    if len(uri.encode()) > limits.REF_BYTES:
        out.append(Violation("annotation_ref", f"has more than {limits.REF_BYTES} bytes"))
    elif ref.kind != "object" or not names_digest(uri) or ref.digest == "*":
        out.append(Violation("annotation_ref", "must be an object ref with its digest"))
    elif ref.project_id != project:
        out.append(Violation("annotation_ref", "must be of the definition's project"))
    elif ref.name != message.feedback_type[len(prefix) :]:
        out.append(Violation("annotation_ref", "must have the name that the type ends with"))
    return uri


# --- the rule


def _rule(message: wire.Definition, out: _Out) -> Rule | JsonSchema | None:
    kind = message.WhichOneof("rule")
    if kind is None:
        return None
    own: _Out = []
    rule = _READERS[kind](getattr(message, kind), own)
    out += [Violation(f"{kind}.{violation.field}", violation.description) for violation in own]
    return None if own else rule


def _numeric(given: wire.NumericRule, out: _Out) -> Numeric | None:
    low = given.min if given.HasField("min") else -math.inf
    high = given.max if given.HasField("max") else math.inf
    for name, value in (("min", given.min), ("max", given.max), ("step", given.step)):
        if not math.isfinite(value):
            out.append(Violation(name, "must be a finite number"))
    if given.step < 0:
        out.append(Violation("step", "must not be negative"))
    if out:
        return None
    rule = Numeric(low + 0.0, high + 0.0, given.step, given.integer)
    if low > high:
        out.append(Violation("max", "must not be below min"))
    elif given.integer and not _holds_whole_number(rule):
        out.append(Violation("integer", "leaves no value: none from min to max is a whole number"))
    return rule


def _holds_whole_number(rule: Numeric) -> bool:
    """Whether some value within a rule is whole."""
    if rule.low == -math.inf:
        return True
    start = Fraction(exact(rule.low))
    if not rule.step:
        return math.ceil(start) <= rule.high
    step = Fraction(exact(rule.step))
    # start + n × step is whole for some n from 0 to the denominator of step, or for none.
    unit = math.lcm(start.denominator, step.denominator)
    first, each = int(start * unit), int(step * unit)
    shared = math.gcd(each, unit)
    if first % shared:
        return False
    turn = unit // shared
    steps = (-first // shared) * pow(each // shared, -1, turn) % turn if turn > 1 else 0
    return Fraction(start + steps * step) <= (Fraction(exact(rule.high)) if rule.high != math.inf else math.inf)


def _categories(given: Iterable[wire.Category], field: str, out: _Out) -> Categories:
    usable: dict[str, None] = {}
    retired = set()
    categories = list(given)
    if not 1 <= len(categories) <= CATEGORIES:
        out.append(Violation(field, f"has {len(categories)} entries, allowed are 1 to {CATEGORIES}"))
        return Categories({})
    for index, category in enumerate(categories):
        at = f"{field}[{index}]"
        value = category.value
        if not value:
            out.append(Violation(f"{at}.value", "is required"))
        elif value in usable or value in retired:
            out.append(Violation(f"{at}.value", "is there twice"))
        _check_line(value, f"{at}.value", CATEGORY_BYTES, out)
        _check_line(category.label, f"{at}.label", CATEGORY_BYTES, out)
        _check_prose(category.description, f"{at}.description", out)
        if not math.isfinite(category.score):
            out.append(Violation(f"{at}.score", "must be a finite number"))
        if category.retired:
            retired.add(value)
        else:
            usable[value] = None
    return Categories(usable, frozenset(retired))


def _categorical(given: wire.CategoricalRule, out: _Out) -> Categorical:
    categories = _categories(given.categories, "categories", out)
    least, most = _range(given, "choices", 1, 1, CATEGORIES, out)
    if not out and least > len(categories.usable) + len(categories.retired):
        out.append(Violation("min_choices", "is more than there are categories to choose"))
    return Categorical(categories, least, most)


def _boolean(given: wire.BooleanRule, out: _Out) -> Boolean:
    _check_line(given.true_label, "true_label", CATEGORY_BYTES, out)
    _check_line(given.false_label, "false_label", CATEGORY_BYTES, out)
    return Boolean()


def _text(given: wire.TextRule, out: _Out) -> Text:
    return Text(*_range(given, "characters", 0, TEXT_CHARACTERS, limits.PAYLOAD_BYTES, out))


def _ranking(given: wire.RankingRule, out: _Out) -> Ranking:
    least, most = _range(given, "refs", 2, 20, RANKED_REFS, out)
    return Ranking(least, most, given.ties)


def _spans(given: wire.SpansRule, out: _Out) -> Spans:
    labels = _categories(given.labels, "labels", out)
    most = given.max_spans or SPANS
    if not 0 <= given.max_spans <= limits.PAYLOAD_BYTES:
        out.append(Violation("max_spans", "must not be negative, nor more than a payload can hold"))
    return Spans(labels, most, given.overlap)


def _range(given: Any, what: str, least: int, most: int, limit: int, out: _Out) -> tuple[int, int]:
    """`min_…` and `max_…` of a rule, where 0 means a default."""
    low, high = getattr(given, f"min_{what}"), getattr(given, f"max_{what}")
    for name, value in ((f"min_{what}", low), (f"max_{what}", high)):
        if not 0 <= value <= limit:
            out.append(Violation(name, f"must be from 0 to {limit}"))
    least, most = low or least, high or most
    if least > most and not out:
        explicit = f"max_{what}" if high else f"min_{what}"
        out.append(Violation(explicit, f"leaves no value: at least {least}, and at most {most}"))
    return least, most


def _json_schema(given: wire.JsonSchemaRule, out: _Out) -> JsonSchema | None:
    try:
        return JsonSchema(given.schema_json)
    except BadSchema as error:
        out.append(Violation("schema_json", str(error)))
        return None


_READERS: Final[Mapping[str, Callable[[Any, _Out], Rule | JsonSchema | None]]] = {
    "numeric": _numeric,
    "categorical": _categorical,
    "boolean": _boolean,
    "text": _text,
    "ranking": _ranking,
    "spans": _spans,
    "json_schema": _json_schema,
}
