"""How a message is written on the wire: protobuf, which passes as it is, or JSON; one codec for each method."""

from __future__ import annotations

import json
import re
from typing import Any, Final, Protocol

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from plaudit_server.web.faults import BadRequest
from plaudit_server.web.json_writer import JsonWriter

JSON_PAGE_ROWS: Final = 100
"""The size of a page that asks for none, when it is written as JSON: a page of 1,000 costs four times its protobuf."""

# An object of two bytes costs json_format 10 µs, so that a request of 3 MiB could take ten seconds. A batch of 1,000
# records with forty values each has fewer than these.
_JSON_ELEMENTS: Final = 40_000
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_ELEMENT: Final = re.compile(rb"[{\[,]")
_WHY_CHARACTERS: Final = 200

_writer: Final = JsonWriter()


class Codec(Protocol):
    """Between a method's protobuf and what its caller writes and reads."""

    name: str
    """As in content types: `proto` or `json`."""

    def request(self, data: bytes) -> bytes:
        """A request as protobuf. Raises WebFault for one that cannot be read."""
        ...

    def response(self, message: bytes) -> bytes:
        """An answer, given as protobuf, as its caller reads it."""
        ...


class ProtobufCodec:
    """Passes bytes on; they are parsed where those of gRPC are."""

    name = "proto"

    def request(self, data: bytes) -> bytes:
        """The bytes themselves."""
        return data

    def response(self, message: bytes) -> bytes:
        """The bytes themselves."""
        return message


class JsonCodec:
    """Reads and writes the JSON form of protobuf; an unknown field is refused, and named."""

    name = "json"

    def __init__(self, request: Descriptor, response: Descriptor) -> None:
        self._request = GetMessageClass(request)
        self._response = response
        page_size = request.fields_by_name.get("page_size")
        self._paged = page_size is not None and "page_token" in request.fields_by_name

    def request(self, data: bytes) -> bytes:
        """The JSON text as protobuf. Raises BadRequest."""
        _check_elements(data)
        if data and not data.lstrip(b" \t\r\n").startswith(b"{"):
            raise BadRequest("", f"the JSON is not a {self._request.DESCRIPTOR.full_name}: it is no object")
        message: Any = self._request()
        try:
            json_format.Parse(data or b"{}", message)
        except json_format.ParseError as error:
            raise BadRequest("", f"the JSON is not a {self._request.DESCRIPTOR.full_name}: {_why(error)}") from None
        except (ValueError, TypeError, RecursionError, OverflowError, AttributeError, DecodeError):
            raise BadRequest("", f"the JSON is not a {self._request.DESCRIPTOR.full_name}") from None
        if self._paged and message.page_size == 0:
            message.page_size = JSON_PAGE_ROWS
        encoded: bytes = message.SerializeToString()
        return encoded

    def response(self, message: bytes) -> bytes:
        """The message as JSON text."""
        return _writer.encoded(self._response, message)


def json_value(message: Message) -> Any:
    """A message of any type in its JSON form, as plain values. Raises TypeError for an Any of a type not known here."""
    return json.loads(_writer.text(message))


def compact_json(value: Any) -> bytes:
    """Plain values as JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _check_elements(data: bytes) -> None:
    """Refuse a text that would become very many objects, before any is made."""
    if len(data) > _JSON_ELEMENTS:
        count = len(_ELEMENT.findall(_TEXT.sub(b"", data)))
        if count > _JSON_ELEMENTS:
            raise BadRequest(
                "", f"the JSON has {count} elements, the limit is {_JSON_ELEMENTS}; send less in one request"
            )


def _why(error: Exception) -> str:
    """What json_format found, on one line: it names the field, and quotes what was sent."""
    text = " ".join(str(error).split())
    shown = text if len(text) <= _WHY_CHARACTERS else text[: _WHY_CHARACTERS - 1] + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in shown)
