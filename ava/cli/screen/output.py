"""Print records in the formats of `-o table|wide|json|id|csv`.

Without `-o`, a terminal gets a table and a pipe gets one line of JSON per record, for programs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from itertools import chain
from typing import Any

import click

from ava.cli.screen import printing, tables, terminal
from ava.cli.screen.tables import Column

#: The fields that `-o id` prints: the first that a record has.
_NAMES = ("id", "job_id", "worker_id", "name", "queue")
#: A spreadsheet evaluates a cell that begins with one of these.
_FORMULA = ("=", "+", "-", "@")


class OutputFormat(StrEnum):
    """The values of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    ID = "id"
    CSV = "csv"


@dataclass(frozen=True, kw_only=True)
class RecordPrinter:
    """Prints API records in the requested format."""

    format: OutputFormat

    @property
    def is_for_people(self) -> bool:
        return self.format in (OutputFormat.TABLE, OutputFormat.WIDE)

    def records(self, found: Iterable[Any], columns: Sequence[Column], *, empty: str = "Nothing found.") -> None:
        """Print records: a table of the columns, or a line per record. `empty` replaces a table without records."""
        if not self.is_for_people:
            self._lines(found)
        elif rows := list(found):
            tables.print_table(columns, rows, is_wide=self.format is OutputFormat.WIDE)
        else:
            click.echo(empty, err=True)

    def record(self, record: Any) -> None:
        """Print one record: a line per field, or one line."""
        if self.is_for_people:
            printing.print_record(record, is_whole=self.format is OutputFormat.WIDE)
        else:
            self._lines([record])

    def lines(self, found: Iterable[Any]) -> None:
        """Print log lines as they arrive."""
        if self.is_for_people:
            for line in found:
                printing.print_line(line)
        else:
            self._lines(found)

    def _lines(self, found: Iterable[Any]) -> None:
        if self.format is OutputFormat.CSV:
            _print_csv(found)
            return
        for record in found:
            if self.format is OutputFormat.ID:
                printing.print_plain(_name(record))
            else:
                printing.print_json(record)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a `printer` to a command, and add the output options."""

    @wraps(command)
    def run(*arguments: Any, output: str | None, is_json: bool, **rest: Any) -> Any:
        chosen = OutputFormat.JSON if is_json else OutputFormat(output) if output else _default_format()
        return command(*arguments, printer=RecordPrinter(format=chosen), **rest)

    names = [form.value for form in OutputFormat]
    run = click.option("--json", "is_json", is_flag=True, help="The same as -o json.")(run)
    return click.option(
        "-o",
        "--output",
        type=click.Choice(names),
        help="Output format.  [default: table on a terminal, json otherwise]",
    )(run)


def _default_format() -> OutputFormat:
    return OutputFormat.TABLE if terminal.is_terminal() else OutputFormat.JSON


def _name(record: Any) -> str:
    for name in _NAMES:
        if (value := getattr(record, name, None)) is not None:
            return str(value)
    raise click.UsageError("-o id: these records have no id.")


def _print_csv(found: Iterable[Any]) -> None:
    """Print records as CSV: a line with the field names, then a line per record."""
    records = iter(found)
    if (first := next(records, None)) is None:
        return
    names = list(vars(first))
    click.echo(_csv_line(names))
    for record in chain((first,), records):
        click.echo(_csv_line([_csv_cell(getattr(record, name, None)) for name in names]))


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        written = printing.as_json(value)
        # A time is a string in JSON too.
        return written[1:-1] if written.startswith('"') else written
    string = printing.clean(value)
    return f"'{string}" if string.startswith(_FORMULA) else string
