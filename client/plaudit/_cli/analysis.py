"""Commands that ask about many records at once: aggregate, agreement."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import click

from plaudit._cli.options import filters, flags, output

if TYPE_CHECKING:
    from plaudit._core.grouping import Grouped, Measured

_CALL: Final = re.compile(r"(?:([A-Za-z_]\w*)=)?([a-z_]+)\((.+)\)")
_NAMED: Final = re.compile(r"(?:([A-Za-z_]\w*)=)?(.+)")
_PATH: Final = re.compile(r"\s*[\w.]+\s*")
_PERIODS: Final = ("minute", "hour", "day", "week", "month", "quarter", "year")


@click.command()
@filters
@click.option(
    "--by",
    "keys",
    metavar="KEY",
    multiple=True,
    help="A field, day(created_at, Europe/Berlin), part(ref, name), each(scorer_tags); NAME=KEY names it.",
)
@click.option(
    "-m",
    "--measure",
    "measures",
    metavar="MEASURE",
    multiple=True,
    help="mean(payload.score), count_distinct(creator), percentile(payload.ms, 90) …; NAME=MEASURE names it.",
)
@click.option("--having", metavar="WHERE", help="Only groups for which this is true of their measures, as score > 0.5.")
@click.option("--sort", metavar="NAMES", help="Keys, measures or row_count to sort by; a - for descending.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Only the first groups.")
@output()
@flags
def aggregate(
    keys: tuple[str, ...],
    measures: tuple[str, ...],
    having: str | None,
    sort: str | None,
    limit: int | None,
    form: str | None,
    **given: Any,
) -> None:
    """Group the records that match WHERE, and measure each group; without --by all of them are one group."""
    from plaudit._cli.connection import connect
    from plaudit._cli.output import form_of, print_grid, print_values
    from plaudit._cli.where import query_of
    from plaudit._core.expr import Query

    asked = query_of(**given)
    plain, named = [], {}
    for text in keys:
        name, key = _key(text)
        if name is None:
            plain.append(key)
        else:
            named[name] = key
    with connect() as client:
        groups = client.get_feedback(asked).group_by(*plain, **named)
        if measures:
            groups = groups.agg(**dict(map(_measure, measures)))
        if having is not None:
            groups = groups.having(Query.from_text(having))
        if sort is not None:
            groups = groups.sort(*(part.strip() for part in sort.split(",")))
        if limit is not None:
            groups = groups.limit(limit)
        found = groups.execute()
        if form_of(form) == "table":
            print_grid(groups._grid())
        else:
            print_values(({**group, "row_count": group.row_count} for group in found), form)


@click.command()
@click.argument("value")
@filters
@click.option("--unit", metavar="FIELD", help="What is rated.  [ref]")
@click.option("--rater", metavar="FIELD", help="Who rates.  [owner]")
@click.option("--scale", type=click.Choice(["nominal", "ordinal", "interval", "ratio"]), default="nominal")
@click.option("--categories", metavar="JSON", help="The categories in their order, as a list.")
@click.option("--repeats", type=click.Choice(["latest", "first", "mean"]), default="latest")
@output()
@flags
def agreement(
    value: str,
    unit: str | None,
    rater: str | None,
    scale: str,
    categories: str | None,
    repeats: str,
    form: str | None,
    **given: Any,
) -> None:
    """Measure how far raters agree on VALUE, such as payload.value, over the records that match WHERE."""
    from plaudit._cli.connection import connect
    from plaudit._cli.output import form_of, print_grid, print_values
    from plaudit._cli.where import query_of
    from plaudit._show.grid import FIELD_COLUMNS, Grid, field_row

    asked = query_of(**given)
    with connect() as client:
        found = client.get_feedback(asked).agreement(
            value, unit=unit, rater=rater, scale=scale, categories=_categories(categories), repeats=repeats
        )
    values = {name: each for name, each in vars(found).items() if not name.startswith("_") and name != "undefined"}
    if form_of(form) == "table":
        rows = [
            field_row(name, f"– ({found.undefined[name]})" if name in found.undefined else each)
            for name, each in values.items()
        ]
        print_grid(Grid(FIELD_COLUMNS, rows))
    else:
        print_values([values | {"undefined": found.undefined, "pairs": found.pairs}], form)


def _categories(text: str | None) -> list[Any]:
    if text is None:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise click.UsageError(f"--categories is a list as JSON, not {text!r}")
    return found


def _key(text: str) -> tuple[str | None, Grouped]:
    from plaudit._core.expr import field

    if call := _CALL.fullmatch(text):
        name, function, (path, *more) = call[1], call[2], _arguments(call[3])
        if function in _PERIODS and len(more) < 2:
            return name, getattr(field(path), function)(*more)
        if function == "part" and len(more) == 1:
            return name, field(path).part(more[0])
        if function == "each" and not more:
            return name, field(path).each()
        raise click.UsageError(
            f"--by {text}: there are {', '.join(_PERIODS)}(field, zone), part(ref, name), each(field)"
        )
    named = _NAMED.fullmatch(text)
    assert named is not None
    return named[1], named[2]


def _measure(text: str) -> tuple[str, Measured]:
    from plaudit._core.expr import Query, field
    from plaudit._core.measures import FUNCTIONS

    call = _CALL.fullmatch(text)
    if call is None:
        raise click.UsageError(f"--measure is written as mean(payload.score), not {text!r}")
    name, function, (path, *more) = call[1], call[2], _arguments(call[3])
    numbers = [_number(each) for each in more]
    if function == "share_true" and not _PATH.fullmatch(call[3]):
        return name or function, Query.from_text(call[3]).expr.share_true()
    made_name = name or f"{function}_{path.rpartition('.')[2]}"
    try:
        if function in ("percentile", "percentiles"):
            return made_name, field(path).percentiles(*numbers)
        if function == "top_values":
            return made_name, field(path).top_values(*map(int, numbers))
        if function == "histogram":
            return made_name, field(path).histogram(numbers)
    except TypeError as error:
        raise click.UsageError(f"--measure {text}: {error}") from error
    if function not in FUNCTIONS or more:
        raise click.UsageError(f"--measure {text}: there are {', '.join(FUNCTIONS)}")
    return made_name, (path, function)


def _arguments(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is no number") from None
