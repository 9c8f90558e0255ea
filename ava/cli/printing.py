"""The output of the operator's commands: tables and colours for people, a line of JSON a record for programs.

Whatever comes from a job, a client or a server is escaped here before it reaches the terminal, which would obey it: the
functions of this module take plain texts and add the colours themselves.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

import click

from ava.domain.text import printable

__all__ = [
    "as_json",
    "clean",
    "for_people",
    "print_json",
    "print_line",
    "print_record",
    "print_status",
    "print_table",
    "print_text",
]

_STATUS_COLOURS = {"queued": "cyan", "running": "blue", "completed": "green", "failed": "red", "cancelled": "yellow"}
_LEVEL_COLOURS = {"info": "bright_black", "warn": "yellow", "error": "red"}


def for_people(is_json_wanted: bool) -> bool:
    """Returns True if the output is for people: on a terminal, unless JSON was asked for."""
    return sys.stdout.isatty() and not is_json_wanted


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Returns a record as JSON, with the API's field names. Characters that a terminal obeys are escaped as in JSON."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=indent)
    return text if text.isprintable() else "".join(map(_json_character, text))


def print_json(record: Any) -> None:
    """Print a record as one line of JSON."""
    click.echo(as_json(record))


def print_text(text: str, *, colour: str | None = None, is_error: bool = False) -> None:
    """Print one line."""
    click.echo(click.style(clean(text), fg=colour) if colour else clean(text), err=is_error)


def print_status(job_id: str, status: str) -> None:
    """Print the status of a job for people."""
    click.echo(f"{clean(job_id)} {_shown_status(clean(status))}")


def print_record(record: Any) -> None:
    """Print a record for people, one field a line."""
    fields = _plain(record)
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        click.echo(f"{click.style(name.ljust(width), dim=True)}  {_shown(name, value)}")


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table for people; a cell that is a status is coloured."""
    table = [list(map(clean, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *table, strict=True)]
    click.echo(click.style("  ".join(map(str.ljust, titles, widths)).rstrip(), bold=True))
    for row in table:
        cells = [_shown_status(cell, width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def print_line(line: Any) -> None:
    """Print a log line for people."""
    level = click.style(clean(line.level).ljust(5), fg=_LEVEL_COLOURS.get(line.level))
    # A further line of the message is indented, so that it does not pretend to be another event.
    message = printable(line.msg, kept="\t\n").replace("\n", "\n    ")
    click.echo(f"{click.style(_time(line.ts), dim=True)}  {level}  {message}")


def _shown_status(text: str, width: int = 0) -> str:
    """Returns a status in its colour; any other text unchanged."""
    padded = text.ljust(width)
    return click.style(padded, fg=_STATUS_COLOURS[text]) if text in _STATUS_COLOURS else padded


def _shown(name: str, value: Any) -> str:
    if value is None:
        return click.style("-", dim=True)
    if isinstance(value, dict | list):
        return as_json(value)
    return _shown_status(clean(str(value))) if name == "status" else clean(str(value))


def clean(text: str) -> str:
    """Returns a text as one line without anything that a terminal obeys."""
    return printable(text)


def _json_character(char: str) -> str:
    # Outside its texts, JSON has only printable characters, and line ends if it is indented.
    return char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(inner) for name, inner in asdict(value).items()}
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _time(moment: datetime) -> str:
    if moment.tzinfo is None:
        # A schedule's slot is a local time, which the API writes so.
        return moment.isoformat(timespec="minutes")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
