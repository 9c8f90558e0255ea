"""Tables for people, as wide as the terminal: columns that may be cut are cut, and the others keep their width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from ava.cli.screen.printing import clean, coloured_status
from ava.cli.screen.terminal import cut, local_time, terminal_width, width_of, zone_name

_GAP = "  "
_ABSENT = "-"
#: Min characters of a sentence to be shown within a row.
_MIN_BESIDE = 40


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table of records."""

    title: str
    #: Returns a record's value: a string, a number, a boolean, a time (shown in local time), or None.
    value: Callable[[Any], Any]
    #: Min characters to which it may be cut if the table is too wide; None: it is never cut.
    min_width: int | None = None
    #: Whether only `-o wide` shows it.
    is_wide: bool = False
    #: Whether it is omitted from a table in which no record has a value.
    is_optional: bool = False
    #: Whether it gets a separate line below each record with a value if it would be cut to less than `_MIN_BESIDE`.
    may_be_below: bool = False


def print_table(columns: Sequence[Column], records: Iterable[Any], *, is_wide: bool = False) -> None:
    """Print a table of records. With `is_wide` it has every column, and no cell is cut."""
    for line in table_lines(columns, records, is_wide=is_wide):
        click.echo(line)


def table_lines(columns: Sequence[Column], records: Iterable[Any], *, is_wide: bool = False) -> list[str]:
    """Return the lines of a table, the titles first."""
    columns = [column for column in columns if is_wide or not column.is_wide]
    values = [[column.value(record) for column in columns] for record in records]
    shown_columns = [
        number
        for number, column in enumerate(columns)
        if is_wide or not column.is_optional or any(row[number] not in (None, "") for row in values)
    ]
    columns = [columns[number] for number in shown_columns]
    values = [[row[number] for number in shown_columns] for row in values]
    titles = [_title(column, number, values) for number, column in enumerate(columns)]
    rows = [[_cell(value, is_wide) for value in row] for row in values]
    widths = [max(map(width_of, cells)) for cells in zip(titles, *rows, strict=True)]
    beside, below = list(range(len(columns))), list[int]()
    if not is_wide:
        beside, below, widths = _fitted(columns, widths)
    numbers = {index for index, number in enumerate(beside) if _is_numeric(number, values)}
    lines = [click.style(_line([titles[number] for number in beside], widths, numbers), bold=True)]
    for row in rows:
        lines.append(_line([row[number] for number in beside], widths, numbers, shows_status=True))
        sentences = [row[number] for number in below if row[number] != _ABSENT]
        lines += [f"{_GAP}{cut(sentence, terminal_width() - len(_GAP))}" for sentence in sentences]
    return lines


def _fitted(columns: Sequence[Column], widths: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Return the indexes of the columns in a row, those of the columns below it, and the widths of the former."""
    bounds = [column.min_width for column in columns]
    fitting = fit(widths, bounds, terminal_width())
    below = [
        number
        for number, column in enumerate(columns)
        if column.may_be_below and fitting[number] < min(widths[number], _MIN_BESIDE)
    ]
    beside = [number for number in range(len(columns)) if number not in below]
    shown_columns = fit([widths[number] for number in beside], [bounds[number] for number in beside], terminal_width())
    return beside, below, shown_columns


def fit(widths: Sequence[int], min_widths: Sequence[int | None], max_width: int) -> list[int]:
    """Return column widths for a line of at most `max_width` characters, as far as columns may be cut.

    The widest column that may be cut is cut first.
    """
    fitting = list(widths)
    excess = _width(fitting) - max_width
    while excess > 0:
        spare = [
            (width, number)
            for number, width in enumerate(fitting)
            if (bound := min_widths[number]) is not None and width > bound
        ]
        if not spare:
            break
        fitting[max(spare)[1]] -= 1
        excess -= 1
    return fitting


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def milliseconds(count: int | float | None) -> str | None:
    """Return a duration for people."""
    if count is None:
        return None
    return f"{count:.0f} ms" if count < 1000 else f"{count / 1000:,.1f} s"


def ran(job: Any) -> str | None:
    """Return a job's duration for people, and its total time if its handler waited."""
    duration = milliseconds(job.duration_ms)
    # The times of a record are truncated to milliseconds.
    if job.total_ms is None or job.total_ms - (job.duration_ms or 0) <= 1:
        return duration
    return f"{duration} of {milliseconds(job.total_ms)}"


def ago(timestamp: datetime | None, *, now: datetime | None = None) -> str | None:
    """Return the age of a time in at most four characters: `12s`, `5m`, `3h`, `90d`."""
    if timestamp is None:
        return None
    seconds = max(0, int(((now or datetime.now(UTC)) - timestamp).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _line(cells: Sequence[str], widths: Sequence[int], numbers: set[int], *, shows_status: bool = False) -> str:
    shown = []
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        shown_cell = cut(cell, width)
        space = " " * (width - width_of(shown_cell))
        shown_cell = coloured_status(shown_cell) if shows_status else shown_cell
        shown.append(space + shown_cell if number in numbers else shown_cell + space)
    return _GAP.join(shown).rstrip()


def _is_numeric(number: int, rows: Sequence[Sequence[Any]]) -> bool:
    found = [row[number] for row in rows if row[number] is not None]
    return bool(found) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)


def _title(column: Column, number: int, rows: Sequence[Sequence[Any]]) -> str:
    """Return a column's title, with the local time zone's name if the column contains times."""
    if any(isinstance(row[number], datetime) for row in rows):
        return f"{column.title} {zone_name()}"
    return column.title


def _short_time(timestamp: datetime) -> str:
    """Return a time, with its year unless it is this year, and its zone unless it is the title's zone."""
    is_far = timestamp.astimezone().year != datetime.now().year
    zone = zone_name(timestamp)
    form = ("%Y-%m-%d %H:%M" if is_far else "%m-%d %H:%M") + ("" if zone == zone_name() else f" {zone}")
    return local_time(timestamp, form)


def _cell(value: Any, is_wide: bool) -> str:
    if value is None or value == "":
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return local_time(value) if is_wide else _short_time(value)
    return clean(f"{value:,}" if isinstance(value, int | float) else str(value))
