"""The conformance suite's own messages, made from the .proto files that its Go module brings."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    empty_pb2,
    struct_pb2,
)
from google.protobuf.message_factory import GetMessageClass

ROOT = Path(__file__).parents[3]
# What the suite imports: to import these modules is what makes them known.
IMPORTED = (any_pb2, empty_pb2, struct_pb2)
PACKAGE = "connectrpc.conformance.v1"


def build(protos: Path, into: Path) -> None:
    """Compile the folder of .proto files into a set of descriptors."""
    buf = ROOT / ".venv" / "bin" / "buf"
    subprocess.run([buf, "build", str(protos), "--as-file-descriptor-set", "-o", str(into)], check=True)


class Protos:
    """The messages and the service of a set of descriptors."""

    def __init__(self, descriptors: Path) -> None:
        self._pool = descriptor_pool.Default()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
            if file.package == PACKAGE:
                self._pool.Add(file)

    def message(self, name: str) -> Any:
        """A message's class."""
        return GetMessageClass(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def service(self, name: str) -> Any:
        """A service's descriptor."""
        return self._pool.FindServiceByName(f"{PACKAGE}.{name}")
