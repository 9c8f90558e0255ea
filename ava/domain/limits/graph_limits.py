"""The limits of waiting jobs, job trees, graphs, steps and deadlines."""

from __future__ import annotations

from ava.domain import approval
from ava.domain.jobs import waits
from ava.domain.limits.limit import Limit

# fmt: off
# The first line of a limit has its values, the next its meaning.
WAITING_JOBS = Limit(name="waiting_jobs", unit="jobs", status=429, field="tenant_max_waiting",
    meaning="Jobs of a tenant that wait for other jobs, an event or a time. Beyond the limit, a bulk entry with "
    "`after` is refused, and so is a handler's wait (`ava.TooManyWaiting`).")
GRAPH_EDGES = Limit(name="graph_edges", unit="edges", status=422, fixed=10_000,
    meaning="Names in the `after` lists of all entries of a bulk together.")
TREE_JOBS = Limit(name="tree_jobs", unit="jobs", status=422, fixed=10_000,
    meaning="Jobs below the root of a tree; the handler's call for a further child fails.")
TREE_DEPTH = Limit(name="tree_depth", unit="jobs", status=422, fixed=32,
    meaning="Levels of a tree; the handler's call for a deeper child fails.")
DEADLINE_SECONDS = Limit(name="deadline_seconds", unit="seconds", status=422, fixed=366 * 86_400,
    meaning="Seconds from a job's creation, or from its `scheduled_at`, to its deadline: a year.")
STEPS = Limit(name="steps", unit="steps", status=422, fixed=waits.MAX_STEPS,
    meaning="Steps of a job, and events and decisions that it waits for; `env.step`, `env.wait_event` and "
    "`env.approve` refuse further ones.")
STEP_BYTES = Limit(name="step_bytes", unit="bytes", status=413, fixed=waits.MAX_STEP_BYTES,
    meaning="Bytes of the result of a step, as JSON.")
ALL_STEPS_BYTES = Limit(name="all_steps_bytes", unit="bytes", status=422, fixed=waits.MAX_ALL_STEPS_BYTES,
    meaning="Bytes of the results of all steps of a job, and of the events that it received.")
CHILDREN_PER_CALL = Limit(name="children_per_call", unit="jobs", status=422, fixed=1_000,
    meaning="Children that one call of a run over HTTP creates.")
OUTPUTS_PER_CALL = Limit(name="outputs_per_call", unit="jobs", status=422, fixed=1_000,
    meaning="Outputs of children that a run over HTTP reads in one call.")
APPROVAL_BYTES = Limit(name="approval_bytes", unit="bytes", status=413, fixed=approval.MAX_CONTENT_BYTES,
    meaning="Bytes of an approval's payload, of its schema, and of the answer, as JSON.")
WAITS_PER_CALL = Limit(name="waits_per_call", unit="waits", status=422, fixed=100,
    meaning="Waits that end one run over HTTP.")
#: The limits of a job's journal.
JOURNAL_LIMITS = (STEPS, STEP_BYTES, ALL_STEPS_BYTES, APPROVAL_BYTES)
