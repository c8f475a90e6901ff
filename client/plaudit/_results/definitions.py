"""Collections of definitions, and what a check found: each is read when it is first looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Final, overload

from plaudit._core.definitions import Breakage, CheckResult, Definition
from plaudit._show.grid import Column, Grid, cell
from plaudit._show.shown import Shown

_SHOWN: Final = 200
_COLUMNS: Final = (
    Column("Type", 40, 8),
    Column("Version", 10, 7),
    Column("Value", 60, 16),
    Column("One for each", 24, 8),
    Column("Status", 20, 8),
    Column("Description", 100, 16),
)
_BREAKAGE_COLUMNS: Final = (Column("Path", 48, 12), Column("What is wrong", 100, 16), Column("Records", 12, 7))


class Definitions(Shown, Sequence[Definition]):
    """Definitions of a project, by type and version. Nothing is sent before they are looked at; then they are kept."""

    def __init__(self, read: Callable[[], Sequence[Definition]]) -> None:
        self._read = read

    @classmethod
    def of(cls, found: Sequence[Definition]) -> Definitions:
        """Definitions that were read already."""
        made = cls(lambda: found)
        assert made._found is not None
        return made

    @cached_property
    def _found(self) -> tuple[Definition, ...]:
        return tuple(self._read())

    @overload
    def __getitem__(self, index: int | str) -> Definition: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Definition]: ...
    def __getitem__(self, index: int | str | slice) -> Definition | Sequence[Definition]:
        """By position, or the newest listed of a feedback type. Raises IndexError, or KeyError for a type."""
        if isinstance(index, str):
            for definition in reversed(self._found):
                if definition.feedback_type == index:
                    return definition
            raise KeyError(index)
        return self._found[index]

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def _grid(self) -> Grid:
        """A row for each of the first definitions."""
        rows = [_row_of(found) for found in self._found[:_SHOWN]]
        hidden = len(self) - len(rows)
        return Grid(_COLUMNS, rows, f"… and {hidden} more, not shown here" if hidden else "")

    def __repr__(self) -> str:
        if "_found" not in self.__dict__:
            return "Definitions(...)"
        named = ", ".join(f"{found.feedback_type} v{found.version}" for found in self._found[:20])
        return f"Definitions({named}{', …' if len(self) > 20 else ''})"


class Check(Shown):
    """What stored records break a definition. Nothing is sent before it is looked at; then it is kept."""

    def __init__(self, read: Callable[[], CheckResult]) -> None:
        self._read = read

    @cached_property
    def result(self) -> CheckResult:
        """Everything that was found."""
        return self._read()

    @property
    def checked(self) -> int:
        """How many records were looked at."""
        return self.result.checked

    @property
    def breaking(self) -> int:
        """How many break the definition."""
        return self.result.breaking

    @property
    def repeated(self) -> int:
        """How many refs hold more records than `unique` allows, counted in each 10,000 records."""
        return self.result.repeated

    @property
    def breakages(self) -> tuple[Breakage, ...]:
        """What is broken where, most frequent first."""
        return self.result.breakages

    @property
    def examples(self) -> tuple[str, ...]:
        """Ids of some records that break it."""
        return self.result.examples

    @property
    def revision(self) -> int:
        """The project's revision before the first record was looked at."""
        return self.result.revision

    def _grid(self) -> Grid:
        """What is broken where, most frequent first."""
        rows = [
            [cell(each.path, 200), cell(each.description, 200), str(each.count)] for each in self.breakages[:_SHOWN]
        ]
        return Grid(_BREAKAGE_COLUMNS, rows, f"{self.breaking} of {self.checked} records break the definition")

    def __repr__(self) -> str:
        if "result" not in self.__dict__:
            return "Check(...)"
        return f"Check({self.breaking} of {self.checked} records break it)"


class DefinedType:
    """The definition of one feedback type, with its versions."""

    def __init__(self, feedback_type: str, versions: Definitions) -> None:
        self.feedback_type = feedback_type
        self._versions = versions

    @property
    def current(self) -> Definition | None:
        """The version in force; None when the type has no definition."""
        return self._versions[-1] if self._versions else None

    def history(self) -> Definitions:
        """Every version, oldest first."""
        return self._versions

    def __repr__(self) -> str:
        return f"DefinedType({self.feedback_type!r})"


def _row_of(definition: Definition) -> list[str]:
    status = [word for word, holds in (("closed", definition.closed), ("advisory", definition.advisory)) if holds]
    unique = " and ".join(("ref", *(name for name in definition.unique if name != "ref"))) if definition.unique else ""
    texts = [
        definition.feedback_type,
        str(definition.version),
        "anything" if definition.rule is None else repr(definition.rule),
        unique,
        ", ".join(status),
        definition.title or definition.description,
    ]
    return [cell(text, 200) for text in texts]
