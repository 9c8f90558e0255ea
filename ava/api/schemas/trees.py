"""Trees: schemas of responses."""

from __future__ import annotations

import json

from marshmallow import Schema, fields

from ava.api.http import payloads
from ava.api.http.fields import Flag, Id, Instant, String, wait_field
from ava.api.http.strict import Strict
from ava.api.schemas.jobs import LightJobRecord, light_writer
from ava.domain.record import format_time
from ava.store.jobs.reads.trees import Tree, TreeJob

#: The fields of a job that a tree shows.
_FIELDS = tuple(name for name in LightJobRecord._declared_fields if name not in ("input_bytes", "output_bytes"))


class TreeQuery(Strict):
    """The parameters of a tree."""

    wait = wait_field("each job of the tree is final")


class TreeWaitRecord(Schema):
    """A wait of a job."""

    began_at = Instant()
    ended_at = Instant(
        allow_none=True, metadata={"description": "When the handler was entered again after the wait; null before."}
    )


class TreeJobRecord(LightJobRecord):
    """A job of a tree: its record without input and output, and its position in the tree."""

    name = String(
        allow_none=True, metadata={"description": "Its name in its bulk, or among the children of its parent."}
    )
    is_detached = Flag(metadata={"description": "True if a cancel of its parent does not cancel it."})
    first_run_at = Instant(
        allow_none=True,
        metadata={"description": "Start of the first run of its attempt, also while the job waits; null before."},
    )
    waits = fields.List(fields.Nested(TreeWaitRecord), metadata={"description": "The latest 100 waits, oldest first."})


class TreeEdgeRecord(Schema):
    """An edge: job `to` runs after job `from` of its bulk, or is its child."""

    from_ = Id("job", data_key="from")
    to = Id("job")
    kind = String(metadata={"description": "`completed`, `ended` or `failed`: the value of `when`; or `child`."})


class TreeRecord(Schema):
    """The jobs of a tree, with their edges."""

    tree_id = Id("job")
    jobs = fields.List(fields.Nested(TreeJobRecord))
    edges = fields.List(fields.Nested(TreeEdgeRecord))


_write_job = light_writer(_FIELDS)


def write_tree(tree: Tree) -> str:
    edges = [{"from": edge.from_id, "to": edge.to_id, "kind": edge.kind} for edge in tree.edges]
    jobs = ",".join(map(_tree_job, tree.jobs))
    return f'{{"tree_id":"{tree.tree_id}","jobs":[{jobs}],"edges":{json.dumps(edges, separators=(",", ":"))}}}'


def _tree_job(each: TreeJob) -> str:
    # A child's name is a key that its parent chose, maybe from its input.
    is_shown = each.job.parent_id is None or payloads.are_visible()
    more = {
        "name": each.job.name if is_shown else None,
        "is_detached": each.is_detached,
        "first_run_at": format_time(each.job.first_started_at or each.job.started_at),
        "waits": [{"began_at": format_time(began), "ended_at": format_time(ended)} for began, ended in each.waits],
    }
    return f"{_write_job(each.job)[:-1]},{json.dumps(more, separators=(',', ':'))[1:]}"
