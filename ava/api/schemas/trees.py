"""Trees: schemas of responses."""

from __future__ import annotations

from collections.abc import Sequence

from ava.api.http.fields import wait_field
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.api.schemas.jobs import LightJobRecord, light_writer
from ava.domain.jobs.graphs import Tree, TreeEdge, TreeJob, TreeWait

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
