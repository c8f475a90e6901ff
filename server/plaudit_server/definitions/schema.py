"""JSON Schema 2020-12 as a rule of a value: vetted, so that it is fast for any value, then given to jsonschema-rs.

Nothing is fetched, nothing loops, and what a schema costs is known before it is used. `is_valid` decides. What is wrong
is found by a second validator, in which anyOf and oneOf are written so that no errors of their branches are collected:
an error that holds those of 900 branches for each of 500 elements took 13 s.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

from plaudit._contract.jsontext import Breach, place
from plaudit_server.definitions.patterns import PATTERN_CHARACTERS, pattern_checks

SCHEMA_BYTES: Final = 64 * 1024
SCHEMA_LEVELS: Final = 32
SCHEMA_PARTS: Final = 2_000
SCHEMA_CHECKS: Final = 10_000

VALUE_COST: Final = 10_000_000
"""The most that checking one value may cost: bytes of its payload × checks of the schema."""

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_UNIQUE_CHECKS: Final = 50  # comparing elements costs about as much as this many other checks
# What comparing one number costs at most, in nanoseconds: jsonschema-rs compares an int with a double as fractions.
_EQUAL_COST: Final = 1_500
_ORDER_COST: Final = 400
_MULTIPLE_COST: Final = 1_500
_FAR_COST: Final = 25  # times as much for a multiple of a number with a large exponent
_FAR: Final = re.compile(r"\d[eE]|\d{20}")
_MULTIPLES: Final = (1e-9, 1e15)
# What saying what is wrong costs beside checking once more, at least, and for each character that the library writes.
_EXPLANATION_COST: Final = 20_000
_CHARACTER_SHOWN_COST: Final = 20
_JSON_LEVELS: Final = 128
_UNFOLDED_LEVELS: Final = 100
_INT64: Final = 2**63
# What compiled patterns may take, in bytes: more than any plain one, less than a repeated repetition.
_PATTERN_BYTES: Final = 100_000
_AUTOMATON_BYTES: Final = 1_000_000

_ONE: Final = frozenset(("additionalProperties", "propertyNames", "items", "contains", "not", "if", "then", "else"))
_LISTS: Final = frozenset(("prefixItems", "allOf", "anyOf", "oneOf"))
_MAPS: Final = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs"))
_PLAIN: Final = frozenset(
    (
        "type", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
        "maxLength", "minProperties", "maxProperties", "minContains", "maxContains", "minItems", "maxItems",
    )
)  # fmt: skip
_COUNTED: Final = frozenset(("enum", "required", "dependentRequired", "uniqueItems", "pattern", "$ref"))
# What the library writes into an error, as it writes the value.
_SHOWN: Final = frozenset(("enum", "const", "required", "dependentRequired", "pattern", "type"))
_ANNOTATIONS: Final = frozenset(
    (
        "$schema", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
        "format", "contentEncoding", "contentMediaType",
    )
)  # fmt: skip


class BadSchema(ValueError):
    """A schema that is not accepted: where in it (a JSON pointer), and why."""

    def __init__(self, pointer: str, why: str) -> None:
        super().__init__(f"{pointer or 'the schema'} {why}")
        self.pointer = pointer
        self.why = why


class SchemaSupportMissing(Exception):
    """jsonschema-rs is not installed on this server: `pip install plaudit[schema]`."""


def parse(text: str) -> Any:
    """A schema's text, decoded. Raises BadSchema for what is no JSON object of a sensible size."""
    size = len(text.encode())
    if size > SCHEMA_BYTES:
        raise BadSchema("", f"has {size} bytes, the limit is {SCHEMA_BYTES}")
    try:
        schema = _decoder.decode(text)
    except RecursionError:
        raise BadSchema("", f"is nested more than {_JSON_LEVELS} levels deep") from None
    except json.JSONDecodeError as error:
        raise BadSchema("", f"is no JSON text (look at character {error.pos + 1})") from None
    if not isinstance(schema, dict):
        raise BadSchema("", "must be a JSON object")
    level: list[Any] = [schema]
    for _ in range(_JSON_LEVELS):
        level = [child for container in level for child in _children(container) if isinstance(child, dict | list)]
    if level:
        raise BadSchema("", f"is nested more than {_JSON_LEVELS} levels deep")
    return schema


def _children(container: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return iter(container.values() if isinstance(container, dict) else container)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadSchema("", "has an object with the same key twice")
    return members


def _int(text: str) -> int:
    if len(text) > 20 or not -_INT64 <= int(text) < _INT64:
        raise BadSchema("", "has a number beyond 64 bits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadSchema("", "has a number beyond the range of a double")
    return number


def _constant(name: str) -> None:
    raise BadSchema("", f"holds {name}, which is no JSON")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_int, parse_float=_float, parse_constant=_constant
)


class Vetting:
    """A walk through a schema that refuses what could make it slow, and counts what it costs.

    `checks` is how often, at most, one value is looked at when every `$ref` is followed, and `numbers` what comparing
    one number costs beside that, in nanoseconds. `shown` is how many characters of it an error holds at most.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schemas: dict[str, Any] = {}
        self.patterns: dict[str, str] = {}
        self._refs: dict[str, str] = {}
        self._parts = 0
        self.shown = 0
        self._collect(schema, "", 1)
        for pointer, ref in self._refs.items():
            if ref not in self.schemas:
                raise BadSchema(pointer, "must point to a schema inside this one, as #/$defs/name does")
        self._counted: dict[str, tuple[int, int] | None] = {}
        self.checks, self.numbers = self._count("")

    def _collect(self, schema: Any, pointer: str, level: int) -> None:
        """Note a schema and those in it by their places."""
        self._parts += 1
        if self._parts > SCHEMA_PARTS:
            raise BadSchema("", f"has more than {SCHEMA_PARTS} parts")
        if level > SCHEMA_LEVELS:
            raise BadSchema(pointer, f"is nested more than {SCHEMA_LEVELS} levels deep")
        self.schemas[pointer] = schema
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise BadSchema(pointer, "must be an object, true or false")
        for keyword, value in schema.items():
            at = f"{pointer}/{_escaped(keyword)}"
            if keyword == "$ref":
                self._refs[at] = _target(value, at)
            elif keyword == "pattern":
                self._note_pattern(value, at)
            elif keyword == "patternProperties" and isinstance(value, dict):
                for pattern in value:
                    self._note_pattern(pattern, f"{at}/{_escaped(pattern)}")
            elif keyword == "$schema" and str(value).removesuffix("#") != DIALECT:
                raise BadSchema(at, f"must be {DIALECT}")
            elif keyword == "multipleOf" and not _is_plain_multiple(value):
                raise BadSchema(at, "must be a number from 1e-9 to 1e15")
            elif not _is_known(keyword):
                raise BadSchema(at, "is no keyword that is taken")
            if keyword in _SHOWN:
                self.shown = max(self.shown, len(json.dumps(value)))
            for child, child_at in _subschemas(keyword, value, at):
                self._collect(child, child_at, level + 1)

    def _note_pattern(self, pattern: Any, at: str) -> None:
        if not isinstance(pattern, str):
            raise BadSchema(at, "must be text")
        if len(pattern) > PATTERN_CHARACTERS:
            raise BadSchema(at, f"has more than {PATTERN_CHARACTERS} characters")
        self.patterns[at] = pattern

    def _count(self, pointer: str, level: int = 1) -> tuple[int, int]:
        """The checks of the schema at a place, and the cost of its numbers, with what its references name."""
        if pointer in self._counted:
            counted = self._counted[pointer]
            if counted is None:
                raise BadSchema(pointer, "leads back to itself")
            return counted
        if level > _UNFOLDED_LEVELS:
            raise BadSchema("", f"is nested more than {_UNFOLDED_LEVELS} levels deep when its references unfold")
        self._counted[pointer] = None
        schema = self.schemas[pointer]
        checks, numbers = 1, 0
        for keyword, value in schema.items() if isinstance(schema, dict) else ():
            at = f"{pointer}/{_escaped(keyword)}"
            inner = [child_at for _, child_at in _subschemas(keyword, value, at)]
            parts = [
                self._count(child_at, level + 1) for child_at in ([self._refs[at]] if keyword == "$ref" else inner)
            ]
            if keyword == "$defs":
                continue  # counts where it is referred to; it was looked at for loops
            checks += _own_checks(keyword, value) + sum(part[0] for part in parts)
            numbers += _own_numbers(keyword, value) + sum(part[1] for part in parts)
            if checks > SCHEMA_CHECKS:
                raise BadSchema("", f"needs more than {SCHEMA_CHECKS} checks of a value when its references unfold")
        self._counted[pointer] = checks, numbers
        return checks, numbers


def _is_plain_multiple(value: Any) -> bool:
    return type(value) in (int, float) and _MULTIPLES[0] <= value <= _MULTIPLES[1]


def _is_known(keyword: str) -> bool:
    return any(keyword in keywords for keywords in (_ONE, _LISTS, _MAPS, _PLAIN, _COUNTED, _ANNOTATIONS))


def _subschemas(keyword: str, value: Any, at: str) -> list[tuple[Any, str]]:
    """The schemas that a keyword holds, each with its place; what is of a wrong type is left to the meta schema."""
    if keyword in _ONE:
        return [(value, at)]
    if keyword in _LISTS and isinstance(value, list):
        return [(child, f"{at}/{index}") for index, child in enumerate(value)]
    if keyword in _MAPS and isinstance(value, dict):
        return [(child, f"{at}/{_escaped(name)}") for name, child in value.items()]
    return []


def _own_checks(keyword: str, value: Any) -> int:
    """What a keyword costs by itself, without the schemas in it."""
    if keyword in _ANNOTATIONS:
        return 0
    if keyword == "uniqueItems":
        return _UNIQUE_CHECKS
    if keyword == "pattern":
        return pattern_checks(value)
    if keyword == "patternProperties" and isinstance(value, dict):
        return sum(map(pattern_checks, value))
    if keyword == "dependentRequired" and isinstance(value, dict):
        return sum(1 + len(names) for names in value.values() if isinstance(names, list))
    if keyword in ("enum", "required") and isinstance(value, list):
        return len(value)
    if keyword == "type":
        return 2
    if keyword in ("dependentSchemas", "properties") and isinstance(value, dict):
        return len(value)
    return 1


def _own_numbers(keyword: str, value: Any) -> int:
    """What a keyword's comparisons of one number cost beside a check, in nanoseconds."""
    if keyword in ("enum", "const"):
        return _EQUAL_COST * _numbers_in(value)
    if keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        return _ORDER_COST // (1 if isinstance(value, float) else 4)
    return _MULTIPLE_COST if keyword == "multipleOf" else 0


def _numbers_in(value: Any) -> int:
    """How many numbers a constant holds."""
    if isinstance(value, dict | list):
        return sum(map(_numbers_in, _children(value)))
    return int(type(value) in (int, float))


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _target(ref: Any, at: str) -> str:
    """The place that a `$ref` names: a JSON pointer in the form of `_escaped`."""
    if not isinstance(ref, str) or not ref.startswith("#"):
        raise BadSchema(at, "leads out of the schema: nothing is fetched; put what it names into $defs")
    pointer = unquote(ref[1:])
    if pointer and not pointer.startswith("/"):
        raise BadSchema(at, "must be a JSON pointer, as #/$defs/name is")
    return pointer


class JsonSchema:
    """A compiled schema, which decides about values."""

    def __init__(self, text: str) -> None:
        """Vet and compile a schema. Raises BadSchema, and SchemaSupportMissing."""
        self.text = text
        schema = parse(text)
        vetting = Vetting(schema)
        self.checks = vetting.checks
        self._shown = vetting.shown
        self._numbers = vetting.numbers
        self._multiples = any("multipleOf" in schema for schema in vetting.schemas.values() if isinstance(schema, dict))
        # Of at most 4 bytes each, and each the beginning of a value: a brace ends no less than an object.
        self.cost_per_character = 4 * vetting.checks + (_FAR_COST if self._multiples else 1) * vetting.numbers
        self._schemas = vetting.schemas
        self.takes: Callable[[Any], bool] = _compiled(schema, vetting.patterns).is_valid
        """Whether a value is valid."""

    def cost(self, value: Any, text: str) -> int:
        """Bytes × checks, and what comparing numbers costs; nothing for a value that is refused without a check."""
        size = len(text) if text.isascii() else len(text.encode())
        cost = size * self.checks
        if self._numbers and cost <= VALUE_COST:
            values = 1 + text.count(",") + text.count("[") + text.count("{")
            cost += values * self._numbers * (_FAR_COST if self._multiples and _FAR.search(text) else 1)
        return cost if cost <= VALUE_COST else 0

    def fits(self, text: str) -> bool:
        """Whether a value in a payload of this text is small enough to be checked."""
        return self.cost(None, text) > 0

    def explanation_cost(self, value: Any, text: str) -> int:
        """What `first_breach` costs: the value is checked once more, and the library writes it and what it breaks."""
        return self.cost(value, text) + _EXPLANATION_COST + _CHARACTER_SHOWN_COST * (self._shown + len(text))

    def first_breach(self, value: Any, at: str) -> Breach:
        """The first thing that is wrong with a value that is not valid; costs about as much again as the decision."""
        try:
            self._explainer.validate(value)
        except _library().ValidationError as error:
            return Breach(place(error.instance_path, at), self._description(list(error.schema_path)))
        # The explainer finds it valid: it accepts several branches of oneOf, too.
        return Breach(at, "is valid for more than one branch of a oneOf of the schema")

    @cached_property
    def _explainer(self) -> Any:
        return _compiled(self._explained, {})

    def _description(self, path: list[str | int]) -> str:
        """A broken keyword in words, with what it asks for; never with text of the value."""
        node: Any = self._explained
        owner, keyword = node, ""
        steps = iter(path)
        for step in steps:
            owner, keyword = node, str(step)
            node = node[step]
            if keyword == "$ref":
                node = self._explained["$defs"][node.rpartition("/")[2]]
            elif keyword in _MAPS or keyword in _LISTS:
                inner = next(steps, None)
                node = node if inner is None else node[inner]
        if keyword == "not" and isinstance(owner, dict) and "$comment" in owner:
            return f"is valid for no branch of the schema's {owner['$comment']}"
        if keyword in _PLAIN or keyword in ("enum", "pattern", "required"):
            shown = json.dumps(node, ensure_ascii=False)
            return f"breaks the schema's {keyword}: {shown if len(shown) <= 80 else shown[:79] + '…'}"
        return f"breaks the schema's {keyword}"

    @cached_property
    def _explained(self) -> Any:
        return _Explained(self._schemas).schema


class _Explained:
    """A schema written again so that its first error is found without collecting errors of branches.

    `anyOf` is "not none of", and `oneOf` is taken for it. References point to copies by number, since places move. What
    is under `not` is referred to as well: the library writes it into the error, which took 1 ms for 900 branches.
    """

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas
        self._numbers: dict[str, int] = {}
        self._copies: dict[str, Any] = {}
        self.schema = self._rewritten(schemas[""])
        self.schema["$defs"] = self._copies

    def _rewritten(self, schema: Any) -> Any:
        if not isinstance(schema, dict):
            return schema
        copy: dict[str, Any] = {}
        alternatives = []
        for keyword, value in schema.items():
            if keyword == "$defs" or keyword in _ANNOTATIONS:
                continue
            if keyword == "$ref":
                copy[keyword] = self._copied(_target(value, ""))
            elif keyword in ("anyOf", "oneOf"):
                none = {"allOf": [{"not": self._rewritten(branch)} for branch in value]}
                alternatives.append({"$comment": keyword, "not": self._apart(none)})
            elif keyword == "not":
                copy[keyword] = self._apart(self._rewritten(value))
            elif keyword in _ONE:
                copy[keyword] = self._rewritten(value)
            elif keyword in _LISTS:
                copy[keyword] = [self._rewritten(child) for child in value]
            elif keyword in _MAPS:
                copy[keyword] = {name: self._rewritten(child) for name, child in value.items()}
            else:
                copy[keyword] = value
        if alternatives:
            copy["allOf"] = [*copy.get("allOf", ()), *alternatives]
        return copy

    def _copied(self, pointer: str) -> str:
        number = self._numbers.get(pointer)
        if number is None:
            number = self._numbers[pointer] = len(self._numbers)
            self._copies[f"r{number}"] = self._rewritten(self._schemas[pointer])
        return f"#/$defs/r{number}"

    def _apart(self, schema: Any) -> Any:
        """A reference to a schema, which is put among the copies."""
        name = f"n{len(self._copies)}"
        self._copies[name] = schema
        return {"$ref": f"#/$defs/{name}"}


def _library() -> Any:
    """jsonschema-rs, which need not be installed, and is imported when the first schema is met."""
    try:
        import jsonschema_rs
    except ImportError as error:
        raise SchemaSupportMissing from error
    return jsonschema_rs


def _compiled(schema: Any, patterns: Mapping[str, str]) -> Any:
    """A validator; its library's own words are never shown."""
    library = _library()
    options = {
        "pattern_options": library.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_AUTOMATON_BYTES),
        "offline": True,
        "validate_formats": False,
        "mask": "value",
    }
    validator = library.Draft202012Validator
    try:
        return validator(schema, **options)
    except (ValueError, library.ReferencingError) as error:
        for at, pattern in patterns.items():
            try:
                validator({"pattern": pattern}, **options)
            except ValueError:
                why = "is no regular expression without look-around and back-references, or one that is too large"
                raise BadSchema(at, why) from None
        pointer = "".join(f"/{_escaped(str(step))}" for step in getattr(error, "instance_path", ()))
        raise BadSchema(pointer, "is not as JSON Schema 2020-12 says") from None
