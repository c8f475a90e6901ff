"""The manifest beside a file that plaudit exported: what it says, and whether the file is the one it describes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from plaudit.importers import UnusableError

FORMAT_VERSION: Final = 1
"""The version of the format that exports have."""


def manifest_of(file: Path) -> dict[str, Any]:
    """What the manifest beside a file says, if there is one that can be read."""
    try:
        said = json.loads(file.with_name(f"{file.name}.manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def check_manifest(file: Path) -> None:
    """Compare a file with the manifest beside it, if there is one. Raises UnusableError for any difference."""
    manifest = file.with_name(f"{file.name}.manifest.json")
    if not manifest.is_file():
        return
    try:
        said = json.loads(manifest.read_text("utf-8"))
        version, size, sha256 = said["format_version"], said["bytes"], said["sha256"]
    except (ValueError, KeyError, TypeError):
        raise UnusableError(f"{manifest.name} is no manifest of an export") from None
    if version != FORMAT_VERSION:
        raise UnusableError(f"{file.name} has the version {version} of the format, this plaudit reads {FORMAT_VERSION}")
    found = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(1024 * 1024):
            found.update(piece)
    if (file.stat().st_size, found.hexdigest()) != (size, sha256):
        raise UnusableError(
            f"{file.name} is not the file that its manifest describes ({file.stat().st_size} bytes, not {size}, or "
            "other ones): export it again, or remove the manifest to import what is there"
        )
