"""Watch a list on the command line: redraw it on a terminal, or print its changes to a pipe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import click

from ava.cli.screen.output import OutputFormat, RecordPrinter
from ava.cli.screen.printing import clean
from ava.cli.screen.tables import Column, table_lines
from ava.cli.screen.terminal import Screen, cut, is_terminal, terminal_width, zone_name


def watch_list(
    read: Callable[[], Sequence[Any]], columns: Sequence[Column], printer: RecordPrinter, every_seconds: float
) -> None:
    """Read records repeatedly until Ctrl-C, and show them."""
    with _until_interrupted() as has_ended:
        if printer.is_for_people and is_terminal():
            _redraw(read, columns, every_seconds, has_ended, is_wide=printer.format is OutputFormat.WIDE)
        else:
            # A table has an end, and this has none.
            form = OutputFormat.JSON if printer.is_for_people else printer.format
            RecordPrinter(format=form).records(_changes(read, every_seconds, has_ended), columns)


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """End the block on Ctrl-C and set the event, because Python ignores an exception that a finalizer raises."""
    has_ended = threading.Event()

    def end(_number: int, _frame: object) -> None:
        has_ended.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, end)
    try:
        with suppress(KeyboardInterrupt):
            yield has_ended
    finally:
        signal.signal(signal.SIGINT, before)


def _redraw(
    read: Callable[[], Sequence[Any]],
    columns: Sequence[Column],
    every_seconds: float,
    has_ended: threading.Event,
    *,
    is_wide: bool,
) -> None:
    from ava.client import ApiUnavailable

    lines: list[str] = []
    read_at = datetime.now()
    with Screen() as screen:
        while not has_ended.is_set():
            try:
                lines, read_at = table_lines(columns, read(), is_wide=is_wide), datetime.now()
                state = f"{read_at:%H:%M:%S} {zone_name()}, every {every_seconds:g} s; Ctrl-C ends it"
            except ApiUnavailable as problem:
                # Keep the last list, with a note that it is old.
                state = f"not updated since {read_at:%H:%M:%S}: {clean(str(problem))}"
            screen.draw([click.style(cut(state, terminal_width()), dim=True), *lines])
            has_ended.wait(every_seconds)


def _changes(read: Callable[[], Sequence[Any]], every_seconds: float, has_ended: threading.Event) -> Iterator[Any]:
    """Return the records that are new or have changed, oldest first."""
    known: dict[str, Any] = {}
    while not has_ended.is_set():
        found = read()
        yield from (record for record in reversed(found) if known.get(record.id) != record)
        # Forget the records that left the list, so that memory is bounded.
        known = {record.id: record for record in found}
        has_ended.wait(every_seconds)
