"""The typed kinds of value that a definition can ask for, each of which judges one decoded JSON value; pure."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, ClassVar, Final, Protocol

from plaudit._contract import limits
from plaudit._contract.jsontext import REPORTED_BREACHES, Breach
from plaudit._contract.refs import InvalidRefError, parse_ref

PARSE_COST: Final = 2_000
"""What reading one ref costs, in the unit of `Rule.cost`."""

SPAN_COST: Final = 1_000
"""What checking one span costs, in the unit of `Rule.cost`."""


class Rule(Protocol):
    """What a value must be. Descriptions never hold text of the value: they are the same for all that breaks a rule."""

    @property
    def cost_per_character(self) -> int:
        """An upper bound of `cost` for each character of a payload: 0 where checking any value costs almost nothing."""

    def takes(self, value: Any) -> bool:
        """Whether the value of a new record breaks nothing."""

    def cost(self, value: Any, text: str) -> int:
        """An upper bound of what checking a value costs, roughly in nanoseconds; `text` is its payload."""

    def look(self, value: Any, at: str, out: list[Breach], stored: bool = False) -> None:
        """Append what is wrong with a value, whose path is `at`; with `stored`, of a record that is stored already."""


class _Looked(ABC):
    """A rule that accepts every value in which `look` finds nothing wrong."""

    __slots__ = ()

    def takes(self, value: Any) -> bool:
        """Whether the value of a new record breaks nothing."""
        out: list[Breach] = []
        self.look(value, "", out)
        return not out

    @abstractmethod
    def look(self, value: Any, at: str, out: list[Breach], stored: bool = False) -> None:
        """Append what is wrong with a value."""


class _Cheap(_Looked):
    """A rule that costs almost nothing, compared with reading the payload."""

    __slots__ = ()

    cost_per_character: ClassVar[int] = 0

    def cost(self, value: Any, text: str) -> int:
        """Almost nothing."""
        return 0


# Enough digits for the largest double in steps of the smallest: every result is exact.
_EXACT: Final = Context(prec=1_000, traps=[])


def decimal(number: float) -> Decimal:
    """An int as it is, any other number as the shortest decimal of its closest double."""
    return Decimal(number) if isinstance(number, int) else Decimal(repr(number))


def _shown(number: float) -> str:
    """A number as people write it: 0.1, and 5 for 5.0."""
    return repr(number).removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Numeric(_Cheap):
    """A number from `low` to `high`, in steps of `step` from `low` (else 0), where `step` is not 0."""

    low: float = -math.inf
    high: float = math.inf
    step: float = 0.0
    integer: bool = False

    def takes(self, value: Any) -> bool:
        """Whether a value breaks nothing."""
        if type(value) is float and not self.step and not self.integer:
            return self.low <= value <= self.high
        return _Looked.takes(self, value)

    def look(self, value: Any, at: str, out: list[Breach], stored: bool = False) -> None:
        """Append what is wrong with a value."""
        kind = type(value)
        if kind is float:
            # The order of doubles is that of their shortest decimals.
            above, below = value >= self.low, value <= self.high
        elif kind is int:
            above, below = self._compare(value)
        else:
            out.append(Breach(at, "must be a number"))
            return
        if not above:
            out.append(Breach(at, f"must be at least {_shown(self.low)}"))
        elif not below:
            out.append(Breach(at, f"must be at most {_shown(self.high)}"))
        if self.integer and kind is float and not value.is_integer():
            out.append(Breach(at, "must be a whole number"))
        if self.step and not self.is_step(value):
            start = "0" if self.low == -math.inf else f"{_shown(self.low)}"
            out.append(Breach(at, f"must be {start} plus a whole number of steps of {_shown(self.step)}"))

    def _compare(self, value: int) -> tuple[bool, bool]:
        """Whether an int is not below `low`, and not above `high`."""
        if -(2**53) <= value <= 2**53:
            return value >= self.low, value <= self.high
        return Decimal(value) >= decimal(self.low), Decimal(value) <= decimal(self.high)

    def is_step(self, value: float) -> bool:
        """Whether a number is a whole number of steps away from where they start."""
        distance = decimal(value)
        if self.low != -math.inf:
            distance = _EXACT.subtract(distance, decimal(self.low))
        return not _EXACT.remainder(distance, decimal(self.step))


@dataclass(frozen=True, slots=True)
class Categories:
    """The texts that may be chosen: `usable` for new records, in order, and `retired` in stored ones only."""

    usable: Mapping[str, None]
    retired: frozenset[str] = frozenset()

    def wrong_with(self, value: Any, stored: bool) -> str | None:
        """What is wrong with a value as the text of one category; None if nothing is."""
        if type(value) is str:
            if value in self.usable or (stored and value in self.retired):
                return None
            if value in self.retired:
                return "is a retired category"
        return f"must be {self.shown}"

    @property
    def shown(self) -> str:
        """The first of the texts, for people."""
        first = [f'"{text if len(text) <= 20 else text[:19] + "…"}"' for text in list(self.usable)[:4]]
        more = [f"{len(self.usable) - 4} more"] if len(self.usable) > 4 else []
        return f"one of {', '.join(first + more)}" if len(self.usable) != 1 else first[0]


@dataclass(frozen=True, slots=True)
class Categorical(_Cheap):
    """The text of one category; where several may be chosen, always a list of `least` to `most` of them."""

    categories: Categories
    least: int = 1
    most: int = 1

    def takes(self, value: Any) -> bool:
        """Whether a value breaks nothing."""
        if self.most == 1:
            return type(value) is str and value in self.categories.usable
        return _Looked.takes(self, value)

    def look(self, value: Any, at: str, out: list[Breach], stored: bool = False) -> None:
        """Append what is wrong with a value."""
        if self.most == 1:
            wrong = self.categories.wrong_with(value, stored)
            if wrong:
                out.append(Breach(at, wrong))
            return
        if type(value) is not list or not self.least <= len(value) <= self.most:
            out.append(Breach(at, f"must be a list of {_span(self.least, self.most)} categories"))
            return
        seen = set()
        for index, choice in enumerate(value):
            wrong = self.categories.wrong_with(choice, stored) or ("is there twice" if choice in seen else None)
            if wrong:
                out.append(Breach(f"{at}[{index}]", wrong))
            else:
                seen.add(choice)


@dataclass(frozen=True, slots=True)
class Boolean(_Cheap):
    """True or false."""

    def takes(self, value: Any) -> bool:
        """Whether a value breaks nothing."""
        return type(value) is bool

    def look(self, value: Any, at: str, out: list[Breach], stored: bool = False) -> None:
        """Append what is wrong with a value."""
        if type(value) is not bool:
            out.append(Breach(at, "must be true or false"))


@dataclass(frozen=True, slots=True)
class Text(_Cheap):
    """Text of `least` to `most` code points, not trimmed."""

    least: int
    most: int

    def takes(self, value: Any) -> bool:
        """Whether a value breaks nothing."""
        return type(value) is str and self.least <= len(value) <= self.most

    def look(self, value: Any, at: str, out: list[Breach], stored: bool = False) -> None:
        """Append what is wrong with a value."""
        if type(value) is not str or not self.least <= len(value) <= self.most:
            out.append(Breach(at, f"must be text of {_span(self.least, self.most)} characters"))


@dataclass(frozen=True, slots=True)
class Ranking(_Looked):
    """A list of ranks, best first; a rank is a list of one ref (with `ties` of several); each ref occurs once."""

    cost_per_character: ClassVar[int] = PARSE_COST  # a ref, or what is in place of one, is at least a character

    least: int
    most: int
    ties: bool

    def cost(self, value: Any, text: str) -> int:
        """What reading the refs costs."""
        return PARSE_COST * self._refs(value) if type(value) is list else 0

    @staticmethod
    def _refs(ranks: list[Any]) -> int:
        return sum([len(rank) for rank in ranks if type(rank) is list])

    def look(self, value: Any, at: str, out: list[Breach], stored: bool = False) -> None:
        """Append what is wrong with a value."""
        if type(value) is not list:
            out.append(Breach(at, "must be a list of ranks, each a list of refs"))
            return
        refs = self._refs(value)
        if refs > self.most:
            out.append(Breach(at, f"must hold {_span(self.least, self.most)} refs in all"))
            return
        seen: set[str] = set()
        first = len(out)
        for index, rank in enumerate(value):
            if len(out) - first >= REPORTED_BREACHES:
                return
            if type(rank) is not list or not rank or (len(rank) > 1 and not self.ties):
                out.append(Breach(f"{at}[{index}]", f"must be a list of one ref{' or more' if self.ties else ''}"))
                continue
            for position, ref in enumerate(rank):
                wrong = _wrong_with_ref(ref) or ("is there twice" if ref in seen else None)
                if wrong:
                    out.append(Breach(f"{at}[{index}][{position}]", wrong))
                else:
                    seen.add(ref)
        if refs < self.least and len(out) == first:
            out.append(Breach(at, f"must hold {_span(self.least, self.most)} refs in all"))


def _wrong_with_ref(ref: Any) -> str | None:
    if type(ref) is not str:
        return "must be a ref"
    if len(ref) > limits.REF_BYTES or len(ref.encode()) > limits.REF_BYTES:
        return f"has more than {limits.REF_BYTES} bytes"
    try:
        parse_ref(ref)
    except InvalidRefError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True)
class Spans(_Looked):
    """A list of objects `start`, `end` (not included), `label`, optional `text`: in code points, ordered by `start`."""

    cost_per_character: ClassVar[int] = SPAN_COST

    labels: Categories
    most: int
    overlap: bool

    def cost(self, value: Any, text: str) -> int:
        """What checking the spans costs."""
        return SPAN_COST * min(len(value), self.most) if type(value) is list else 0

    def look(self, value: Any, at: str, out: list[Breach], stored: bool = False) -> None:
        """Append what is wrong with a value."""
        if type(value) is not list or len(value) > self.most:
            out.append(Breach(at, f"must be a list of at most {self.most} spans"))
            return
        first = len(out)
        before, taken = 0, 0  # the last start, and where the text is free again
        for index, span in enumerate(value):
            if len(out) - first >= REPORTED_BREACHES:
                return
            here = f"{at}[{index}]"
            if type(span) is not dict:
                out.append(Breach(here, "must be an object with start, end and label"))
                continue
            start, end = _whole(span.get("start")), _whole(span.get("end"))
            if start is None or start < 0:
                out.append(Breach(f"{here}.start", "must be a whole number from 0"))
            elif start < before:
                out.append(Breach(f"{here}.start", "must not be before that of the span before it"))
            elif start < taken and not self.overlap:
                out.append(Breach(f"{here}.start", "must not be inside the span before it"))
            if end is None or (start is not None and end <= start):
                out.append(Breach(f"{here}.end", "must be a whole number above start"))
            wrong = self.labels.wrong_with(span.get("label"), stored)
            if wrong:
                out.append(Breach(f"{here}.label", wrong))
            if "text" in span:
                text = span["text"]
                if type(text) is not str or (start is not None and end is not None and len(text) != end - start):
                    out.append(Breach(f"{here}.text", "must be text of as many characters as the span has"))
            if start is not None and end is not None:
                before, taken = max(before, start), max(taken, end)


def _whole(value: Any) -> int | None:
    """A whole number as an int; None for everything else."""
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() else None


def _span(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"
