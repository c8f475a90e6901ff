"""An upper bound of what matching a regular expression costs, found from its text; none is run here."""

from __future__ import annotations

import re
from typing import Final

PATTERN_CHARACTERS: Final = 500

_SPREAD: Final = 10  # up to this many places at once, an automaton remembers each set of them as one state
_STATE_CHECKS: Final = 20  # what one place more costs for each byte, when there are too many to be remembered

_TOKEN: Final = re.compile(
    r"(?P<escape>\\(?:[pP]\{[^}]*\}|u\{[^}]*\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c.|.))"
    r"|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|(?P<open>\((?:\?(?:[a-zA-Z-]*:|P?<[^>]*>))?)"
    r"|(?P<repeat>\{(?P<least>\d*)(?P<comma>,)?(?P<most>\d*)\}|[*+?])"
    r"|(?P<other>.)",
    re.DOTALL,
)

# How many states of an automaton over UTF-8 a part takes: text of one byte is one; a class beyond ASCII is a tree.
_ASCII: Final = 1
_ANY: Final = 2
_UNICODE: Final = 3


def pattern_checks(pattern: str) -> int:
    """How many checks of a value a pattern counts for.

    An anchored pattern in which nothing repeats before its end is at one place at a time: 1. Any other may be at as
    many places at once as there are from there to its end; when these are too many, each costs time for every byte.
    """
    total, fixed = _size(pattern)
    spread = total - fixed if pattern.startswith("^") else total
    return 1 + spread if spread <= _SPREAD else _STATE_CHECKS * spread


def _size(pattern: str) -> tuple[int, int]:
    """The states of a pattern with its repetitions unfolded, and how many of them come before anything varies."""
    groups: list[int] = []  # the states before each open group
    total = 0
    last = 0  # the states of the last atom, which a repetition repeats
    fixed: int | None = None
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if token["open"]:
            groups.append(total)
            last = 0
        elif text == ")" and groups:
            last = total - groups.pop()
        elif token["repeat"]:
            least, most = _times(token)
            if fixed is None and least != most:
                fixed = total - last
            extra = max(most, 1) - 1
            total += last * extra
            last += last * extra
        elif text == "|":
            if fixed is None:
                fixed = groups[-1] if groups else 0
            last = 0
        else:
            last = _atom(token)
            total += last
    return total, total if fixed is None else min(fixed, total)


def _times(token: re.Match[str]) -> tuple[int, int]:
    """How often at least and at most an atom is repeated; without an end it is a loop, of no more states."""
    text = token[0]
    if text in "*+":
        return (0 if text == "*" else 1), 2
    if text == "?":
        return 0, 1
    least = int(token["least"] or 0) if len(token["least"]) <= 6 else 10**6
    if not token["comma"]:
        return least, least
    most = int(token["most"][:6]) if token["most"] else least + 1
    return least, most


def _atom(token: re.Match[str]) -> int:
    text = token[0]
    if token["escape"]:
        return _UNICODE if text[1] in "pPWDS" else _ASCII if text.isascii() else _ANY
    if token["set"]:
        if "\\p" in text or "\\P" in text:
            return _UNICODE
        return _ASCII if text.isascii() and not text.startswith("[^") else _ANY
    if text in "^$":
        return 0
    return _ANY if text == "." or not text.isascii() else _ASCII
