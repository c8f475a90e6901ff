"""The proto of the trial resource, made when the tests run: a service with one method, and its messages."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

_TYPES: Final = {str: FieldDescriptorProto.TYPE_STRING, int: FieldDescriptorProto.TYPE_INT64}


def _message(file: FileDescriptorProto, name: str, **fields: type) -> None:
    message = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(fields.items(), 1):
        message.field.add(name=field, number=number, type=_TYPES[kind], label=FieldDescriptorProto.LABEL_OPTIONAL)


def _made() -> Any:
    file = FileDescriptorProto(name="tests/trial.proto", package="trial.v1", syntax="proto3")
    _message(file, "AddMarkRequest", project=str, text=str)
    _message(file, "AddMarkResponse", revision=int, marks=int)
    method = file.service.add(name="MarkService").method.add(name="AddMark")
    method.input_type, method.output_type = ".trial.v1.AddMarkRequest", ".trial.v1.AddMarkResponse"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(file.name)


FILE: Final = _made()
MARK_SERVICE: Final = FILE.services_by_name["MarkService"]
AddMarkRequest: Final = GetMessageClass(FILE.message_types_by_name["AddMarkRequest"])
AddMarkResponse: Final = GetMessageClass(FILE.message_types_by_name["AddMarkResponse"])
