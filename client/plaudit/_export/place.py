"""Where an export goes: a file of its own, in a directory, or behind an address of pyarrow.fs; whole, or not at all."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

FORMS: Final = ("jsonl", "csv", "parquet")
"""The forms, which are also the ends of files' names."""

_URI: Final = re.compile(r"[a-z][a-z0-9+.-]+://")
_SUFFIXES: Final = (".gz", ".zst")


@dataclass(frozen=True, slots=True)
class Place:
    """A file to write, and the files beside it while it is not finished."""

    path: Path
    """The file, or for an address the local file that is copied there."""
    form: str
    compression: str = ""
    uri: str = ""

    @classmethod
    def of(cls, to: str, project: str, form: str | None) -> Place:
        """The place that is meant by a path or an address. Raises ValueError for a form that its name contradicts."""
        if _URI.match(to) and not to.startswith("file://"):
            name = re.sub(r"[^A-Za-z0-9._-]", "_", to)
            place = cls._of_file(Path(f".{name}"), form)
            return cls(place.path, place.form, place.compression, to)
        path = Path(to.removeprefix("file://"))
        if path.is_dir() or to.endswith("/"):
            path = path / f"{project.replace('/', '_')}.{form or 'jsonl'}"
        return cls._of_file(path, form)

    @classmethod
    def _of_file(cls, path: Path, form: str | None) -> Place:
        name, compression = path.name, ""
        for suffix in _SUFFIXES:
            if name.endswith(suffix):
                name, compression = name.removesuffix(suffix), suffix
        named = Path(name).suffix.removeprefix(".")
        form = form or (named if named in FORMS else "jsonl")
        if compression and form == "parquet":
            raise ValueError("a Parquet file is compressed inside: leave the suffix out")
        return cls(path, form, compression)

    @property
    def part(self) -> Path:
        """The records that were read so far."""
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def state(self) -> Path:
        """What the part belongs to."""
        return self.path.with_name(f"{self.path.name}.state")

    @property
    def changed(self) -> Path:
        """What changed while the part was read, where another process finishes the export."""
        return self.path.with_name(f"{self.path.name}.changed")

    @property
    def manifest(self) -> Path:
        """What the file holds."""
        return self.path.with_name(f"{self.path.name}.manifest.json")

    def make_parent(self) -> None:
        """Make the directory of the file, if there is none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A file that takes the place of the finished one when the block ends, and is removed when it fails."""
        made = self.path.with_name(f"{self.path.name}.tmp")
        try:
            with made.open("wb") as raw, _compressed(raw, self.compression) as out:
                yield out
            with made.open("rb") as done:
                os.fsync(done.fileno())
            os.replace(made, self.path)
        except BaseException:
            made.unlink(missing_ok=True)
            raise

    def take(self, finished: Path) -> None:
        """Make a finished file the one to write."""
        os.replace(finished, self.path)

    def deliver(self, manifest: str | None) -> None:
        """Copy the finished file, then its manifest, to the address, if there is one; else put that beside it."""
        if not self.uri:
            if manifest is not None:
                made = self.manifest.with_name(f"{self.manifest.name}.tmp")
                made.write_text(manifest, "utf-8")
                os.replace(made, self.manifest)
            return
        filesystem, path = _filesystem(self.uri)
        with self.path.open("rb") as file, filesystem.open_output_stream(path) as out:
            shutil.copyfileobj(file, out, 1024 * 1024)
        if manifest is not None:
            with filesystem.open_output_stream(f"{path}.manifest.json") as out:
                out.write(manifest.encode())
        self.path.unlink()

    def clear(self) -> None:
        """Remove what is needed for an unfinished export only."""
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)
        self.changed.unlink(missing_ok=True)


def digest(path: Path) -> tuple[int, str]:
    """The bytes of a file, and their SHA-256 in hex."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            found.update(piece)
    return path.stat().st_size, found.hexdigest()


@contextmanager
def _compressed(raw: IO[bytes], compression: str) -> Iterator[IO[bytes]]:
    if compression == ".gz":
        # Without a time or a name in it: the same records are the same bytes.
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as out:
            yield out  # type: ignore[misc]
    elif compression == ".zst":
        try:
            import pyarrow
        except ImportError as error:
            raise ImportError("a .zst file needs pyarrow: pip install 'plaudit[arrow]'") from error
        with pyarrow.CompressedOutputStream(pyarrow.PythonFile(raw, mode="w"), "zstd") as out:
            yield out
    else:
        yield raw


def _filesystem(uri: str) -> tuple[Any, str]:
    try:
        from pyarrow import fs
    except ImportError as error:
        raise ImportError("an address needs pyarrow: pip install 'plaudit[arrow]'") from error
    found: tuple[Any, str] = fs.FileSystem.from_uri(uri)
    return found
