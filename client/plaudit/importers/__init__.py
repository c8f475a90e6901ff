"""Sources of feedback from elsewhere: each reads what another system has exported, and gives records to import.

A source is a class with `read` and `lossy`, see `Source`; `SOURCES` has a line for each. Nothing here sends anything:
the command `plaudit import` and `Client.import_records` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from plaudit._core.model import Feedback


@dataclass(frozen=True, slots=True)
class Record:
    """A record to import, and where it stood."""

    fields: Mapping[str, Any] | Feedback
    """Its fields, as `Client.import_records` takes them."""
    place: str
    """Where it stood in the input: `line 12`."""
    changed: Sequence[str] = ()
    """What was changed on the way, because plaudit has no place for it as it was."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be imported."""

    place: str
    """Where it stood in the input."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A row that says that a record was purged where it comes from."""

    id: str
    """The record's id."""
    place: str
    """Where it stood in the input."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line gives every source."""

    path: str
    """A file, a folder, or `-` for the standard input."""
    project: str
    """The project to import into."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of this source."""


class Source(Protocol):
    """One export of another system, or of plaudit."""

    @property
    def lossy(self) -> Sequence[str]:
        """What this form of export has lost already, a line for each; said once, at the start."""

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The rows, in pieces. Raises UnusableError for an input that cannot be used at all."""


class UnusableError(ValueError):
    """The input cannot be imported as a whole; the message says what to give instead."""


SOURCES: Final[dict[str, str]] = {
    "plaudit": "plaudit.importers.exported:ExportedSource",
    "weave": "plaudit.importers.weave:WeaveSource",
    "langfuse": "plaudit.importers.langfuse:LangfuseSource",
    "langsmith": "plaudit.importers.langsmith:LangsmithSource",
    "phoenix": "plaudit.importers.phoenix:PhoenixSource",
    "mlflow": "plaudit.importers.mlflow:MlflowSource",
    "opik": "plaudit.importers.opik:OpikSource",
    "argilla": "plaudit.importers.argilla:ArgillaSource",
    "label-studio": "plaudit.importers.label_studio:LabelStudioSource",
    "braintrust": "plaudit.importers.braintrust:BraintrustSource",
    "generic": "plaudit.importers.generic:GenericSource",
}
"""The class of each system's source, as `module:name`; it is made with a Given."""


def open_source(system: str, given: Given) -> Source:
    """The source of a system for an input. Raises UnusableError for an unknown system."""
    home = SOURCES.get(system)
    if home is None:
        raise UnusableError(f"there is no importer for {system!r}: {', '.join(sorted(SOURCES))}")
    module, _, name = home.partition(":")
    source: Source = getattr(import_module(module), name)(given)
    return source
