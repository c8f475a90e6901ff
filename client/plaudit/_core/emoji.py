"""The spellings of an emoji: with and without its presentation selectors, and in all skin tones; no table of emoji."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

_SELECTOR: Final = "\ufe0f"
_JOINER: Final = "\u200d"
_TONES: Final = tuple(map(chr, range(0x1F3FB, 0x1F400)))
_HANDSHAKE: Final = "\U0001f91d"

# Code points after which no spelling has a selector: what joins, encloses or colours, letters of flags, tags.
_BARE: Final = frozenset(
    (_JOINER, "\u20e3", *_TONES, *map(chr, range(0x1F1E6, 0x1F200)), *map(chr, range(0xE0020, 0xE0080)))
)

# Unicode's Emoji_Modifier_Base: what may have a skin tone; first and last code point of each range.
_TONED: Final = (
    *((0x261D, 0x261D), (0x26F9, 0x26F9), (0x270A, 0x270D), (0x1F385, 0x1F385), (0x1F3C2, 0x1F3C4)),
    *((0x1F3C7, 0x1F3C7), (0x1F3CA, 0x1F3CC), (0x1F442, 0x1F443), (0x1F446, 0x1F450), (0x1F466, 0x1F469)),
    *((0x1F46B, 0x1F478), (0x1F47C, 0x1F47C), (0x1F481, 0x1F483), (0x1F485, 0x1F487), (0x1F48F, 0x1F48F)),
    *((0x1F491, 0x1F491), (0x1F4AA, 0x1F4AA), (0x1F574, 0x1F575), (0x1F57A, 0x1F57A), (0x1F590, 0x1F590)),
    *((0x1F595, 0x1F596), (0x1F645, 0x1F647), (0x1F64B, 0x1F64F), (0x1F6A3, 0x1F6A3), (0x1F6B4, 0x1F6B6)),
    *((0x1F6C0, 0x1F6C0), (0x1F6CC, 0x1F6CC), (0x1F90C, 0x1F90C), (0x1F90F, 0x1F90F), (0x1F918, 0x1F91F)),
    *((0x1F926, 0x1F926), (0x1F930, 0x1F939), (0x1F93C, 0x1F93E), (0x1F977, 0x1F977), (0x1F9B5, 0x1F9B6)),
    *((0x1F9B8, 0x1F9B9), (0x1F9BB, 0x1F9BB), (0x1F9CD, 0x1F9CF), (0x1F9D1, 0x1F9DD), (0x1FAC3, 0x1FAC5)),
    *((0x1FAF0, 0x1FAFA),),
)

# Two people of different tones are spelled out, those without tones are one code point: without selectors and tones.
_SPELLED_OUT: Final = {
    "💑": "🧑\u200d❤\u200d🧑",
    "💏": "🧑\u200d❤\u200d💋\u200d🧑",
    "🤝": "🫱\u200d🫲",
    "👬": "👨\u200d🤝\u200d👨",
    "👭": "👩\u200d🤝\u200d👩",
    "👫": "👩\u200d🤝\u200d👨",
    "👯": "🧑\u200d🐰\u200d🧑",
    "👯\u200d♂": "👨\u200d🐰\u200d👨",
    "👯\u200d♀": "👩\u200d🐰\u200d👩",
    "🤼": "🧑\u200d\U0001faef\u200d🧑",
    "🤼\u200d♂": "👨\u200d\U0001faef\u200d👨",
    "🤼\u200d♀": "👩\u200d\U0001faef\u200d👩",
}
_SHORT: Final = {long: short for short, long in _SPELLED_OUT.items()}

# No emoji has more places for a selector; for other text, which no reaction has, one spelling is enough.
_MOST_PLACES: Final = 6


def spellings(emoji: str, *, any_tone: bool = False) -> list[str]:
    """The given emoji and its other spellings; with `any_tone` those in every skin tone, and in none, too.

    Some are no emoji: nobody sends these, so they cost a little and find nothing.
    """
    bare = emoji.replace(_SELECTOR, "")
    forms: Iterable[str] = _all_tones(bare) if any_tone else (bare,)
    return list(dict.fromkeys((emoji, *(spelling for form in forms for spelling in _with_selectors(form)))))


def _with_selectors(bare: str) -> Iterator[str]:
    """An emoji without selectors, with one after each code point that may have one, or not."""
    # Nor has one a selector before a skin tone.
    places = [char not in _BARE and bare[index + 1 : index + 2] not in _TONES for index, char in enumerate(bare)]
    if sum(places) > _MOST_PLACES:
        yield bare
        return
    yield from map(
        "".join,
        product(*((char, char + _SELECTOR) if place else (char,) for char, place in zip(bare, places, strict=True))),
    )


def _all_tones(bare: str) -> Iterator[str]:
    """An emoji without selectors, in no skin tone, and with one at each of the one or two places where it may be."""
    plain = "".join(char for char in bare if char not in _TONES)
    plain = _SHORT.get(plain, plain)
    for form in (plain, _SPELLED_OUT.get(plain)):
        if form is None:
            continue
        yield form
        places = [_takes_tone(char) and (char != _HANDSHAKE or form == _HANDSHAKE) for char in form]
        if 1 <= sum(places) <= 2:
            yield from map(
                "".join,
                product(
                    *(
                        [char + tone for tone in _TONES] if place else [char]
                        for char, place in zip(form, places, strict=True)
                    )
                ),
            )


def _takes_tone(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _TONED)
