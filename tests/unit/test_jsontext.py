"""The rules of payload text."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections import OrderedDict
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit._contract import jsontext, limits
from plaudit._contract.jsontext import Breach, InvalidPayloadError


def breaches(text: str) -> list[tuple[str, str]]:
    value, found = jsontext.check(text)
    assert (value is None) == bool(found)
    return [tuple(breach) for breach in found]  # type: ignore[misc]


def nested(levels: int) -> str:
    """An object with the given number of levels in all."""
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        ' \t\r\n{ "a" : 1 } ',
        '{"":""}',
        '{"a":9223372036854775807,"b":-9223372036854775808}',
        '{"a":0,"b":-0,"c":-0.0,"d":0e999999999,"e":0.000e-999999999}',
        '{"a":5e-324,"b":3e-324,"c":2.2250738585072011e-308,"d":1.7976931348623157e308}',
        '{"a":123456789012345678901234567890.5,"b":1e20,"c":0.1000000000000000000000000000000000}',
        '{"a":"9999999999999999999999","b":"1e999","c":"NaN","d":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}',
        r'{"a":"\ud83d\udc4d","b":"\\u0000","c":"\\\\ud800","d":"\u0001\u00e9\n\/\\"}',
        '{"a":"\U0001f44d\x7f\u2028"}',
        '{"a":{"b":1},"c":{"b":1}}',
        '{"a":null,"b":true,"c":false,"d":[]}',
        nested(limits.PAYLOAD_DEPTH),
        '{"a":[' + ",".join(["{}"] * 1000) + "]}",
    ],
)
def test_a_good_payload_passes_and_is_decoded(text: str) -> None:
    assert jsontext.check(text) == (json.loads(text), [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("", "is no JSON text (look at character 1)")]),
        ("{", [("", "is no JSON text (look at character 2)")]),
        ('{"a":1}x', [("", "is no JSON text (look at character 8)")]),
        ("{'a':1}", [("", "is no JSON text (look at character 2)")]),
        ('{"a":01}', [("", "is no JSON text (look at character 7)")]),
        ('{"a":+1}', [("", "is no JSON text (look at character 6)")]),
        ('{"a":"\x00"}', [("", "is no JSON text (look at character 7)")]),
        ('{"a":"\n"}', [("", "is no JSON text (look at character 7)")]),
        ('\ufeff{"a":1}', [("", "is no JSON text (look at character 1)")]),
        ('{"a":1}\u00a0', [("", "is no JSON text (look at character 8)")]),
        ("[1,2]", [("", "must be a JSON object")]),
        ("null", [("", "must be a JSON object")]),
        ('"a"', [("", "must be a JSON object")]),
        ("5", [("", "must be a JSON object")]),
        ('{"a":NaN,"b":[Infinity,-Infinity]}', [(at, "is no JSON number") for at in ("a", "b[0]", "b[1]")]),
        ('{"a":9223372036854775808}', [("a", "is beyond 64 bits")]),
        ('{"a":[-9223372036854775809]}', [("a[0]", "is beyond 64 bits")]),
        ('{"a":1e400,"b":-1e400}', [(at, "is beyond the range of a double") for at in "ab"]),
        ('{"a":1e-400,"b":-0.5E-999}', [(at, "is beyond the range of a double") for at in "ab"]),
        ('{"a":2e-324,"b":1e99999999999999999999}', [(at, "is beyond the range of a double") for at in "ab"]),
        (r'{"a":"\u0000"}', [("a", "holds a NUL character")]),
        (r'{"\u0000":1}', [("\0", "has a key that holds a NUL character")]),
        (r'{"a":["\udc00","\ud800\u0041"]}', [(at, "holds a lone surrogate") for at in ("a[0]", "a[1]")]),
        (r'{"a":"\udc00\ud800"}', [("a", "holds a lone surrogate")]),
        (r'{"\ud800":1}', [("\ufffd", "has a key that holds a lone surrogate")]),
        ('{"a":"\ud800"}', [("", "holds a lone surrogate")]),
        (r'{"a":1,"b":{"c":1,"\u0063":2},"a":1}', [("b.c", "is there twice"), ("a", "is there twice")]),
        ('{"a.b":{"":[NaN]}}', [(r"a\.b.[0]", "is no JSON number")]),
        (nested(limits.PAYLOAD_DEPTH + 1), [("a" + "[0]" * 31, "is nested more than 32 levels deep")]),
        ('{"a":1e999,"b":"\\u0000","c":[1,18446744073709551616],"d":1,"d":2}', [
            ("a", "is beyond the range of a double"),
            ("b", "holds a NUL character"),
            ("c[1]", "is beyond 64 bits"),
            ("d", "is there twice"),
        ]),
    ],
)  # fmt: skip
def test_each_breach_is_told_with_its_path(text: str, expected: list[tuple[str, str]]) -> None:
    assert breaches(text) == expected


def test_objects_count_as_levels_as_arrays_do() -> None:
    levels = limits.PAYLOAD_DEPTH
    assert breaches('{"a":' * levels + "1" + "}" * levels) == []
    [(path, _)] = breaches('{"a":' * (levels + 1) + "1" + "}" * (levels + 1))
    assert path == ".".join(["a"] * levels)


def test_a_payload_may_have_as_many_bytes_as_the_limit() -> None:
    room = limits.PAYLOAD_BYTES - len('{"a":""}')
    assert breaches('{"a":"' + "x" * room + '"}') == []
    assert breaches('{"a":"' + "x" * (room - 2) + 'é"}') == []
    expected = [("", f"has {limits.PAYLOAD_BYTES + 1} bytes, the limit is {limits.PAYLOAD_BYTES}")]
    assert breaches('{"a":"' + "x" * (room + 1) + '"}') == expected
    assert breaches('{"a":"' + "x" * (room - 1) + 'é"}') == expected


def test_a_long_key_is_cut_in_a_path() -> None:
    [(path, _)] = breaches('{"' + "k" * 500 + '":NaN}')
    assert path == "k" * 99 + "…"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[" * 500_000, 1),
        ('{"a":' * 170_000, 1),
        ('{"a":' + "[" * 400_000 + "]" * 400_000 + "}", 1),
        ('{"a":' + "9" * 1_000_000 + "}", 1),
        ('{"a":1' + "0" * 500_000 + "." + "9" * 500_000 + "e-500000}", 0),
        ('{"a":0.' + "0" * 1_000_000 + "1}", 1),
        ('{"a":1e' + "9" * 1_000_000 + "}", 1),
        ("{" + ",".join(['"a":1'] * 170_000) + "}", jsontext.REPORTED_BREACHES),
        ("{" + ",".join([f'"{n:06}":1' for n in range(95_000)]) + "}", 0),
        ('{"a":[' + ",".join(["1e999"] * 170_000) + "]}", jsontext.REPORTED_BREACHES),
        ('{"a":[' + ",".join(["{}"] * 340_000) + "]}", 0),
        ('{"a":"' + "\\u0000" * 170_000 + '"}', 1),
        ('{"a":"' + "\\" * 1_000_000 + '"}', 0),
        ('{"a":"' + "\\ud83d\\ude00" * 80_000 + '"}', 0),
    ],
)
def test_hostile_text_is_judged_in_bounded_time(text: str, count: int) -> None:
    start = time.process_time()
    assert sum(1 for _ in text) == len(text)
    walked = time.process_time()
    assert len(breaches(text)) == count
    # Compared with a plain loop over as much text, in processor time of this process; 0.01 to 11 times that was seen.
    assert time.process_time() - walked < 100 * (walked - start)


# --- against another reading of the rules


def slow_reading(text: str) -> bool:
    """Whether a payload follows the rules, by a plain walk through what json makes of it."""

    def judge(value: Any, depth: int) -> bool:
        match value:
            case ("object", pairs):
                keys = [key for key, _ in pairs]
                return (
                    depth <= 32
                    and len(set(keys)) == len(keys)
                    and all(judge(key, depth) and judge(child, depth + 1) for key, child in pairs)
                )
            case list():
                return depth <= 32 and all(judge(child, depth + 1) for child in value)
            case ("integer", digits):
                return -(2**63) <= int(digits) < 2**63
            case ("number", digits):
                exact = Fraction(digits)
                return math.isfinite(float(digits)) and (exact == 0 or float(digits) != 0)
            case ("constant", _):
                return False
            case str():
                return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
            case _:
                return True

    try:
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: ("object", pairs),
            parse_int=lambda digits: ("integer", digits),
            parse_float=lambda digits: ("number", digits),
            parse_constant=lambda name: ("constant", name),
        )
    except ValueError:
        return False
    return isinstance(value, tuple) and value[0] == "object" and judge(value, 1)


number_text = st.one_of(
    st.integers().map(str),
    st.integers(2**63 - 2, 2**63 + 2).map(str),
    st.integers(-(2**63) - 2, -(2**63) + 2).map(str),
    st.floats(allow_nan=True).map(repr).map(lambda t: {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(t, t)),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
string_text = st.one_of(
    st.text(st.characters(), max_size=5).map(json.dumps),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5).map(lambda t: json.dumps(t, ensure_ascii=False)),
    st.lists(st.sampled_from([r"\ud83d", r"\ude00", r"\u0000", r"\\", "u0000", "ud83d", r"\"", r"\u00e9", "x"])).map(
        lambda parts: '"' + "".join(parts) + '"'
    ),
)
key_text = st.one_of(st.sampled_from(['"a"', '"b"', r'"\u0061"', '"emoji"', r'"emo\u006ai"', '""']), string_text)
blank = st.sampled_from(["", "", "", " ", "\n\t"])


def object_text(children: st.SearchStrategy[str], max_size: int = 4) -> st.SearchStrategy[str]:
    member = st.tuples(blank, key_text, blank, blank, children, blank).map(
        lambda m: f"{m[0]}{m[1]}{m[2]}:{m[3]}{m[4]}{m[5]}"
    )
    return st.tuples(blank, st.lists(member, max_size=max_size)).map(
        lambda parts: "{" + (",".join(parts[1]) or parts[0]) + "}"
    )


value_text = st.recursive(
    st.one_of(number_text, string_text, st.sampled_from(["null", "true", "false"])),
    lambda children: st.one_of(
        st.lists(children, max_size=4).map(lambda items: "[" + ", ".join(items) + "]"), object_text(children)
    ),
    max_leaves=6,
)
payload_text = st.tuples(blank, object_text(value_text), blank).map("".join)


@given(st.one_of(payload_text, value_text, st.text(max_size=20)))
@settings(deadline=None)
def test_check_agrees_with_a_slow_reading(text: str) -> None:
    value, found = jsontext.check(text)
    assert slow_reading(text) == (not found)
    if not found:
        assert value == json.loads(text)


# --- comparing


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ('{"a":1,"b":[1,{"c":null}]}', '{ "b" : [1, {"c": null}], "a": 1 }', True),
        (r'{"a":"\u00e9"}', '{"a":"é"}', True),
        ('{"a":1}', '{"a":1.0}', False),
        ('{"a":1e5}', '{"a":1E5}', False),
        ('{"a":1}', '{"a":"1"}', False),
        ('{"a":1}', '{"a":true}', False),
        ('{"a":0}', '{"a":-0}', False),
        ('{"a":[1,2]}', '{"a":[2,1]}', False),
        ('{"a":1}', '{"a":[1]}', False),
        ('{"a":null}', "{}", False),
        ('{"a":{"x":1.50}}', '{"a":{"x":1.50}}', True),
    ],
)
def test_content_is_compared_as_json_and_numbers_by_their_text(a: str, b: str, same: bool) -> None:
    assert jsontext.same_content(a, b) is same
    assert jsontext.same_content(b, a) is same


# --- splicing


@pytest.mark.parametrize(
    ("text", "members", "expected"),
    [
        ("{}", {"a": "x"}, '{"a":"x"}'),
        (" { } ", {"a": "x", "b": "y"}, ' {"a":"x","b":"y" } '),
        ('{"n":1E5}', {"a": "é\"\n"}, '{"n":1E5,"a":"é\\"\\n"}'),
        ('{ "a" : 5.00 , "n" : 1e+2 }', {"a": "x"}, '{ "a" : "x" , "n" : 1e+2 }'),
        ('{"a":{"a":[1,"}"]},"b":2}\n', {"b": "y", "c": "z"}, '{"a":{"a":[1,"}"]},"b":"y","c":"z"}\n'),
        (r'{"\u0061":"old","x":{"a":1}}', {"a": "new"}, r'{"\u0061":"new","x":{"a":1}}'),
        ('{"b":1,"a":2}', {"a": "x", "b": "y"}, '{"b":"y","a":"x"}'),
        ('{"a":"1"}', {}, '{"a":"1"}'),
    ],
)  # fmt: skip
def test_members_are_set_and_all_else_stays(text: str, members: dict[str, str], expected: str) -> None:
    assert jsontext.set_members(text, members) == expected


@given(
    payload_text.filter(slow_reading),
    st.dictionaries(
        st.sampled_from(["a", "b", "emoji", 'é"\\', ""]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
        max_size=3,
    ),
)
@settings(deadline=None, max_examples=60)
def test_splicing_sets_what_a_dict_would_and_keeps_numbers_and_order(text: str, members: dict[str, str]) -> None:
    spliced = jsontext.set_members(text, members)
    numbers: dict[str, Any] = {"parse_int": str, "parse_float": str}
    before, after = json.loads(text, **numbers), json.loads(spliced, **numbers)
    assert list((before | members).items()) == list(after.items())
    assert jsontext.set_members(spliced, members) == spliced


# --- coding in the client


class Color(IntEnum):
    RED = 7


class Point(NamedTuple):
    x: int
    y: float


class Text(str):
    __slots__ = ()


def test_encoding_keeps_order_and_characters_and_is_compact() -> None:
    payload = {"b": (1, 2.5, None), "a": {"é": "👍"}, "c": [True, Color.RED, Text("t")], "d": Point(2**53 + 1, 5e-324)}
    text = jsontext.encode(payload)
    assert text == '{"b":[1,2.5,null],"a":{"é":"👍"},"c":[true,7,"t"],"d":[9007199254740993,5e-324]}'
    assert jsontext.check(text)[1] == []
    assert jsontext.encode(OrderedDict(z=1, y=2)) == '{"z":1,"y":2}'


def test_everything_that_no_payload_holds_is_told_before_sending() -> None:
    payload: dict[Any, Any] = {
        "nan": math.nan,
        "inf": [0.0, -math.inf],
        "big": {"n": 2**63, "low": -(2**63)},
        "set": {1},
        "bytes": b"x",
        "decimal": Decimal(1),
        5: "key",
        "none": {None: 1},
        "lone": "\ud800",
        "nul": "\0",
        "k\ud800": 1,
    }
    with pytest.raises(InvalidPayloadError) as caught:
        jsontext.encode(payload)
    assert caught.value.breaches == (
        Breach("nan", "is NaN; write None for what is missing"),
        Breach("inf[1]", "is infinite, which no JSON number is"),
        Breach("big.n", "is beyond 64 bits"),
        Breach("set", "is of type set, which JSON cannot hold"),
        Breach("bytes", "is of type bytes, which JSON cannot hold"),
        Breach("decimal", "is of type Decimal, which JSON cannot hold"),
        Breach("", "has a key of type int, keys are text"),
        Breach("none", "has a key of type NoneType, keys are text"),
        Breach("lone", "holds a lone surrogate"),
        Breach("nul", "holds a NUL character"),
        Breach("k\ufffd", "has a key that holds a lone surrogate"),
    )
    assert isinstance(caught.value, ValueError)
    assert "big.n is beyond 64 bits" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).breaches == caught.value.breaches


@pytest.mark.parametrize("payload", [None, 5, "text", [1], {1}])
def test_a_payload_that_is_no_dict_is_refused(payload: object) -> None:
    with pytest.raises(InvalidPayloadError, match="the payload must be a JSON object"):
        jsontext.encode(payload)


def test_a_payload_within_itself_is_refused_as_too_deep() -> None:
    payload: dict[str, Any] = {}
    payload["a"] = payload
    with pytest.raises(InvalidPayloadError, match="32 levels"):
        jsontext.encode(payload)


def test_encoding_refuses_a_payload_that_is_too_large() -> None:
    room = limits.PAYLOAD_BYTES - len('{"a":""}')
    assert len(jsontext.encode({"a": "x" * room})) == limits.PAYLOAD_BYTES
    for text in ("x" * (room + 1), "x" * (room - 1) + "é"):
        with pytest.raises(InvalidPayloadError, match=f"{limits.PAYLOAD_BYTES + 1} bytes"):
            jsontext.encode({"a": text})


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=5)),
    lambda children: st.one_of(
        st.lists(children, max_size=3), st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
@settings(deadline=None)
def test_what_encodes_passes_the_check_and_comes_back(payload: dict[str, Any]) -> None:
    try:
        text = jsontext.encode(payload)
    except InvalidPayloadError:
        return
    assert jsontext.check(text) == (payload, [])
    assert jsontext.decode(text) == payload


def test_decoding_keeps_whole_numbers_exact() -> None:
    assert jsontext.decode('{"a":9007199254740993,"b":5.00}') == {"a": 2**53 + 1, "b": 5.0}
    assert jsontext.decode("") == {}
    assert jsontext.decode(' \t\r\n{ "a" : 1 } ') == {"a": 1}
    for broken in ('{"a":1} x', '{"a":1}{}', "{", "x"):
        with pytest.raises(ValueError, match="line 1"):
            jsontext.decode(broken)
    with pytest.raises(ValueError, match="no JSON object"):
        jsontext.decode("[1]")
