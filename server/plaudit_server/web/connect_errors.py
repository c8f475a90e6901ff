"""Errors as Connect writes them: JSON with a code, a message, and details in base64 beside a readable form."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from plaudit_server.web.codecs import json_value
from plaudit_server.web.codes import code_of
from plaudit_server.web.exchange import Outcome


def error_value(outcome: Outcome) -> dict[str, Any]:
    """The error of an outcome as plain values."""
    value: dict[str, Any] = {"code": code_of(outcome.code).name}
    if outcome.message:
        value["message"] = outcome.message
    if outcome.details:
        details = [_detail(detail) for detail in status_pb2.Status.FromString(outcome.details).details]
        if details:
            value["details"] = details
    return value


def _detail(detail: Any) -> dict[str, Any]:
    name = detail.type_url.rpartition("/")[2]
    written = {"type": name, "value": base64.b64encode(detail.value).decode().rstrip("=")}
    try:
        message_class = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
        written["debug"] = json_value(message_class.FromString(detail.value))
    except (KeyError, DecodeError, TypeError):
        pass  # not one of ours: its reader may know it all the same
    return written
