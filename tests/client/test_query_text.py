"""The text form of queries: exact both ways, and an error that says where it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit import InvalidArgumentError, Query, field, v1
from tests.shared import worked_cases
from tests.strategies import EXAMPLES, operations

with (Path(__file__).parents[1] / "conformance" / "query_text.jsonl").open(encoding="utf-8") as lines:
    PAIRS = [json.loads(line) for line in lines]
TREES = [pair for pair in PAIRS if "tree" in pair]
REFUSED = [pair for pair in PAIRS if "tree" not in pair]


def typed(tree: Any) -> str:
    """A tree as text in which 1, 1.0 and true, and 0.0 and -0.0, are different."""
    return repr(tree)


def without_lists_of_one(tree: Any) -> Any:
    """The tree with each $and and $or of one member replaced by the member, as the text form has it."""
    match tree:
        case {"$and": [only]} | {"$or": [only]}:
            return without_lists_of_one(only)
        case dict():
            return {key: without_lists_of_one(value) for key, value in tree.items()}
        case list():
            return [without_lists_of_one(value) for value in tree]
        case _:
            return tree


def converts_a_conversion(tree: Any) -> bool:
    """Whether a conversion stands in a conversion, which only a list of one between them can do."""
    match tree:
        case {"$convert": {"input": {"$convert": _}}}:
            return True
        case dict():
            return any(map(converts_a_conversion, tree.values()))
        case list():
            return any(map(converts_a_conversion, tree))
        case _:
            return False


def test_the_file_has_pairs_and_refusals() -> None:
    assert len(TREES) > 80
    assert len(REFUSED) > 50
    assert len({pair["text"] for pair in PAIRS}) == len(PAIRS)
    operators = json.dumps([pair["tree"] for pair in TREES])
    assert all(f'"${name}"' in operators for name in ("and", "or", "not", "in", "contains", "type", "startsWith"))
    assert {kind.name for kind in v1.Expression.DESCRIPTOR.fields} == {
        "literal",
        "field",
        "convert",
        "all_of",
        "any_of",
        "negation",
        "comparison",
        "membership",
        "contains",
        "type_of",
        "starts_with",
    }, "a new operator needs its spelling in query_text, and pairs"


@pytest.mark.parametrize("pair", TREES, ids=lambda pair: pair["text"][:40])
def test_a_text_and_its_tree(pair: dict[str, Any]) -> None:
    canonical = pair.get("canonical", pair["text"])
    query = Query.from_text(pair["text"])
    assert typed(query.to_dict()) == typed(pair["tree"])
    assert MessageToDict(query.to_proto()) == pair["message"]
    assert str(query) == str(Query.from_dict(pair["tree"])) == canonical
    assert typed(Query.from_text(canonical).to_dict()) == typed(pair["tree"])


@pytest.mark.parametrize("pair", REFUSED, ids=lambda pair: pair["text"][:40])
def test_a_text_that_is_refused_at_its_place(pair: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        Query.from_text(pair["text"])
    [violation] = raised.value.violations
    assert violation.field == "query"
    assert violation.description.endswith(f" at character {pair['character']}")
    assert violation.description.startswith(pair.get("error", ""))
    assert raised.value.metadata["character"] == str(pair["character"])


def test_every_query_of_the_worked_cases_is_read_from_its_text() -> None:
    read = 0
    for case in worked_cases():
        try:
            query = Query.from_dict(case["when"]["query"])
        except (KeyError, TypeError, InvalidArgumentError):
            continue
        assert typed(Query.from_text(str(query)).to_dict()) == typed(without_lists_of_one(query.to_dict()))
        read += 1
    assert read > 60 or not worked_cases()


@settings(max_examples=EXAMPLES, deadline=None)
@given(operations(3))
def test_any_query_is_read_from_its_text(tree: dict[str, Any]) -> None:
    tree = without_lists_of_one({"$expr": tree})
    if converts_a_conversion(tree):
        return
    query = Query.from_dict(tree)
    assert typed(Query.from_text(str(query)).to_dict()) == typed(query.to_dict())


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text() | st.text('ab1.-"`\\()[],=<>~^*! andortype\n'))
def test_any_path_and_any_text_are_read_from_their_text(text: str) -> None:
    query = Query(field(text) == text)
    assert Query.from_text(str(query)) == query


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1) | st.booleans())
def test_any_number_is_read_from_its_text(value: float) -> None:
    query = Query(field("a") == value)
    assert typed(Query.from_text(str(query)).to_dict()) == typed(query.to_dict())


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text('ab1.-"`\\()[],=<>~^*! andornotexistype\n€') | st.text())
def test_what_is_no_query_is_an_error_with_its_place(text: str) -> None:
    place = 0
    try:
        query = Query.from_text(text)
    except InvalidArgumentError as error:
        place = int(error.metadata["character"])
    else:
        assert Query.from_text(str(query)) == query
    assert 0 <= place <= len(text) + 1


def test_limits() -> None:
    longest = f'a = "{"é" * ((16 * 1024 - 6) // 2)}"'
    assert len(longest.encode()) == 16 * 1024
    assert Query.from_text(longest) == Query(field("a") == longest[5:-1])
    with pytest.raises(InvalidArgumentError, match="longer than 16384 bytes"):
        Query.from_text(f"{longest} ")
    with pytest.raises(InvalidArgumentError, match="nested deeper"):
        Query.from_text("(" * 15_000)
    with pytest.raises(InvalidArgumentError, match="nested deeper"):
        Query.from_text("not " * 60 + "a = 1")
    with pytest.raises(TypeError, match="is a str, not a dict"):
        Query.from_text({})  # type: ignore[arg-type]
