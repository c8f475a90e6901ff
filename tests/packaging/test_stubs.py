"""The committed stubs are those of the protos: in meaning, byte for byte, and under one name each."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

import plaudit.v1

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "proto/plaudit/v1").glob("*.proto"))
STUBS = ROOT / "client/plaudit/v1"


def _without_json_names(file: FileDescriptorProto) -> FileDescriptorProto:
    """Without JSON names, which follow from the field names: some compilers write them, others do not."""

    def clear(message: DescriptorProto) -> None:
        fields: list[FieldDescriptorProto] = [*message.field, *message.extension]
        for field in fields:
            field.ClearField("json_name")
        for nested in message.nested_type:
            clear(nested)

    for message in file.message_type:
        clear(message)
    return file


@pytest.fixture(scope="module")
def compiled() -> dict[str, FileDescriptorProto]:
    """The protos as read by a compiler other than the one that made the stubs, by file name."""
    buf = Path(sys.executable).with_name("buf")
    image = subprocess.run(
        [buf, "build", "--as-file-descriptor-set", "--exclude-source-info", "-o", "-"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return {file.name: _without_json_names(file) for file in FileDescriptorSet.FromString(image.stdout).file}


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_stub_describes_what_its_proto_says(proto: Path, compiled: dict[str, FileDescriptorProto]) -> None:
    stub = FileDescriptorProto()
    import_module(f"plaudit.v1.{proto.stem}_pb2").DESCRIPTOR.CopyToProto(stub)

    assert _without_json_names(stub) == compiled[f"plaudit/v1/{proto.name}"], "the stubs are stale: run `make proto`"


def test_generator_gives_the_committed_stubs_byte_for_byte(tmp_path: Path) -> None:
    # Comments are part of the stubs too, so equal descriptors are not enough. The pinned generator lives in
    # .venv-proto, because its requirements contradict ours; make creates it if it is not there yet.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    made = subprocess.run(
        ["make", "proto", f"PROTO_OUT={tmp_path}"],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, f"the generator did not run; `make proto` says why:\n{made.stdout}{made.stderr}"

    fresh = {path.name: path.read_bytes() for path in (tmp_path / "plaudit/v1").iterdir()}
    committed = {path.name: path.read_bytes() for path in STUBS.glob("*_pb2*.py*")}
    assert sorted(fresh) == sorted(committed), "the stubs are stale: run `make proto`"
    stale = [name for name in fresh if fresh[name] != committed[name]]
    assert not stale, f"{stale} are stale: run `make proto`"


def test_package_exports_everything_that_the_protos_define(compiled: dict[str, FileDescriptorProto]) -> None:
    defined: set[str] = set()
    for name, file in compiled.items():
        if name.startswith("plaudit/v1/"):
            defined |= {message.name for message in file.message_type} | {enum.name for enum in file.enum_type}
            for service in file.service:
                defined |= {f"{service.name}Stub", f"{service.name}Servicer", f"add_{service.name}Servicer_to_server"}

    assert sorted(plaudit.v1.__all__) == sorted(defined)
