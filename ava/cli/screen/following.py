"""Follow a job on the command line until it is final."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ava.cli.screen import printing
from ava.cli.screen.output import RecordPrinter
from ava.cli.screen.terminal import StatusLine

if TYPE_CHECKING:
    from ava.client import Client, Event, Job

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
