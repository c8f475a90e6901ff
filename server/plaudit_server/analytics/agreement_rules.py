"""From a request about raters to a question, or to violations with the path of each bad part; nothing is executed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

from plaudit._contract import limits
from plaudit.v1 import AgreementScale, Expression, MeasureAgreementRequest, RepeatRule
from plaudit_server.analytics.arithmetic import plain
from plaudit_server.analytics.expressions import Expressions
from plaudit_server.analytics.ratings import AgreementQuestion, Repeats, Scale
from plaudit_server.analytics.records import Kind, Scalar, Value
from plaudit_server.errors import Violation
from plaudit_server.query.fields import COLUMNS
from plaudit_server.query.tree import Field

_SCALES: Final[Mapping[int, Scale]] = {
    number: cast(Scale, name.removeprefix("AGREEMENT_SCALE_").lower()) if number else "nominal"
    for name, number in AgreementScale.items()
}
_REPEATS: Final[Mapping[int, Repeats]] = {
    number: cast(Repeats, name.removeprefix("REPEAT_RULE_").lower()) if number else "latest"
    for name, number in RepeatRule.items()
}


def check_agreement(request: MeasureAgreementRequest, out: list[Violation]) -> AgreementQuestion | None:
    """The question of a request; None with the reasons in `out` when a rule is broken.

    The project is not looked at.
    """
    before = len(out)
    expressions = Expressions(out)
    filter = expressions.query(request.query, "query") if request.HasField("query") else None
    scale = _SCALES.get(request.scale)
    if scale is None:
        out.append(Violation("scale", f"{request.scale} is no scale"))
    categories = _check_categories(request, scale, out)
    of_numbers = scale != "nominal" if not categories else not isinstance(categories[0], str)
    value = _check_value(request, scale, "number" if of_numbers else "text", categories, expressions, out)
    unit = _part(request.unit, "ref", "unit", request.HasField("unit"), expressions)
    rater = _part(request.rater, "owner", "rater", request.HasField("rater"), expressions)
    repeats = _REPEATS.get(request.repeats)
    if repeats is None:
        out.append(Violation("repeats", f"{request.repeats} is no rule"))
    elif repeats == "mean" and (scale == "nominal" or categories):
        out.append(Violation("repeats", "is the mean, which is for numbers without categories only"))
    _check_raters(request.raters, out)
    if request.include_confusion and not request.include_pairs:
        out.append(Violation("include_confusion", "needs include_pairs: confusion is counted for each pair"))
    if len(out) > before or not (value and unit and rater and scale and repeats):
        return None
    return AgreementQuestion(
        request.project,
        filter,
        value,
        unit,
        rater,
        scale,
        categories,
        repeats,
        frozenset(request.raters),
        request.include_pairs,
        request.include_confusion,
    )


def _check_categories(
    request: MeasureAgreementRequest, scale: Scale | None, out: list[Violation]
) -> tuple[Scalar, ...]:
    if request.categories and scale not in ("nominal", "ordinal", None):
        out.append(Violation("categories", f"goes with a nominal or ordinal scale, not with {scale}"))
        return ()
    categories: list[Scalar] = []
    seen: set[Scalar] = set()
    for index, literal in enumerate(request.categories):
        at = f"categories[{index}]"
        kind = literal.WhichOneof("value")
        value: str | int | float = getattr(literal, kind) if kind else ""
        if kind not in ("string_value", "int_value", "double_value"):
            out.append(Violation(at, "is neither a text nor a number"))
        elif isinstance(value, float) and not math.isfinite(value):
            out.append(Violation(at, "is not finite"))
        elif categories and isinstance(categories[0], str) != isinstance(value, str):
            out.append(Violation(at, "is of another kind than the first; all are texts, or all are numbers"))
        elif (key := value if isinstance(value, str) else plain(value)) in seen:
            out.append(Violation(at, "is there twice"))
        else:
            seen.add(key)
            categories.append(key)
    return tuple(categories)


def _check_value(
    request: MeasureAgreementRequest,
    scale: Scale | None,
    payload_kind: Kind,
    categories: Sequence[Scalar],
    expressions: Expressions,
    out: list[Violation],
) -> Value | None:
    """What was rated, of a kind that goes with the scale and the categories."""
    if not request.HasField("value"):
        out.append(Violation("value", "is required"))
        return None
    value = expressions.value(request.value, "value", payload_kind)
    if value is None or scale is None:
        return value
    takes: tuple[Kind, ...] = (payload_kind,) if categories or scale != "nominal" else ("text", "number", "bool")
    if value.kind not in takes:
        needs = " or ".join(takes)
        out.append(Violation("value", f"is a {value.kind}; this scale, with these categories, needs a {needs}"))
        if value.kind == "text" and scale == "ordinal" and not categories:
            out.append(Violation("categories", "is required: only they give texts an order"))
    return value


def _part(message: Expression, default: str, at: str, is_given: bool, expressions: Expressions) -> Value | None:
    if is_given:
        return expressions.value(message, at, "text")
    return Value(Field(COLUMNS[default]), "text")


def _check_raters(raters: Sequence[str], out: list[Violation]) -> None:
    if len(raters) > limits.MESSAGE_ELEMENTS:
        out.append(Violation("raters", f"has {len(raters)} elements, the limit is {limits.MESSAGE_ELEMENTS}"))
