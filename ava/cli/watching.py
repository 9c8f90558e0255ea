"""A list that is watched from the command line: redrawn on a terminal, its changes printed into a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import click

from ava.cli.output import OutputFormat, RecordPrinter
from ava.cli.printing import clean
from ava.cli.tables import Column, table_lines
from ava.cli.terminal import Screen, cut, is_terminal, terminal_width, zone_name

__all__ = ["watch_list"]


def watch_list(
    read: Callable[[], Sequence[Any]], columns: Sequence[Column], printer: RecordPrinter, every_seconds: float
) -> None:
    """Read records again and again until Ctrl-C, and show them."""
    with suppress(KeyboardInterrupt):
        if printer.is_for_people and is_terminal():
            _redraw(read, columns, every_seconds, is_wide=printer.format is OutputFormat.WIDE)
        else:
            # A table has an end, and this has none.
            form = OutputFormat.JSON if printer.is_for_people else printer.format
            RecordPrinter(format=form).records(_changes(read, every_seconds), columns)


def _redraw(
    read: Callable[[], Sequence[Any]], columns: Sequence[Column], every_seconds: float, *, is_wide: bool
) -> None:
    from ava.client import ApiUnavailable

    lines: list[str] = []
    read_at = datetime.now()
    with Screen() as screen:
        while True:
            try:
                lines, read_at = table_lines(columns, read(), is_wide=is_wide), datetime.now()
                state = f"{read_at:%H:%M:%S} {zone_name()}, every {every_seconds:g} s; Ctrl-C ends it"
            except ApiUnavailable as problem:
                # The last list stays, and says that it is old.
                state = f"not updated since {read_at:%H:%M:%S}: {clean(str(problem))}"
            screen.draw([click.style(cut(state, terminal_width()), dim=True), *lines])
            time.sleep(every_seconds)


def _changes(read: Callable[[], Sequence[Any]], every_seconds: float) -> Iterator[Any]:
    """Returns the records that are new or have changed, oldest first, without an end."""
    known: dict[str, Any] = {}
    while True:
        found = read()
        yield from (record for record in reversed(found) if known.get(record.id) != record)
        # Those that have left the list are forgotten, so that memory is bounded.
        known = {record.id: record for record in found}
        time.sleep(every_seconds)
