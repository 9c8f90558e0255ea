"""The runs, journal, waits and tree of a job, and why it is in its state: schemas of requests and responses."""

from __future__ import annotations

from collections.abc import Sequence

from ava.api.http.fields import wait_field
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.api.schemas.jobs import LightJobRecord, light_writer
from ava.domain.jobs.explanation import Explanation, Facts
from ava.domain.jobs.graphs import Tree, TreeEdge, TreeJob, TreeWait
from ava.domain.jobs.run_log import JobRun
from ava.domain.jobs.waits import ChildState, ShownEntry, ShownWait


class JobRunRecord(RecordSchema, of=JobRun):
    """One run of a job's handler."""

    names = "attempt started_at ended_at outcome duration_ms cpu_ms peak_memory_mb wait_ms"


write_job_run = compile_schema(JobRunRecord())


class ExplanationFacts(RecordSchema, of=Facts):
    """The facts of an explanation."""

    names = (
        "queue worker_active processes busy queue_refused ahead estimate_seconds run_at attempt max_attempts node "
        "started_at cancel_requested_at"
    )


class ExplanationRecord(RecordSchema, of=Explanation):
    """Why a job is in its state."""

    names = "job_id status sentence facts"


write_explanation = compile_schema(ExplanationRecord())


class ChildRecord(RecordSchema, of=ChildState):
    """A child in a journal."""


class JournalEntryRecord(RecordSchema, of=ShownEntry):
    """A named step, child or wait of a handler."""


class JobWaitRecord(RecordSchema, of=ShownWait):
    """A wait of a job."""


write_journal_entry = compile_schema(JournalEntryRecord())
write_job_wait = compile_schema(JobWaitRecord())


_LIGHT = tuple(LightJobRecord._declared_fields)
_POSITION = ("name", "is_detached", "first_run_at", "waits")
#: The fields of a job that a tree shows.
_SHOWN = tuple(name for name in _LIGHT if name not in ("input_bytes", "output_bytes"))


class TreeQuery(Strict):
    """The parameters of a tree."""

    wait = wait_field("each job of the tree is final")


class TreeWaitRecord(RecordSchema, of=TreeWait):
    """A wait of a job."""


class TreeJobRecord(LightJobRecord, of=TreeJob):
    """A job of a tree: its record without input and output, and its position in the tree."""

    names = " ".join(_LIGHT + _POSITION)


class TreeEdgeRecord(RecordSchema, of=TreeEdge):
    """An edge: job `to` runs after job `from` of its bulk, or is its child."""


class TreeRecord(RecordSchema, of=Tree):
    """The jobs of a tree, with their edges."""


_write_position = compile_schema(TreeJobRecord(only=_POSITION)).whole


def _write_jobs(jobs: Sequence[TreeJob]) -> str:
    write = light_writer(_SHOWN).for_caller()
    return f"[{','.join([f'{write(each.job)[:-1]},{_write_position(each)[1:]}' for each in jobs])}]"


write_tree = compile_schema(TreeRecord(), jobs=_write_jobs)
