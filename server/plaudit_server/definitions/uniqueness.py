"""The places of records of which there may be one: by which definition there are any, and the key of each; pure."""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any, Final

from plaudit_server.definitions.enforcement import MISSING, value_in
from plaudit_server.definitions.records import Definition, ProjectDefinitions
from plaudit_server.feedback.judging import Description
from plaudit_server.feedback.records import Record


def unique_of(definitions: ProjectDefinitions, feedback_type: str) -> Definition | None:
    """The definition by which there may be one record of a type in each place; None where there may be any number."""
    defined = definitions.of(feedback_type)
    if defined is None:
        return None
    newest = defined.newest.definition
    return newest if newest.enforced and newest.unique is not None else None


def key_of(definition: Definition, record: Record | Description, owner: str) -> str:
    """What stands for the place of a record of this owner, by a definition that has `unique`: 16 bytes in hex, after a
    part of its ref.

    Two records have the same place when they agree in the type, the ref, and what the definition names.
    """
    unique = definition.unique
    assert unique is not None
    # The JSON text of a list, as keys were made from the first; written so, it takes a third of the time.
    rater = f"[{_quoted(owner)}]" if unique.by_rater else "0"
    creator = _encode([record.creator]) if unique.by_creator else "0"
    value = _encode(_text_form(definition, record.payload)) if unique.by_value else "0"
    text = f"[{_quoted(record.feedback_type)},{_quoted(record.ref)},{rater},{creator},{value}]"
    return record.ref[-_NEAR_END:][:_NEAR] + blake2b(text.encode(), digest_size=16).hexdigest()


# A ref mostly ends in a UUID of version 7, whose first 13 characters are its time. With them in front, places that are
# taken one soon after the other are neighbours in the index: each hash by itself has a page of its own, to be written.
_NEAR_END: Final = 36
_NEAR: Final = 13

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_quoted: Final = json.encoder.encode_basestring_ascii


class _Numeral(str):
    """The text of a number, as it was sent."""

    __slots__ = ()


_ZERO_FRACTION: Final = re.compile(r"\.0+\Z")
_as_sent: Final = json.JSONDecoder(parse_int=_Numeral, parse_float=lambda text: _Numeral(_ZERO_FRACTION.sub("", text)))


def _text_form(definition: Definition, text: str) -> list[Any]:
    """The value as the query language reads it as text, so that 5, 5.0 and "5" are one; what has no text, as it is."""
    value = value_in(definition, _as_sent.decode(text))
    if value is MISSING:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if value is None or isinstance(value, str):
        return [value]
    return [json.dumps(value, sort_keys=True), "json"]
