"""The limits of waiting jobs, job trees, graphs, steps and deadlines."""

from __future__ import annotations

from ava.domain.jobs import waits
from ava.domain.limits.limit import Limit

WAITING_JOBS = Limit(
    name="waiting_jobs",
    unit="jobs",
    meaning="Jobs of a tenant that wait for other jobs, an event or a time. An entry of a bulk with `after` beyond "
    "them is refused, and so is the wait of a handler (`ava.TooManyWaiting`).",
    status=429,
    field="tenant_max_waiting",
)
GRAPH_EDGES = Limit(
    name="graph_edges",
    unit="edges",
    meaning="Names in the `after` of all entries of a bulk together.",
    status=422,
    fixed=10_000,
)
TREE_JOBS = Limit(
    name="tree_jobs",
    unit="jobs",
    meaning="Jobs below a root; a child beyond them is refused to its handler.",
    status=None,
    fixed=10_000,
)
TREE_DEPTH = Limit(
    name="tree_depth",
    unit="jobs",
    meaning="Jobs above each other in a tree; a child beyond them is refused to its handler.",
    status=None,
    fixed=32,
)
DEADLINE_SECONDS = Limit(
    name="deadline_seconds",
    unit="seconds",
    meaning="Seconds from a job's creation, or its date, to its deadline: a year.",
    status=422,
    fixed=366 * 86_400,
)
STEPS = Limit(
    name="steps",
    unit="steps",
    meaning="Steps of a job, and events that it waits for; `env.step` and `env.wait_event` refuse one more.",
    status=None,
    fixed=waits.MAX_STEPS,
)
STEP_BYTES = Limit(
    name="step_bytes",
    unit="bytes",
    meaning="Bytes of the result of a step, as JSON.",
    status=None,
    fixed=waits.MAX_STEP_BYTES,
)
ALL_STEPS_BYTES = Limit(
    name="all_steps_bytes",
    unit="bytes",
    meaning="Bytes of the results of all steps of a job, and of the events that it got.",
    status=None,
    fixed=waits.MAX_ALL_STEPS_BYTES,
)
