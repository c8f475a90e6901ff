"""The words of the text form of queries: text cut into tokens, each with its place; not what they mean together."""

from __future__ import annotations

import json
import math
import re
from typing import Final, Literal, NamedTuple

from plaudit._core.errors import InvalidArgumentError, Violation

TokenKind = Literal["word", "field", "number", "string", "sign", "end"]

TEXT_BYTES: Final = 16 * 1024
"""The longest text of a query, in bytes as UTF-8; a longer query is sent as its tree."""
KEYWORDS: Final = frozenset(("and", "or", "not", "in", "true", "false", "null"))
"""Words with a meaning of their own, in any case."""
FUNCTIONS: Final = frozenset(("exists", "type", "number", "int", "text", "bool"))
"""Words that are functions where a parenthesis follows, in any case."""

# Not blanks, signs or quotes; of the code points from U+00C0, all but the blanks of other scripts. The same class works
# in JavaScript, whose idea of a letter is not Python's.
_LETTER: Final = "A-Za-z_\u00c0-\u1fff\u3001-\ufefe\uff00-\U0010ffff"
BARE_PATH: Final = re.compile(rf"[{_LETTER}](?:[{_LETTER}0-9.-]|\\\.)*")
"""A path that is written without backticks."""
_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_QUOTED_PATH: Final = re.compile(r"`((?:[^`]|``)*)`")
_AFTER_WORD: Final = re.compile(rf"[{_LETTER}0-9.\\-]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_DIGIT: Final = re.compile(r"[1-9]")
_INT64: Final = range(-(2**63), 2**63)
# The longest first.
_SIGNS: Final = ("!=", "<=", ">=", "~*", "^=", "=", "<", ">", "~", "(", ")", "[", "]", ",")
_MISTAKES: Final = {
    "==": "write = for equal",
    "=>": "write >= for greater or equal",
    "=<": "write <= for less or equal",
    "<>": "write != for not equal",
    "=~": "write ~ for contains",
    "&": "write and",
    "|": "write or",
    "!": "write not, or != for not equal",
    "'": "write texts between double quotes",
    "“": "write texts between double quotes, the straight ones",
    "”": "write texts between double quotes, the straight ones",
    "+": "write numbers without a plus sign",
    "^": "write ^= for begins with",
    "$": "write a path that holds a $ between backticks",
    "\\": r"write \. for a dot in a key; write a path with other signs between backticks",
}


class Token(NamedTuple):
    """A word of the text: its kind, its value, and where it begins, counted in characters from 0.

    The value of a keyword or sign is itself, in lower case; of a field its path; of a number or string what it is.
    """

    kind: TokenKind
    value: str | int | float
    at: int
    shown: str


def misplaced(description: str, at: int) -> InvalidArgumentError:
    """The error of what begins at the character `at`, which is counted from 0 here, from 1 there."""
    place = at + 1
    error = InvalidArgumentError.of([Violation("query", f"{description} at character {place}")])
    error.metadata = {**error.metadata, "character": str(place)}
    return error


def cut(text: str) -> list[Token]:
    """The tokens of a query's text; the last one is its end. Raises InvalidArgumentError with the character's place."""
    if surrogate := _SURROGATE.search(text):
        raise misplaced("a lone surrogate", surrogate.start())
    if len(text.encode()) > TEXT_BYTES:
        raise InvalidArgumentError.of(
            [Violation("query", f"is longer than {TEXT_BYTES} bytes as UTF-8; send the tree instead")]
        )
    tokens: list[Token] = []
    at = _after_blanks(text, 0)
    while at < len(text):
        token, end = _token(text, at)
        tokens.append(token)
        at = _after_blanks(text, end)
    tokens.append(Token("end", "", len(text), "the end"))
    return tokens


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return at if blanks is None else blanks.end()


def _token(text: str, at: int) -> tuple[Token, int]:
    """The token that begins at a character which is no blank, and where it ends."""
    if match := BARE_PATH.match(text, at):
        path = match[0]
        if text.startswith("\\", match.end()):
            raise misplaced(_MISTAKES["\\"], match.end())
        kind: TokenKind = "word" if path.lower() in KEYWORDS or path.lower() in FUNCTIONS else "field"
        return Token(kind, path.lower() if kind == "word" else path, at, path), match.end()
    character = text[at]
    if character in "-0123456789":
        return _number(text, at)
    if character == '"':
        return _string(text, at)
    if character == "`":
        match = _QUOTED_PATH.match(text, at)
        if match is None:
            raise misplaced("a path without its second backtick, which begins", at)
        return Token("field", match[1].replace("``", "`"), at, match[0]), match.end()
    for mistake, advice in _MISTAKES.items():
        if text.startswith(mistake, at) and not text.startswith(("!=", "^="), at):
            raise misplaced(advice, at)
    for sign in _SIGNS:
        if text.startswith(sign, at):
            return Token("sign", sign, at, sign), at + len(sign)
    raise misplaced(f"unexpected {_named(character)}", at)


def _number(text: str, at: int) -> tuple[Token, int]:
    match = _NUMBER.match(text, at)
    if match is None or _AFTER_WORD.match(text, match.end()):
        raise misplaced(
            "this is neither a JSON number nor a path (a path of these characters stands between backticks)", at
        )
    shown = match[0]
    if all(sign not in shown for sign in ".eE"):
        if len(shown) > 20 or int(shown) not in _INT64:
            raise misplaced("an integer beyond 64 bits (with .0 at its end it is a double)", at)
        return Token("number", int(shown), at, shown), match.end()
    value = float(shown)
    digits = shown.lower().partition("e")[0]
    if not math.isfinite(value) or (value == 0 and _DIGIT.search(digits)):
        raise misplaced("a number beyond the range of a double", at)
    return Token("number", value, at, shown), match.end()


def _string(text: str, at: int) -> tuple[Token, int]:
    match = _STRING.match(text, at)
    if match is None:
        raise misplaced("a text without its second double quote, which begins", at)
    try:
        value = json.loads(match[0])
    except json.JSONDecodeError:
        raise misplaced("a text with a control character, or a backslash that escapes nothing,", at) from None
    if surrogate := _SURROGATE.search(value):
        raise misplaced(f"a text that holds the lone surrogate U+{ord(surrogate[0]):04X}", at)
    return Token("string", value, at, match[0]), match.end()


def _named(character: str) -> str:
    """A character for an error's text: itself, or its number where it cannot be seen."""
    return character if character.isprintable() and not character.isspace() else f"U+{ord(character):04X}"
