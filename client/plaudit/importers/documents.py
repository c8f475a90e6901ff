"""Rows of JSON inputs, one at a time: of lines, of a list, or of a list that is a member of the document."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from plaudit.importers import UnusableError
from plaudit.importers.exact import decoder, loads
from plaudit.importers.pieces import LINE_BYTES, inputs

_INK: Final = re.compile(r"[^ \t\r\n]")


class Row(NamedTuple):
    """A row with its place; `wrong` says why it cannot be read, and is empty for one that can."""

    place: str
    value: Any
    wrong: str = ""


def rows(path: str, lists: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a file, a folder or `-`: objects that follow each other, the elements of a list, or those of the
    members `lists` of a document.

    Numbers are `exact.Number`. A row has at most 16 MiB. Raises OSError for what cannot be opened.
    """
    for prefix, pieces in inputs(path):
        yield from _Reader(pieces, prefix, lists).rows()


class _Reader:
    """The values of one input; of its text only what is not read yet is in memory."""

    def __init__(self, pieces: Iterator[bytes], prefix: str, lists: Collection[str]) -> None:
        self._pieces = pieces
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._prefix = prefix
        self._lists = lists
        self._text = ""
        self._at = 0
        self._ended = False
        self._count = 0
        self._size = 0

    def rows(self) -> Iterator[Row]:
        try:
            if self._next() == "[":
                yield from self._elements()
            else:
                while self._next():
                    yield from self._document()
                    self._skip(",")
        except UnicodeDecodeError as error:
            yield Row(self._place(), None, f"is not UTF-8: {error.reason}")
        except UnusableError:
            raise
        except (EOFError, OSError) as error:
            yield Row(self._place(), None, f"cannot be read: {error}")
        except ValueError as error:
            # Where one row ends and the next begins is not known any more.
            yield Row(self._place(), None, f"is no whole JSON, and nothing after it was read: {str(error)[:200]}")

    def _document(self) -> Iterator[Row]:
        """A value that stands for itself; or an object that holds a list of rows, which may be longer than a row."""
        if self._next() != "{" or not self._lists:
            yield self._row(self._value())
            return
        whole = self._whole()
        if whole is not None:
            held = next((whole[name] for name in self._lists if isinstance(whole.get(name), list)), None)
            if held is not None:
                self._size = 0  # of each there is no more than all of it has
            for value in [whole] if held is None else held:
                yield self._row(value)
            return
        self._at += 1
        members: dict[str, Any] = {}
        found = False
        while (character := self._next()) != "}":
            if character != '"':
                raise ValueError(f"has no key where {character[:1]!r} stands")
            key = self._value()
            if self._next() != ":":
                raise ValueError("has no colon after a key")
            self._at += 1
            if key in self._lists and self._next() == "[" and not found:
                found = True
                yield from self._elements()
            else:
                members[key] = self._value()
            if self._next() not in (",", "}"):
                raise ValueError("has no comma after a member")
            self._skip(",")
        self._at += 1
        if not found:
            yield self._row(members)

    def _whole(self) -> dict[str, Any] | None:
        """The object that begins here, if all of it has been read."""
        try:
            value, end = decoder.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            return None
        self._size, self._at = end - self._at, end
        return value if isinstance(value, dict) else None

    def _elements(self) -> Iterator[Row]:
        self._at += 1
        while (character := self._next()) != "]":
            if not character:
                raise ValueError("ends within a list")
            yield self._row(self._value())
            if self._next() not in (",", "]"):
                raise ValueError("has no comma between rows")
            self._skip(",")
        self._at += 1

    def _row(self, value: Any) -> Row:
        self._count += 1
        if self._size > LINE_BYTES:
            return Row(f"{self._prefix}row {self._count}", None, f"has more than {LINE_BYTES} bytes")
        return Row(f"{self._prefix}row {self._count}", value)

    def _place(self) -> str:
        return f"{self._prefix}row {self._count + 1}"

    def _value(self) -> Any:
        """The next value; more of the input is read until it is whole."""
        self._next()
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise ValueError("has too many levels") from None
            except ValueError:
                if not self._more():
                    raise
                continue
            # A number at the end of what was read may go on.
            if end == len(self._text) and self._more():
                continue
            self._size, self._at = end - self._at, end
            return value

    def _next(self) -> str:
        """The next character that is no blank; empty at the end of the input."""
        while True:
            found = _INK.search(self._text, self._at)
            if found is not None:
                self._at = found.start()
                return found[0]
            self._at = len(self._text)
            if not self._more():
                return ""

    def _skip(self, character: str) -> None:
        if self._next() == character:
            self._at += 1

    def _more(self) -> bool:
        """Read more of the input, and forget what was read; whether there was more."""
        if self._ended:
            return False
        kept = self._text[self._at :]
        if len(kept) > LINE_BYTES:
            raise ValueError(f"has more than {LINE_BYTES} bytes")
        piece = next(self._pieces, b"")
        self._ended = not piece
        # At least doubled: a long row is tried again only a few times.
        while piece and len(piece) < len(kept):
            more = next(self._pieces, b"")
            if not more:
                break
            piece += more
        self._text, self._at = kept + self._decode(piece, not piece), 0
        return True


def parsed(text: str) -> Any:
    """The value of a JSON text within a row; the text itself where it is none."""
    try:
        return loads(text)
    except ValueError:
        return text
