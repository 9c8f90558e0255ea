"""`ava jobs tree|journal|waits|deliveries`: the tree of a job, its steps, waits and deliveries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ava.cli.api.webhooks import DELIVERY_COLUMNS
from ava.cli.options.arguments import JOB_ID
from ava.cli.options.connection import connected
from ava.cli.screen import printing
from ava.cli.screen.output import OutputFormat, RecordPrinter, output_options
from ava.cli.screen.tables import Column, ran

if TYPE_CHECKING:
    from ava.client import Client, Tree, TreeJob

_WAIT_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class _TreeRow:
    """A job of a tree, and the drawn lines from its parent."""

    lines: str
    job: TreeJob
    #: Names or ids of the jobs that it waits for.
    after: str

    @property
    def title(self) -> str:
        """Return its name, or its worker if it has none."""
        return f"{self.lines}{self.job.name or self.job.worker_id}"

    @property
    def status(self) -> str:
        """Return its status, or `waits` if it is queued and waits for other jobs."""
        return "waits" if self.job.waiting_for is not None else self.job.status


_COLUMNS = (
    Column(title="JOB", value=lambda row: row.title, min_width=8),
    Column(title="ID", value=lambda row: row.job.id),
    Column(title="WORKER", value=lambda row: row.job.worker_id, is_wide=True),
    Column(title="STATUS", value=lambda row: row.status),
    Column(title="RAN", value=lambda row: ran(row.job), is_wide=True),
    Column(title="AFTER", value=lambda row: row.after, min_width=8, is_optional=True),
    Column(title="ERROR", value=lambda row: row.job.error, min_width=8, is_optional=True, may_be_below=True),
)


def _value(entry: Any) -> str | None:
    if entry.child is not None:
        return str(entry.child["id"])
    if entry.value_bytes is not None:
        return f"{entry.value_bytes:,} bytes"
    return printing.as_json(entry.value) if entry.kind == "step" and entry.state == "done" else None


def _reason(wait: Any) -> str:
    if not wait.jobs:
        return str(wait.condition)
    count = len(wait.jobs)
    return f"{wait.condition}: {wait.jobs[0]}" if count == 1 else f"{wait.condition}: {count} jobs"


_ENTRY_COLUMNS = (
    Column(title="KIND", value=lambda entry: entry.kind),
    Column(title="NAME", value=lambda entry: entry.name, min_width=8),
    Column(title="STATE", value=lambda entry: entry.state),
    Column(title="WRITTEN", value=lambda entry: entry.written_at),
    Column(title="VALUE", value=_value, min_width=8, is_optional=True),
)
_WAIT_COLUMNS = (
    Column(title="WAIT FOR", value=_reason, min_width=8),
    Column(title="BEGAN", value=lambda wait: wait.began_at),
    Column(title="ENDED", value=lambda wait: wait.ended_at),
)


@click.command()
@click.argument("job_id", type=JOB_ID)
@click.option("--wait", is_flag=True, help="Wait until all jobs of the tree have ended.")
@output_options
@connected
def tree(client: Client, job_id: str, wait: bool, printer: RecordPrinter) -> None:
    """Show the tree of JOB_ID: children below their parents, and the dependencies between jobs.

    \b
    ava jobs tree job_01… --wait
    """
    found = client.jobs.tree(job_id)
    while wait and not found.is_final:
        found = client.jobs.tree(job_id, wait_seconds=_WAIT_SECONDS)
    if printer.format is OutputFormat.JSON:
        printer.record(found)
    else:
        printer.records(_tree_rows(found) if printer.is_for_people else found.jobs, _COLUMNS)


@click.command()
@click.argument("job_id", type=JOB_ID)
@output_options
@connected
def journal(client: Client, job_id: str, printer: RecordPrinter) -> None:
    """List the recorded steps, children and waits of JOB_ID's handler.

    \b
    ava jobs journal job_01…
    """
    empty = "The handler has recorded no steps, children or waits."
    printer.records(client.jobs.journal(job_id), _ENTRY_COLUMNS, empty=empty)


@click.command()
@click.argument("job_id", type=JOB_ID)
@output_options
@connected
def waits(client: Client, job_id: str, printer: RecordPrinter) -> None:
    """List the waits of JOB_ID, newest first.

    \b
    ava jobs waits job_01…
    """
    printer.records(client.jobs.waits(job_id), _WAIT_COLUMNS, empty="The job has not waited.")


@click.command()
@click.argument("job_id", type=JOB_ID)
@output_options
@connected
def deliveries(client: Client, job_id: str, printer: RecordPrinter) -> None:
    """List the webhook deliveries of JOB_ID, newest first.

    \b
    ava jobs deliveries job_01…
    """
    empty = "No webhook was sent an event of this job."
    printer.records(client.jobs.deliveries(job_id), DELIVERY_COLUMNS, empty=empty)


COMMANDS = (tree, journal, waits, deliveries)


def _tree_rows(found: Tree) -> list[_TreeRow]:
    """Return the jobs, each after its parent."""
    names = {job.id: job.name or job.id for job in found.jobs}
    below: dict[str | None, list[TreeJob]] = {}
    for job in found.jobs:
        below.setdefault(job.parent_id if job.parent_id in names else None, []).append(job)
    after: dict[str, list[str]] = {}
    for edge in found.edges:
        if edge.kind != "child":
            after.setdefault(edge.to_id, []).append(names.get(edge.from_id, edge.from_id))
    return [
        _TreeRow(lines=lines, job=job, after=", ".join(after.get(job.id, ())))
        for lines, job in _descend(below, None, "")
    ]


def _descend(
    below: Mapping[str | None, Sequence[TreeJob]], parent_id: str | None, margin: str
) -> Iterator[tuple[str, TreeJob]]:
    # A tree is at most 32 jobs deep.
    jobs = below.get(parent_id, ())
    for index, job in enumerate(jobs):
        is_last = index == len(jobs) - 1
        lines = "" if parent_id is None else f"{margin}{'└─ ' if is_last else '├─ '}"
        yield lines, job
        yield from _descend(below, job.id, "" if parent_id is None else f"{margin}{'   ' if is_last else '│  '}")
