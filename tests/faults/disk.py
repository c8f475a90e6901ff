"""A disk that fails on command: a layer under SQLite whose n-th write or fsync, or every one, fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw


class Disk(apsw.VFS):
    """Every file of the process that SQLite opens. `operations` counts writes and fsyncs since `reset`."""

    def __init__(self) -> None:
        self.operations = 0
        self.fail_at: int | None = None
        self.fail_always = False
        self.error: type[apsw.Error] = apsw.IOError
        super().__init__("plaudit-faulty", "unix", makedefault=True)

    def reset(self, fail_at: int | None = None) -> None:
        """Count from 0 again; the operation of that number (from 1) fails, once."""
        self.operations = 0
        self.fail_at = fail_at

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)

    def work(self) -> None:
        """Count an operation, and fail it if its number has been chosen."""
        self.operations += 1
        if self.fail_always or self.operations == self.fail_at:
            raise self.error("the disk fails, as told")


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.work()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.work()
        super().xSync(flags)


@contextmanager
def faulty_disk() -> Iterator[Disk]:
    """The disk of every store that is opened within the block."""
    disk = Disk()
    try:
        yield disk
    finally:
        disk.unregister()
        apsw.VFS("plaudit-unix", "unix", makedefault=True).unregister()
