"""What differs between the SQL engines, as data: the placeholders, and a template for each meaning of the language.

A template is SQL with named parts in braces, which the compiler replaces by SQL and placeholders. Unknown is always
SQL's null. In the templates, `{json}` is JSON text and `{path}` the placeholder of a path into it; `{value}` is an
expression that may be long: a template that needs it twice gives it a name first. The dialect of each engine is in
the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

MARK: Final = "''"
"""What an index for aggregates holds of a number that it cannot hold exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilter:
    """Conditions that hold for every payload value that matches a literal, and cost less than the exact comparison.

    They read the value as the engine does, in an order in which every number is below every text.
    """

    value: str
    """The value at `{path}` of `{json}`."""
    value_of_steps: str
    """The value at either of two paths, as for `first_steps`."""
    number_between: str
    text_between: str
    may_contain: str
    """Whether a text, or a text in an array, may contain `{needle}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """What an index over a path holds, as an expression that the planner recognizes in a filter: no value is bound.

    An expression is null, or in the wrong place in the order, only where the value read as its kind is null. It may
    also hold values that the language does not read as that kind.
    """

    json: Callable[[str, Sequence[Sequence[str | int]]], tuple[str, str]]
    """JSON text and a path into it, as SQL: the value that any of several ways from a column leads to. In a way, an
    integer is a position."""
    as_number: str
    """The number as a double, or as the engine reads it."""
    as_text: str
    """The first `{length}` characters of the text."""
    as_bool: str
    """1 or 0."""
    exact_number: str | None
    """The exact number, the text MARK where the payload must be read for it, or null.

    None where an engine cannot answer from an index alone.
    """
    number_slot: str
    bool_slot: str
    least: tuple[float, str] | None
    """A value below every number, and one below every text; None where a range may be open."""
    greatest: tuple[float, bytes] | None
    exact_numbers: bool
    """Whether a numeral is read as the double that is closest to it."""
    most_points: int
    """Up to how many values are bound one by one, not as a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One engine's SQL."""

    name: str

    # Placeholders by the kind of value, and values in the form that the driver takes.
    text_slot: str
    number_slot: str
    bool_slot: str
    time_slot: str
    bind_number: Callable[[int | float], Any]
    bind_numbers: Callable[[Sequence[int | float]], Any]
    bind_texts: Callable[[Sequence[str]], Any]

    once: str
    """`{body}`, in which `{name}` stands for `{value}`, computed once."""
    in_texts: str
    """Whether the text `{value}` is in the bound `{list}`; an index can still serve it where the value is a column."""
    in_numbers: str
    """The same of numbers."""
    in_times: str
    """The same of times."""

    # Paths. A payload path is walked in steps, each from one JSON text to the next.
    path_slot: str
    bind_path: Callable[[Sequence[str]], Any]
    whole: str
    """The path of a JSON text to itself, as SQL."""
    get: str
    """The JSON at a path, as JSON text."""
    opens_step: Callable[[str], bool]
    """Whether the meaning of a segment depends on what it is part of: an array or an object."""
    step: str
    """The JSON in `{value}` at segments of which the first opens a step: {as_position} and {as_key} are their paths."""
    bind_position: Callable[..., Any]
    """The path of such segments with the first as a position, or None where it cannot be one. With `first_steps` a
    second argument holds the segments before them, and the path starts at the payload."""

    # A value in a JSON text, read as each kind; null when it cannot be read as that kind.
    json_exists: str
    json_number: str
    json_text: str
    json_bool: str
    json_rank: str
    """Where a payload value sorts: 0 for a number, 1 for a text or bool, 2 for anything else, 3 for no value.

    `{number}` and `{text}` are the value read as each.
    """
    both_numbers: str
    """Whether both `{left}` and `{right}` (the types of two values) are JSON numbers."""
    json_type: str
    json_kind: str
    """The kind of a value in the words of the language, null when there is no value."""
    is_array: str
    """Whether the value is an array."""
    any_element: str
    """Whether a text element of the array passes `{test}`, in which {element} is that text."""
    element: str

    # One value in a scorer_* map; its kind is known.
    map_exists: str
    map_number: str
    map_text: str
    map_number_text: str

    # Casts of values that have a kind.
    text_number: str
    text_bool: str
    number_integer: str
    number_text: str
    number_bool: str
    bool_text: str
    fold: str
    contains: str
    starts_with: str
    """Whether the text `{value}` begins with the text `{prefix}`, which is a placeholder or a name."""
    prefix: str
    """The first `{length}` characters of a text."""

    without_index: str = "{test}"
    """`{test}` in a form for which no index is looked through."""

    first_steps: str | None = None
    """The first two steps of a path at once, where that is cheaper: `{json}` is the payload's column."""

    prefilter: Prefilter | None = None

    indexed: Indexed
