"""What a terminal, IPython and a notebook ask of an object that is shown as a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from plaudit._show.grid import Grid

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


class Shown(ABC):
    """A base for what is shown as a table: by rich, by IPython as text, by a notebook as HTML; `repr` stays short."""

    __slots__ = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # IPython takes a class's own __repr__ before a _repr_pretty_ that it inherits.
        if "_repr_pretty_" not in vars(cls):
            cls._repr_pretty_ = Shown._repr_pretty_  # type: ignore[method-assign]

    @abstractmethod
    def _grid(self) -> Grid:
        """The table as columns of text."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from plaudit._show.table import table

        yield table(self._grid(), options.max_width, options.encoding)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from plaudit._show.table import text

        printer.text(f"{type(self).__name__}(...)" if cycle else text(self._grid()))

    def _repr_html_(self) -> str:
        from plaudit._show.html import html

        return html(self._grid())
