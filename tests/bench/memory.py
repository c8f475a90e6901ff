"""The memory of a process, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path


def resident_mib(pid: int) -> float:
    """Resident memory, in MiB."""
    return _status_mib(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """The most resident memory since the start, or since `reset_peak`, in MiB."""
    return _status_mib(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Let the peak begin at the present memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_mib(pid: int, name: str) -> float:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


def tree_mib(pid: int) -> float:
    """The memory of a process and its descendants, in MiB; what they share is counted once."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    [own] = [int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(tree_mib(int(child)) for child in children)
