"""The output of the operator's commands: tables and colours for people, a line of JSON a record for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

import click

__all__ = ["as_json", "clean", "for_people", "print_line", "print_record", "print_table", "shown_status"]

_STATUS_COLOURS = {"queued": "cyan", "running": "blue", "completed": "green", "failed": "red", "cancelled": "yellow"}
_LEVEL_COLOURS = {"info": "bright_black", "warn": "yellow", "error": "red"}


def for_people(is_json_wanted: bool) -> bool:
    """Returns True if the output is for people: on a terminal, unless JSON was asked for."""
    return sys.stdout.isatty() and not is_json_wanted


def as_json(record: Any) -> str:
    """Returns a record as one line of JSON, with the API's field names."""
    return json.dumps(_plain(record), ensure_ascii=False)


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
        cells = [shown_status(cell, width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def print_line(line: Any) -> None:
    """Print a log line for people."""
    level = click.style(line.level.ljust(5), fg=_LEVEL_COLOURS.get(line.level))
    click.echo(f"{click.style(_time(line.ts), dim=True)}  {level}  {clean(line.msg)}")


def shown_status(text: str, width: int = 0) -> str:
    """Returns a status in its colour; any other text unchanged."""
    padded = text.ljust(width)
    return click.style(padded, fg=_STATUS_COLOURS[text]) if text in _STATUS_COLOURS else padded


def _shown(name: str, value: Any) -> str:
    if value is None:
        return click.style("-", dim=True)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return shown_status(clean(str(value))) if name == "status" else clean(str(value))


def clean(text: str) -> str:
    """Returns the text with control characters escaped, because a log line may hold any text."""
    return "".join(char if char.isprintable() or char in "\t\n" else repr(char)[1:-1] for char in text)


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
