"""Follow a job until it is final, and watch a list: redraw it on a terminal, or print its changes to a pipe."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ava.cli.screen import printing
from ava.cli.screen.output import OutputFormat, RecordPrinter
from ava.cli.screen.printing import clean
from ava.cli.screen.tables import Column, table_lines
from ava.cli.screen.terminal import Screen, StatusLine, cut, is_terminal, terminal_width, zone_name

if TYPE_CHECKING:
    from ava.client import Client, Event, Job


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


INTERRUPTED = 130


def follow_to_end(client: Client, job: Job, printer: RecordPrinter) -> None:
    """Print a job's events until it is final; exit 0 only if it completed. Ctrl-C does not stop the job."""
    with until_interrupted(job.id):
        if printer.is_for_people:
            ended = _follow_for_people(client.jobs.events(job.id), job)
        else:
            ended = _follow_for_programs(client.jobs.events(job.id))
    sys.exit(0 if ended is not None and ended.status == "completed" else 1)


@contextmanager
def until_interrupted(job_id: str) -> Iterator[None]:
    """Follow a job within this block. Ctrl-C ends the command with a note that the job is still running."""
    try:
        yield
    except KeyboardInterrupt:
        printing.print_plain(f"{job_id} continues; `ava jobs watch {job_id}` follows it.", is_error=True)
        sys.exit(INTERRUPTED)


def _follow_for_programs(events: Iterator[Event]) -> Job | None:
    for event in events:
        if event.line is not None:
            printing.print_json(event.line)
        elif event.ended is not None:
            printing.print_json(event.ended)
            return event.ended
    return None


def _follow_for_people(events: Iterator[Event], job: Job) -> Job | None:
    printing.print_status(job.id, job.status)
    with StatusLine() as bar:
        for event in events:
            bar.erase()
            if event.line is not None:
                printing.print_line(event.line)
            elif event.progress is not None:
                bar.set_progress(event.progress.fraction, event.progress.message)
            elif event.status is not None:
                printing.print_status(job.id, event.status)
            elif event.ended is not None:
                _print_end(event.ended)
                return event.ended
            bar.draw()
    return None


def _print_end(job: Job) -> None:
    if job.error:
        printing.print_plain(job.error, colour="red")
    elif job.output is not None:
        click.echo(printing.fold(job.output))
