"""`ava jobs tree`: the tree of a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ava.cli.api.factory import Send, command
from ava.cli.screen.output import OutputFormat, RecordPrinter
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


@command("jobs.tree", click.option("--wait", is_flag=True, help="Wait until all jobs of the tree have ended."))
def tree(client: Client, send: Send, wait: bool, job_id: str, printer: RecordPrinter) -> None:
    found = send(job_id=job_id)
    while wait and not found.is_final:
        found = client.jobs.tree(job_id, wait_seconds=_WAIT_SECONDS)
    if printer.format is OutputFormat.JSON:
        printer.record(found)
    else:
        printer.records(_tree_rows(found) if printer.is_for_people else found.jobs, _COLUMNS)


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
