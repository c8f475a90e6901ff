"""Functions of one text that a store registers with its engine, for what the engine itself does not do exactly."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, get_args

from plaudit_server.query.refparts import RefPartName, ref_part

_FIRST_INTEGER: Final = -(2**63)
_LAST_INTEGER: Final = 2**63 - 1


def fold(text: str | None) -> str | None:
    """Unicode lower case by code point, with İ as i and ς as σ; null stays null."""
    if text is None:
        return None
    # Python's lower() writes İ as two code points, and a Σ at the end of a word as ς.
    return text.replace("İ", "i").lower().replace("ς", "σ")


def number(text: str | None) -> int | float | None:
    """A numeral by its exact value: an integer where it is whole and within 64 bits, else the closest double.

    SQLite's own conversion is off by a bit for one long numeral in many millions. Raises ValueError for other text.
    """
    if text is None:
        return None
    # A sign and 40 digits are more than 64 bits; longer texts would only cost time.
    if len(text) <= 41 and text.lstrip("+-").isdigit() and _FIRST_INTEGER <= (integer := int(text)) <= _LAST_INTEGER:
        return integer
    double = float(text)
    is_whole = double.is_integer() and _FIRST_INTEGER <= double <= _LAST_INTEGER
    return int(double) if is_whole else double


def entries(text: str | None) -> str | None:
    """The texts of the texts, numbers and bools in a JSON array, each once, as a JSON array; null stays null."""
    if text is None:
        return None
    held = json.loads(text, parse_int=str, parse_float=_number_text)
    texts = [json.dumps(entry) if isinstance(entry, bool) else entry for entry in held]
    return json.dumps(list(dict.fromkeys(entry for entry in texts if isinstance(entry, str))))


def _number_text(numeral: str) -> str:
    """A number as it was sent, but without a fraction of zeros."""
    return re.sub(r"\.0+\Z", "", numeral)


def _ref_part(part: RefPartName) -> Callable[[str | None], str | None]:
    return lambda uri: None if uri is None else ref_part(uri, part)


FUNCTIONS: Final[Mapping[str, Callable[..., str | int | float | None]]] = {
    "plaudit_fold": fold,
    "plaudit_number": number,
    "plaudit_entries": entries,
    **{f"plaudit_ref_{part}": _ref_part(part) for part in get_args(RefPartName)},
}
"""The functions by their names in SQL; each is deterministic and has one argument."""
