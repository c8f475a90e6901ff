"""The rules for the text of payloads: checking, comparing, splicing and coding JSON without changing a character."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, isinf
from typing import Any, Final, NamedTuple

from plaudit._contract import limits

REPORTED_BREACHES: Final = 100
"""How many breaches of one payload are reported at most; looking for more would only cost time."""

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_INT64_CHARACTERS: Final = len(str(_INT_MIN))
_BEYOND_INT64: Final = "is beyond 64 bits"
_TOO_DEEP: Final = f"is nested more than {limits.PAYLOAD_DEPTH} levels deep"
_INFINITE: Final = "is infinite, which no JSON number is"
# What other libraries have for what is missing, by the names of the types; none of them is imported here.
_MISSING: Final = {"NAType": "NA", "NaTType": "NaT"}
_TIMES: Final = frozenset(("datetime", "date", "Timestamp", "datetime64"))
_KEY_CHARACTERS: Final = 100
_IN_MESSAGE: Final = 5

# Every escape that is allowed. A backslash that is left in the text without them begins a NUL or a lone surrogate.
_GOOD_ESCAPE: Final = re.compile(
    r"\\(?:[^u]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4})"
)
_NONZERO_MANTISSA: Final = re.compile(r"[-0.]*[1-9]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


class Breach(NamedTuple):
    """One broken rule of a payload: where (`a.b[0]`, empty for the payload itself), and what is wrong."""

    path: str
    description: str


class InvalidPayloadError(ValueError):
    """A value that no payload can hold; `breaches` lists the places, at most 100."""

    def __init__(self, breaches: Sequence[Breach]) -> None:
        shown = [f"{breach.path or 'the payload'} {breach.description}" for breach in breaches[:_IN_MESSAGE]]
        more = [f"and {len(breaches) - _IN_MESSAGE} more"] if len(breaches) > _IN_MESSAGE else []
        super().__init__("; ".join(shown + more))
        self.breaches = tuple(breaches)

    def __reduce__(self) -> tuple[type[InvalidPayloadError], tuple[tuple[Breach, ...]]]:
        return type(self), (self.breaches,)


def check(text: str) -> tuple[dict[str, Any] | None, list[Breach]]:
    """Read a payload's text by every rule: the decoded object and no breaches, or None and the breaches.

    It takes a few microseconds for a small payload, and a bounded time for hostile text. A first reading is fast; only
    if it meets something odd, a second one, which keeps track of the place, looks for what is wrong.
    """
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return None, [Breach("", "holds a lone surrogate")]
    if size > limits.PAYLOAD_BYTES:
        return None, [Breach("", f"has {size} bytes, the limit is {limits.PAYLOAD_BYTES}")]
    try:
        # It looks for no blanks around the text, in two thirds of the time.
        value, end = _strict.raw_decode(text) if text.startswith("{") else (None, -1)
        if end != len(text):
            value = _strict.decode(text)
    except (ValueError, RecursionError):
        return _look_closely(text)
    if type(value) is dict and _is_shallow(text, value) and _has_good_escapes(text):
        return value, []
    return _look_closely(text)


def same_content(a: str, b: str) -> bool:
    """Whether two checked payloads are the same JSON: the order of keys does not matter, the text of numbers does."""
    return a == b or bool(_numbers_as_text.decode(a) == _numbers_as_text.decode(b))


def set_members(text: str, members: Mapping[str, str]) -> str:
    """Set top-level members of a checked payload to texts, without changing any other character of it.

    The value of a key that exists is replaced in its place; other keys are appended in the order given.
    """
    return _spliced(text, {key: _quoted(value) for key, value in members.items()})


def merge(text: str, changes: str) -> str:
    """Set the top-level members of a checked payload to those of another one, without changing any other character."""
    return _spliced(text, {key: changes[start:end] for key, start, end in _top_level(changes)})


def _spliced(text: str, members: Mapping[str, str]) -> str:
    """A payload's text with members whose values are JSON texts."""
    missing = dict(members)
    parts: list[str] = []
    copied = 0
    end_of_members = text.index("{") + 1
    is_empty = True
    for key, start, end in _top_level(text):
        is_empty = False
        end_of_members = end
        if key in missing:
            parts += text[copied:start], missing.pop(key)
            copied = end
    parts.append(text[copied:end_of_members])
    for key, value in missing.items():
        parts += "" if is_empty else ",", _quoted(key), ":", value
        is_empty = False
    parts.append(text[end_of_members:])
    return "".join(parts)


def encode(payload: object) -> str:
    """A dict as compact JSON text in its own key order; tuples become arrays.

    Raises InvalidPayloadError for what a payload cannot hold: NaN, keys that are not text, sets, 33 levels, …
    """
    breaches = _breaches_of(payload)
    if breaches:
        raise InvalidPayloadError(breaches)
    text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    size = len(text) if text.isascii() else len(text.encode())
    if size > limits.PAYLOAD_BYTES:
        raise InvalidPayloadError([Breach("", f"has {size} bytes, the limit is {limits.PAYLOAD_BYTES}")])
    return text


def decode(text: str) -> dict[str, Any]:
    """A stored payload as a dict; whole numbers are ints of any size. Empty text is an empty object.

    Raises ValueError when the text is not a JSON object.
    """
    if not text:
        return {}
    try:
        value, end = _scan(text)
    except ValueError:
        end = -1
    if end != len(text):
        value = json.loads(text)  # blanks around it; looking for them each time costs more than decoding
    if not isinstance(value, dict):
        raise ValueError("the payload is no JSON object")
    return value


# Tuples, because JSON makes none: so a number is equal to no text.
_numbers_as_text: Final = json.JSONDecoder(parse_int=lambda text: (text,), parse_float=lambda text: (text,))

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_scan: Final = json.JSONDecoder().raw_decode


def _top_level(text: str) -> Iterator[tuple[str, int, int]]:
    """The members of the object: each key, and where its value starts and ends."""
    at = _blanks(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = _scan(text, at)
        at = _blanks(text, _blanks(text, at) + 1)  # over the colon
        _, end = _scan(text, at)
        yield key, at, end
        at = _blanks(text, end)
        if text[at] == ",":
            at = _blanks(text, at + 1)


def _blanks(text: str, at: int) -> int:
    """Where the blanks that start here end."""
    found = _BLANK.match(text, at)
    assert found is not None
    return found.end()


_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode


# --- the fast reading


class _OddError(ValueError):
    """The fast reading has met something that the close reading has to look at."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _OddError
    return members


def _refuse_constant(name: str) -> None:
    raise _OddError


def _int(text: str) -> int:
    if len(text) < _INT64_CHARACTERS - 1 or not _wrong_with_number(text):
        return int(text)
    raise _OddError


def _float(text: str) -> float:
    value = float(text)
    if (value and isfinite(value)) or not _wrong_with_number(text):
        return value
    raise _OddError


_strict: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_int, parse_float=_float, parse_constant=_refuse_constant
)


def _is_shallow(text: str, value: dict[str, Any]) -> bool:
    """Whether the nesting is within the limit; counting brackets in the text is often enough to know."""
    if text.count("{") + text.count("[") <= limits.PAYLOAD_DEPTH:
        return True
    level: list[Any] = [value]
    for _ in range(limits.PAYLOAD_DEPTH):
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return True
    return False


def _has_good_escapes(text: str) -> bool:
    return "\\u" not in text or "\\" not in _GOOD_ESCAPE.sub("", text)


# --- the close reading: members as pairs, numbers as text


class _Number(str):
    """The text of a number."""

    __slots__ = ()


class _Constant(str):
    """NaN, Infinity or -Infinity."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """The members of an object, including those whose key is there twice."""

    __slots__ = ()


_close: Final = json.JSONDecoder(
    object_pairs_hook=_Members, parse_int=_Number, parse_float=_Number, parse_constant=_Constant
)


def _look_closely(text: str) -> tuple[dict[str, Any] | None, list[Breach]]:
    """Read text that the fast reading did not accept, and list all that is wrong with it."""
    try:
        value = _close.decode(text)
    except RecursionError:
        return None, [Breach("", _TOO_DEEP)]
    except json.JSONDecodeError as error:
        return None, [Breach("", f"is no JSON text (look at character {error.pos + 1})")]
    breaches = _breaches_of(value)
    return (None, breaches) if breaches else (decode(text), [])


def _breaches_of(value: object) -> list[Breach]:
    """The breaches of a payload, as the close reading returned it, or made of a caller's own dicts and lists."""
    inspection = _Inspection()
    if isinstance(value, dict | _Members):
        inspection.look(value)
    else:
        inspection.note("must be a JSON object")
    return inspection.breaches


class _Inspection:
    """A walk through a payload, in its order, that notes what is wrong and where."""

    __slots__ = ("breaches", "steps")

    def __init__(self) -> None:
        self.breaches: list[Breach] = []
        self.steps: list[str | int] = []

    def note(self, description: str) -> None:
        self.breaches.append(Breach(place(self.steps), description))

    def look(self, value: object) -> None:
        """Inspect a value and all that is in it. Recursion is bounded: what is nested too deep is not entered."""
        if isinstance(value, dict | list | tuple):
            if len(self.steps) >= limits.PAYLOAD_DEPTH:
                self.note(_TOO_DEEP)
            elif isinstance(value, _Members):
                self._members(value)
            elif isinstance(value, dict):
                self._members(value.items())
            else:
                self._elements(value)
            return
        wrong = _wrong_with(value)
        if wrong:
            self.note(wrong)

    def _members(self, members: Iterable[tuple[object, object]]) -> None:
        seen: set[object] = set()
        for key, value in members:
            if len(self.breaches) >= REPORTED_BREACHES:
                return
            if not isinstance(key, str):
                self.note(f"has a key of type {type(key).__name__}, keys are text")
                continue
            self.steps.append(key)
            if key in seen:
                self.note("is there twice")
            seen.add(key)
            wrong = _wrong_with_text(key)
            if wrong:
                self.note(f"has a key that {wrong}")
            self.look(value)
            self.steps.pop()

    def _elements(self, elements: Sequence[object]) -> None:
        for position, value in enumerate(elements):
            if len(self.breaches) >= REPORTED_BREACHES:
                return
            self.steps.append(position)
            self.look(value)
            self.steps.pop()


def place(steps: Iterable[str | int], at: str = "") -> str:
    """Where keys and positions lead to, as in a Breach (`a.b[0]`); they start from the place `at`."""
    path = at
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f"{'.' if path else ''}{_shown(step)}"
    return path


def _shown(key: str) -> str:
    """A key as part of a path: dots escaped as in queries, and cut to what a message may show."""
    shown = key if len(key) <= _KEY_CHARACTERS else key[: _KEY_CHARACTERS - 1] + "…"
    return _SURROGATE.sub("\ufffd", shown).replace(".", r"\.")


def _wrong_with(value: object) -> str | None:
    """What is wrong with a value that is not a container."""
    match value:
        case _Number():
            return _wrong_with_number(value)
        case _Constant():
            return "is no JSON number"
        case str():
            return _wrong_with_text(value)
        case None | bool():
            return None
        case int():
            return None if _INT_MIN <= value <= _INT_MAX else _BEYOND_INT64
        case float():
            return (
                None if isfinite(value) else "is NaN; write None for what is missing" if value != value else _INFINITE
            )
    if type(value).__name__ in _MISSING:
        return f"is {_MISSING[type(value).__name__]}; write None for what is missing"
    hint = ""
    if type(value).__name__ in _TIMES:
        hint = ": write it as text"
    elif hasattr(value, "tolist"):
        hint = ": write .tolist()"
    return f"is of type {type(value).__name__}, which JSON cannot hold{hint}"


def _wrong_with_text(text: str) -> str | None:
    if "\0" in text:
        return "holds a NUL character"
    if not text.isascii() and _SURROGATE.search(text):
        return "holds a lone surrogate"
    return None


def _wrong_with_number(text: str) -> str | None:
    if text.lstrip("-").isdigit():
        # int() of very long digits is slow, or raises.
        fits = len(text) <= _INT64_CHARACTERS and _INT_MIN <= int(text) <= _INT_MAX
        return None if fits else _BEYOND_INT64
    value = float(text)
    # A zero that was written with a digit other than 0 has lost its value.
    if isinf(value) or (value == 0 and _NONZERO_MANTISSA.match(text)):
        return "is beyond the range of a double"
    return None
