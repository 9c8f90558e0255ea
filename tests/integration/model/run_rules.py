"""Steps of messages and claims: of processes that start runs, and of nodes that cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ava.domain.jobs.job import RunKey
from tests.integration.model import transitions
from tests.integration.model.cast import NODES
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.recorder import Killed
from tests.integration.model.state import JobState
from tests.integration.model.transitions import Run

_OUTDATED_SHARE = 0.2


def _take_message(history: History) -> Sequence[Run]:
    """Returns what a process may start by a message: a new one, or a late one, or one that comes twice."""
    broker = history.broker
    is_outdated = history.happens(_OUTDATED_SHARE)
    if is_outdated and history.happens(0.4):
        # No message says so: after a failover that lost transactions a number may come twice.
        is_running = history.happens(0.6)
        job = history.choose_job(lambda job: job.is_running if is_running else job.waits is not None)
        node, claim = history.choose(list(NODES)), history.new_uuid()
        return [Run(key=RunKey(job.tenant, job.id, job.run_no + 1), worker=job.worker, node=node, claim=claim)]
    message = history.choose(broker.all if is_outdated else broker.messages)
    if not is_outdated and history.happens(0.9):
        broker.messages.remove(message)
    living = [id_ for id_ in NODES if id_ in history.world.living and message.queue in NODES[id_].queues]
    node = history.choose(living if history.happens(0.9) else list(NODES))
    claim = history.new_uuid()
    runs = [
        Run(key=key, worker=message.worker, node=node, claim=claim)
        for key in message.runs
        if key.job_id in history.jobs
    ]
    return [history.twist(run, share=0.3 if is_outdated else 0.0) for run in runs]


def message_of_one(history: History) -> tuple[Run, JobState]:
    runs = _take_message(history)
    if not runs:
        raise NotNow
    run = runs[0]
    return run, history.jobs[run.job_id]


@rule(weight=14)
def claim(history: History) -> None:
    """A process claims the run of a message."""
    run, job = message_of_one(history)
    history.say(job.id, run.run_no, job.worker, job.status)
    wanted = transitions.claim(job, history.world, run)
    history.runs.append(run)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.claim(run))
    if found is not Killed:
        history.require(found is not None, wanted is not None, "claimed")
    if history.jobs[job.id].claim == run.claim:
        history.oracle.record_begun(job.id)


@rule(weight=4)
def claim_together(history: History) -> None:
    """A process claims several runs of one worker with one statement."""
    first, job = message_of_one(history)
    together = [first]
    for message in list(history.broker.messages):
        if message.worker == first.worker and len(together) < 4:
            history.broker.messages.remove(message)
            together += [
                Run(key=key, worker=first.worker, node=first.node, claim=first.claim)
                for key in message.runs
                if key.job_id in history.jobs and key.job_id not in {run.job_id for run in together}
            ]
    waiting = [each for each in history.jobs.values() if each.waits is not None and each.worker == first.worker]
    if waiting and history.happens(0.5):
        # No message says so, as in `_take_message`.
        other = history.choose(waiting)
        run = replace(first, key=RunKey(other.tenant, other.id, other.run_no + 1))
        together = [*(each for each in together if each.job_id != other.id), run]
    together = [replace(run, is_shared=True) for run in together]
    history.say(job.worker, [(run.job_id, run.run_no) for run in together])
    wanted = [transitions.claim(history.jobs[run.job_id], history.world, run) for run in together]
    history.runs += together
    found = history.act(Expected.of(wanted), lambda: history.run_driver.claim_together(together))
    if found is not Killed:
        history.require({each.id for each in found}, {each.id for each in wanted if each}, "claimed together")


@rule(weight=1)
def find_lost_claim(history: History) -> None:
    """A process whose claim's result was lost finds out whether it has the run."""
    run = history.choose_run(twisted_share=0.0)
    job = history.job_of(run)
    wanted = bool(job and transitions.owns(job, run))
    history.say(run.job_id, run.run_no)
    history.require(history.run_driver.claimed(run) is not None, wanted, "claimed by")
    history.require(history.run_driver.is_held(run), wanted, "is held")


@rule(weight=2)
def check_shared(history: History) -> None:
    """A process asks before a run of a shared claim begins."""
    run = history.choose_run(lambda run: run.is_shared)
    job = history.job_of(run)
    wanted = bool(job and transitions.owns(job, run))
    found = history.act(Expected(), lambda: history.run_driver.check(run), can_be_killed=False)
    history.require(found, (wanted, wanted and job is not None and job.is_cancel_asked), "check")


@rule(weight=2)
def append_lines(history: History) -> None:
    """A handler logs, and reports progress."""
    run = history.choose_run()
    job, progress = history.job_of(run), history.choose([None, '{"fraction":0.5}'])
    history.say(run.job_id, run.run_no)
    wanted = None if job is None else transitions.progress(job, run, progress)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.append_lines(run, progress))
    history.require(found, wanted is not None, "lines stored")


@rule(weight=1)
def recall_run(history: History) -> None:
    """A node uses up the number of a run whose process died before the claim."""
    run, job = message_of_one(history)
    history.say(job.id, run.run_no)
    wanted = transitions.recall_run(job, run.run_no)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.recall_run(run.key))
    history.require(found, wanted is not None, "recalled")


@rule(weight=2.5)
def park_unclaimed(history: History) -> None:
    """A node cannot run a job: its worker is paused, or the node lacks the handler."""
    paused = [
        each for each in history.jobs.values() if each.is_published and transitions.is_paused(each, history.world)
    ]
    if paused and history.happens(0.5):
        job = history.choose(paused)
        run = Run(key=RunKey(job.tenant, job.id, job.run_no + 1), worker=job.worker, node="", claim="")
    else:
        run, job = message_of_one(history)
    lacks_handler = history.happens(0.7)
    history.say(job.id, run.run_no, "lacks the handler" if lacks_handler else "")
    wanted = transitions.park_unclaimed(job, history.world, run, lacks_handler=lacks_handler)
    found = history.act(
        Expected.of([wanted]), lambda: history.run_driver.park_unclaimed(run, lacks_handler=lacks_handler)
    )
    history.require(found, wanted is not None, "parked")


@rule(weight=1.5)
def recall_runs(history: History) -> None:
    """A node gives messages back that no process has taken, or a publisher could not send them."""
    runs = {run.key for run in _take_message(history)}
    history.say(sorted(runs))
    wanted = [transitions.recall_run(history.jobs[key.job_id], key.run_no) for key in runs]
    history.act(Expected.of(wanted), lambda: history.driver.recall_runs(sorted(runs)))
