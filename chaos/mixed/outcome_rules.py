"""The rules of the contract about outcomes, graphs, and the sources of jobs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime

from chaos.mixed.history import History, Outcome

#: A job fails with `WorkerLost` after its third lost run, or later, or with the eleventh run that dies with its node.
_MIN_LOSSES = 3
_MIN_NODE_LOSSES = 11
_NODE_DIED = "WorkerLost: the worker node died"
_MINUTE_SECONDS = 60


def every_job_ends(history: History) -> Iterator[str]:
    """No accepted job, and no child that a handler has got, is lost or stuck."""
    got = {fact.value for id_ in history.runs for fact in history.facts(id_, "got") if fact.more.get("of") == "child"}
    for job_id in sorted((history.asked.accepted | got | history.runs.keys()) - history.outcomes.keys()):
        yield f"{job_id} is not final, and its runs were {len(history.runs.get(job_id, ()))}"


def a_completed_job_names_its_last_run(history: History) -> Iterator[str]:
    """A completed job has the output of its last run, which returned."""
    for job_id, outcome in history.outcomes.items():
        if outcome.status != "completed":
            continue
        last = history.runs[job_id][-1] if history.runs.get(job_id) else None
        if last is None or not last.is_done or last.name != outcome.run:
            yield f"{job_id}: its output is of run {outcome.run}, and its last run is {last and last.name}"


def a_failure_has_a_cause(history: History) -> Iterator[str]:
    """A job fails only because of its handler, its deadline, or lost runs."""
    for job_id, outcome in history.outcomes.items():
        if outcome.status == "failed" and (reason := _unexplained(history, job_id, outcome)):
            yield f"{job_id} failed, {reason}: {outcome.error}"


def _unexplained(history: History, job_id: str, outcome: Outcome) -> str | None:
    """Return how the records contradict a failed job's error; None if they explain it."""
    kind = (outcome.error or "").partition(":")[0]
    runs = history.runs.get(job_id, [])
    lost = sum(run.is_lost for run in runs)
    if kind == "ValueError":
        has_raised = any(fact.value == "ValueError" for fact in history.facts(job_id, "left"))
        return None if has_raised else "though no run has raised it"
    if kind == "Timeout":
        return None if job_id in history.asked.deadlines else "though it has no deadline"
    if kind == "StepInterrupted":
        return None if lost else "though it lost no run"
    if outcome.error == _NODE_DIED:
        return None if outcome.node_losses >= _MIN_NODE_LOSSES else f"though {outcome.node_losses} nodes died"
    if kind == "WorkerLost":
        return None if lost >= _MIN_LOSSES else f"though {lost} of its runs were lost"
    return "for a reason that no rule knows"


def a_cancel_has_a_cause(history: History) -> Iterator[str]:
    """A job is cancelled only by a client, with a job above it, or by its condition."""
    of_graphs = {id_: graph for graph in history.asked.graphs for id_ in graph.jobs.values()}
    for job_id, outcome in history.outcomes.items():
        if outcome.status != "cancelled" or _is_stopped(history, job_id):
            continue
        if (outcome.error or "").startswith("ConditionUnmet") and job_id in of_graphs:
            continue
        yield f"{job_id} is cancelled without a request: {outcome.error}"


def _is_stopped(history: History, job_id: str | None) -> bool:
    """Return True if the cancel of a job, or of one above it, was asked for, or its deadline may have passed."""
    while job_id is not None:
        if job_id in history.asked.cancelled or job_id in history.asked.deadlines:
            return True
        outcome = history.outcomes.get(job_id)
        job_id = outcome.parent_id if outcome else None
    return False


def a_condition_decides_what_begins(history: History) -> Iterator[str]:
    """An entry starts after the entries in `after`, by its `when`, with the output that `$output` names."""
    for graph in history.asked.graphs:
        for name, job_id in graph.jobs.items():
            if not (runs := history.runs.get(job_id)):
                continue
            before = [graph.jobs[each] for each in graph.after.get(name, ())]
            statuses = [history.outcomes[each].status if each in history.outcomes else "lost" for each in before]
            if not _holds(graph.when.get(name, "completed"), statuses):
                yield f"{job_id} ({name!r}) began after {statuses}"
            last_at = max((run.last_at for each in before for run in history.runs.get(each, ())), default=0.0)
            if runs[0].began_at < last_at:
                yield f"{job_id} ({name!r}) began before an entry in its `after` had ended"
            if source := graph.given.get(name):
                wanted = history.outcomes[graph.jobs[source]].run
                for run in runs:
                    if (given := run.facts[0].more.get("given")) != wanted:
                        yield f"{job_id} ({name!r}) was given {given}, and {source!r} returned {wanted}"


def _holds(when: str, statuses: list[str]) -> bool:
    if when == "completed":
        return all(status == "completed" for status in statuses)
    return when == "ended" or any(status in ("failed", "cancelled") for status in statuses)


def a_source_is_one_job(history: History) -> Iterator[str]:
    """An event, a delivery of a hook and a committed order are one job each, and no other is one."""
    made: Counter[tuple[str, int]] = Counter()
    for runs in history.runs.values():
        if source := runs[0].facts[0].more.get("source"):
            made[source[0], source[1]] += 1
    wanted = {(kind, number) for kind, numbers in history.asked.sources.items() for number in numbers}
    for kind, number in sorted(wanted | made.keys()):
        count = made[kind, number]
        if (count == 1) != ((kind, number) in wanted):
            yield f"{kind} {number} is {count} jobs"


def a_time_of_a_schedule_is_one_job(history: History) -> Iterator[str]:
    """A schedule fires once for each of its times, and leaves none out."""
    slots: Counter[int] = Counter()
    for runs in history.runs.values():
        if slot := runs[0].facts[0].more.get("slot"):
            slots[int(datetime.fromisoformat(slot).timestamp()) // _MINUTE_SECONDS] += 1
    for minute in range(min(slots, default=0), max(slots, default=-1) + 1):
        if slots[minute] != 1:
            yield f"minute {minute} is {slots[minute]} jobs"


def an_end_is_sent(history: History) -> Iterator[str]:
    """Each end is sent to the webhook, every time with the same id and the same bytes."""
    if history.deliveries is None:
        return
    sent: dict[str, set[str]] = defaultdict(set)
    for job_id, found in history.deliveries.items():
        sent[job_id] = {event for event, _ in found}
        if len(found) > 1:
            yield f"{job_id}: its end was sent as {len(sent[job_id])} events in {len(found)} forms"
    for job_id in sorted(history.outcomes.keys() - sent.keys()):
        yield f"{job_id}: its end was not sent"


RULES = (
    every_job_ends,
    a_completed_job_names_its_last_run,
    a_failure_has_a_cause,
    a_cancel_has_a_cause,
    a_condition_decides_what_begins,
    a_source_is_one_job,
    a_time_of_a_schedule_is_one_job,
    an_end_is_sent,
)
