"""What a command prints: a table on a terminal, JSON lines in a pipe, or the form that is asked for.

On a terminal, what users wrote cannot control it: control characters are escaped in every form.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from plaudit._cli.options import Flags
from plaudit._show.grid import Column, Grid, cell, visible

if TYPE_CHECKING:
    from plaudit._core.model import Feedback

_CELL: Final = 300


def is_terminal() -> bool:
    """Whether a person reads the standard output."""
    return sys.stdout.isatty()


def form_of(given: str | None) -> str:
    """The form that is asked for, else the one that fits where the output goes."""
    return given or ("table" if is_terminal() else "jsonl")


def show(
    rows: Iterable[Feedback],
    form: str | None,
    fields: Sequence[str] = (),
    *,
    refs: bool = True,
    single: bool = False,
    excel: bool = False,
) -> int:
    """Print records, or some `fields` of each; returns how many.

    With `single`, JSON is one value and no list; with `excel` no cell of a CSV is a formula.
    """
    form = form_of(form)
    match form:
        case "table":
            kept = list(rows)
            print_grid(_grid(kept, fields, refs))
            return len(kept)
        case "id":
            return _print(row.id for row in rows)
        case "payload":
            return _print(_one_line(row.payload_json) for row in rows)
        case "csv":
            names = list(fields) or _columns()
            cells = ([_csv_value(value_at(row, name)) for name in names] for row in rows)
            if excel:
                from plaudit._core.lines import no_formula

                cells = ([no_formula(cell) for cell in row] for row in cells)
            return print_csv(names, cells)
        case _:
            return _print_json((_json_of(row, fields) for row in rows), form, single)


def print_values(rows: Iterable[Mapping[str, Any]], form: str | None, grid: Callable[[], Grid] | None = None) -> None:
    """Print what is no record: mappings of names to values."""
    form = form_of(form)
    if form == "table":
        print_grid(grid() if grid is not None else _grid_of_values(list(rows)))
    elif form == "csv":
        kept = list(rows)
        names = list(dict.fromkeys(name for row in kept for name in row))
        print_csv(names, ([_csv_value(row.get(name)) for name in names] for row in kept))
    else:
        _print_json((json_text(row) for row in rows), form, single=False)


def print_grid(grid: Grid) -> None:
    """Print a table, as wide as the terminal; headings are bold where colours are wanted."""
    from rich.console import Console

    from plaudit._show.table import table

    color = Flags.given().color
    is_colored = color == "always" or (color == "auto" and is_terminal() and not os.environ.get("NO_COLOR"))
    width = None if is_terminal() else 200
    console = Console(
        file=sys.stdout, width=width, color_system="standard" if is_colored else None, highlight=False, markup=False,
        force_terminal=is_colored, legacy_windows=False,
    )  # fmt: skip
    console.print(table(grid, console.width, console.encoding))


def print_csv(names: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Print a heading and rows, by RFC 4180; returns how many rows."""
    escape = visible if is_terminal() else str
    writer = csv.writer(sys.stdout, lineterminator="\n" if is_terminal() else "\r\n")
    writer.writerow(names)
    count = 0
    for row in rows:
        writer.writerow([escape(value) for value in row])
        count += 1
    return count


def print_line(text: str) -> None:
    """Print one line of what users may have written."""
    print(visible(text) if is_terminal() else text, flush=is_terminal())


def value_at(row: Feedback, path: str) -> Any:
    """The value of a field's path, as the query language has it; None where there is none."""
    from plaudit._core.paths import found_at, segments

    name, _, rest = path.partition(".")
    aliases = {"type": "feedback_type", "weave_ref": "ref", "wb_user_id": "user_id", "project_id": "project"}
    name = aliases.get(name, name)
    value = getattr(row, name, None) if name in _columns() else None
    if not rest:
        return value
    if name != "payload":
        return value.get(rest) if isinstance(value, dict) else None
    return found_at(value, segments(path))


def check_fields(text: str | None) -> list[str]:
    """The names of `--fields`. Raises UsageError for one that is no field."""
    import click

    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name.partition(".")[0] not in (*_columns(), "type", "weave_ref", "wb_user_id", "project_id"):
            raise click.UsageError(f"--fields: there is no field {name!r}")
    return names


def json_text(value: Any) -> str:
    """A value as JSON; times as in records."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if hasattr(value, "_asdict"):
        return value._asdict()
    raise TypeError(type(value).__name__)


def _columns() -> list[str]:
    from plaudit._core.model import FIELDS

    return list(FIELDS)


def _json_of(row: Feedback, fields: Sequence[str]) -> str:
    if fields:
        return json_text({name: value_at(row, name) for name in fields})
    from plaudit._core.lines import line_of

    return line_of(row._message)


def _print_json(texts: Iterator[str], form: str, single: bool) -> int:
    made = map(_for_terminal, texts) if is_terminal() else texts
    if form != "json":
        return _print(made)
    kept = list(made)
    print(kept[0] if single and kept else "[" + ",\n ".join(kept) + "]")
    return len(kept)


def _for_terminal(text: str) -> str:
    from plaudit._core.lines import harmless

    return harmless(text)


def _print(texts: Iterable[str]) -> int:
    count = 0
    for text in texts:
        print_line(text)
        count += 1
    return count


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def _grid(rows: Sequence[Feedback], fields: Sequence[str], refs: bool) -> Grid:
    if not fields:
        from plaudit._results.view import grid_of

        return grid_of(rows, refs)
    columns = [Column(name, 60, 8) for name in fields]
    return Grid(columns, [[_shown(value_at(row, name)) for name in fields] for row in rows])


def _grid_of_values(rows: Sequence[Mapping[str, Any]]) -> Grid:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Grid([Column(name, 80, 8) for name in names], [[_shown(row.get(name)) for name in names] for row in rows])


def _shown(value: Any) -> str:
    return cell(_csv_value(value), _CELL)


def _csv_value(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case datetime():
            return str(_plain(value))
        case int() | float():
            return str(value)
        case _:
            return json_text(value)
