"""Print strings, records and log lines to a terminal, with colours, and records as JSON.

Strings from jobs, clients and servers are escaped here, because the terminal would obey their control characters: the
functions of this module take plain strings and add the colours themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import UTC, datetime
from typing import Any

import click

from ava.cli.screen.terminal import cut, local_time, terminal_width, width_of, zone_name
from ava.domain.strings import printable

_STATUS_COLOURS = {"queued": "cyan", "running": "blue", "completed": "green", "failed": "red", "cancelled": "yellow"}
_LEVEL_COLOURS = {"info": "bright_black", "warn": "yellow", "error": "red"}
_MAX_LINES = 20
_GAP = "  "


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Return a record as JSON, with the API's field names. Terminal control characters are escaped as in JSON."""
    written = json.dumps(_plain(value), ensure_ascii=False, indent=indent)
    return written if written.isprintable() else "".join(map(_json_character, written))


def print_json(record: Any) -> None:
    click.echo(as_json(record))


def print_plain(string: str, *, colour: str | None = None, is_error: bool = False) -> None:
    click.echo(click.style(clean(string), fg=colour) if colour else clean(string), err=is_error)


def print_status(job_id: str, status: str) -> None:
    """Print the status of a job for people."""
    click.echo(f"{clean(job_id)} {coloured_status(clean(status))}")


def print_record(record: Any, *, is_whole: bool = False) -> None:
    """Print a record for people, one line per field. A large JSON value is folded unless `is_whole`."""
    print_fields(vars(record), is_whole=is_whole)


def print_fields(values: Mapping[str, Any], *, is_whole: bool = False) -> None:
    """Print named values for people, one per line. A large JSON value is folded unless `is_whole`."""
    margin = max(map(len, values)) + len(_GAP)
    for name, value in values.items():
        lines = _shown(name, value, None if is_whole else margin).replace("\n", f"\n{' ' * margin}")
        click.echo(f"{click.style(name.ljust(margin), dim=True)}{lines}")


def fold(value: Any, margin: int = 0) -> str:
    """Return a JSON value for people: on one line if it fits, or else indented and cut after `_MAX_LINES` lines.

    `margin` is the number of terminal columns before each line.
    """
    width = terminal_width() - margin
    short = as_json(value)
    if len(short) <= width and width_of(short) <= width:
        return short
    lines = as_json(value, indent=2).split("\n")
    shown = [cut(line, width) for line in lines[:_MAX_LINES]]
    if shown != lines:
        left = f"{len(lines) - len(shown):,} more lines; " if len(lines) > len(shown) else ""
        shown.append(f"… {left}{len(short.encode()):,} bytes; -o json prints all")
    return "\n".join(shown)


def print_line(line: Any) -> None:
    level = click.style(clean(line.level).ljust(5), fg=_LEVEL_COLOURS.get(line.level))
    # Indent further lines of the message, so that they do not look like other events.
    message = printable(line.msg, allowed="\t\n").replace("\n", "\n    ")
    click.echo(f"{click.style(_local(line.ts, '%m-%d'), dim=True)}  {level}  {message}")


def describe_pause(pause: Any) -> str:
    """Return who paused something, since when, and why."""
    by = "the platform" if pause.by is None else pause.by.label or pause.by.id or "the system"
    return f"by {by} since {_local(pause.at, '%Y-%m-%d')}" + (f": {pause.reason}" if pause.reason else "")


def describe_actor(actor: Any) -> str:
    """Return an actor's id, how it is known, and its label."""
    via = f" via {actor.via}" if actor.via else ""
    return f"{actor.id or 'the system'}{via}" + (f", labelled {actor.label}" if actor.label else "")


def coloured_status(status: str) -> str:
    """Return a status in its colour, or any other string unchanged."""
    return click.style(status, fg=_STATUS_COLOURS[status]) if status in _STATUS_COLOURS else status


def _shown(name: str, value: Any, margin: int | None) -> str:
    """Return a field's value for people; a JSON value is folded if there is a margin."""
    if value is None:
        return click.style("-", dim=True)
    if isinstance(value, datetime):
        return _local(value, "%Y-%m-%d")
    if name == "paused":
        return clean(describe_pause(value))
    if name == "origin":
        return clean(describe_actor(value))
    if isinstance(value, dict | list):
        return as_json(value) if margin is None else fold(value, margin)
    return coloured_status(clean(str(value))) if name == "status" else clean(str(value))


def _local(timestamp: datetime, day: str) -> str:
    if timestamp.tzinfo is None:
        return local_time(timestamp)
    return f"{local_time(timestamp, f'{day} %H:%M:%S')}.{timestamp.microsecond // 1000:03} {zone_name(timestamp)}"


def with_local_times(sentence: str) -> str:
    """Return an API sentence with its times in the local zone. The part after a colon is quoted and stays unchanged."""
    status, own, others = re.fullmatch(r"(queued: )?(.*?)(: .*)?", sentence, re.DOTALL).groups("")  # type: ignore[union-attr]
    found = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", lambda time: _local(datetime.fromisoformat(time[0]), "%Y-%m-%d"), own)
    return f"{status}{found}{others}"


def clean(string: str) -> str:
    """Return a string as one line without terminal control characters."""
    return printable(string)


def _json_character(char: str) -> str:
    # Outside strings, JSON has only printable characters and, if indented, line ends.
    return char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        # With the fields of a newer server, which the client keeps as attributes.
        return _plain(vars(value))
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value


def _time(timestamp: datetime) -> str:
    if timestamp.tzinfo is None:
        # A schedule's slot is a local time, written like the API writes it.
        return timestamp.isoformat(timespec="minutes")
    return timestamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
