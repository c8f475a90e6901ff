"""What the HTTP port knows of an RPC: its path, its types, which sides are streams, whether GET may call it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from plaudit_server.web.codecs import Codec, JsonCodec, ProtobufCodec


@dataclass(frozen=True)
class Method:
    """One RPC; `safe` says that it changes nothing, so that it may be called by GET."""

    descriptor: MethodDescriptor
    service: str
    """The service's name without its package."""
    path: str
    client_streaming: bool
    server_streaming: bool
    safe: bool

    @classmethod
    def of(cls, descriptor: MethodDescriptor) -> Method:
        """The method of a descriptor."""
        service: Any = descriptor.containing_service
        level = descriptor.GetOptions().idempotency_level
        return cls(
            descriptor,
            service.name,
            f"/{service.full_name}/{descriptor.name}",
            descriptor.client_streaming,
            descriptor.server_streaming,
            level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS,
        )

    @property
    def streaming(self) -> bool:
        """Whether a side is a stream."""
        return self.client_streaming or self.server_streaming

    @cached_property
    def codecs(self) -> dict[str, Codec]:
        """The method's codecs by their names."""
        json = JsonCodec(self.descriptor.input_type, self.descriptor.output_type)
        return {"proto": ProtobufCodec(), "json": json}


def methods_of(services: Iterable[ServiceDescriptor]) -> dict[str, Method]:
    """The methods of services by their paths."""
    return {method.path: method for service in services for method in map(Method.of, service.methods)}
