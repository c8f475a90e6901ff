"""What differs between the SQL engines, as data: the placeholders, and a template for each meaning of the language.

A template is SQL with named parts in braces, which the compiler replaces by SQL and placeholders. Unknown is SQL's
null throughout. In the templates, `{json}` is JSON text and `{path}` the placeholder of a path into it; `{value}` is
an expression that may be long: a template that needs it twice gives it a name first. The engines' own dialects are
in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilter:
    """Conditions that every match of a payload value with a literal meets, and that cost less than the exact one.

    They take the value as the engine reads it, in an order in which every number is below every text.
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
    """What an index over a path holds, as an expression that the planner finds again in a filter: no value is bound.

    Each is null or in the wrong place only where a reading of the value as its kind is null; it may hold more.
    """

    json: Callable[[str, Sequence[Sequence[str | int]]], tuple[str, str]]
    """JSON text and a path into it, as SQL: what any of several ways from a column leads to; an integer is a position.
    """
    as_number: str
    """The number as a double, or as the engine reads it."""
    as_text: str
    """The first `{length}` characters of the text."""
    as_bool: str
    """1 or 0."""
    number_slot: str
    bool_slot: str
    least: tuple[float, str] | None
    """What is below every number and below every text; None where a range may be open."""
    greatest: tuple[float, bytes] | None
    exact_numbers: bool
    """Whether a numeral is read as the double that is nearest to it."""
    most_points: int
    """How many values are bound one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One engine's SQL."""

    name: str

    # Placeholders by the kind of value, and values as the driver takes them.
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
    """Whether the text `{value}` is one of the bound `{list}`; a bare column stays one that an index serves."""
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
    """Whether a segment can not be read without knowing what it is a part of, an array or an object."""
    step: str
    """The JSON below `{value}` at a run of segments whose first opens a step: {as_position}, {as_key} are its paths."""
    bind_position: Callable[..., Any]
    """The path of such a run read from a position, or None if it is none; with `first_steps`, and the segments
    before it as a second argument, the path from the payload itself."""

    # A value in a JSON text as each kind; null when it is none.
    json_exists: str
    json_number: str
    json_text: str
    json_bool: str
    json_rank: str
    """Where a payload value sorts: 0 a number, 1 a text or bool, 2 anything else, 3 nothing there.

    `{number}` and `{text}` are the value as each.
    """
    both_numbers: str
    """Whether both `{left}` and `{right}` (the types of two values) are JSON numbers."""
    json_type: str
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
    prefix: str
    """The first `{length}` characters of a text."""

    first_steps: str | None = None
    """The first two steps of a path at once, where that is cheaper: `{json}` is the payload's column."""

    prefilter: Prefilter | None = None

    indexed: Indexed
