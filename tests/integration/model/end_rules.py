"""Steps that end a run: by its process, its parent, its node; also by such as have lost it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ava.domain.jobs.job import JobSpec
from tests.integration.model import client_rules, duty_rules, transitions
from tests.integration.model.cast import NODES, RATED, TENANTS
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.recorder import Killed
from tests.integration.model.run_rules import message_of_one
from tests.integration.model.state import JobState
from tests.integration.model.transitions import End, Run


def ask_to_stop(history: History, run: Run) -> None:
    """In some cases a cancel comes while a run goes on."""
    job = history.job_of(run)
    if job is not None and job.is_running and not job.is_cancel_asked and history.happens(0.2):
        history.say("cancelled;")
        wanted = transitions.cancel_all(history.jobs, [job], f"usr_{job.tenant}", again=True)
        history.act(Expected.of(wanted), lambda: history.driver.cancel(job.tenant, job.id), can_be_killed=False)


def _choose_end(history: History, job: JobState | None, *, may_retry: bool = True) -> End:
    status = history.choose(["completed"] * 5 + ["failed"] * 2 + ["queued"] * 3 + ["cancelled"])
    progress = history.choose([None, None, '{"fraction":1}'])
    if status == "completed":
        return End(status=status, output='{"done":true}', progress=progress)
    if status == "queued" and may_retry:
        gives_back = history.happens(0.5)
        if gives_back or (job is not None and job.attempt < job.max_attempts):
            return End(status="queued", retry_in=100.0, gives_back=gives_back, progress=progress)
    if status == "cancelled":
        return End(status=status, progress=progress)
    return End(status="failed", error="ValueError: no", progress=progress)


@rule(weight=10)
def end(history: History) -> None:
    """A process writes how its run ended."""
    run = history.choose_run()
    ask_to_stop(history, run)
    job = history.job_of(run)
    how = _choose_end(history, job)
    history.say(run.job_id, run.run_no, how.status)
    wanted = None if job is None else transitions.end(job, run, how)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.end(run, how))
    history.require(found, None if wanted is None else wanted.status, "ended")
    if wanted is not None and history.happens(0.3):
        # The result was lost, so the process writes it again, and another process of the run writes too.
        for again in (how, End(status="completed", output="2")):
            job = history.job_of(run)
            wanted = None if job is None else transitions.end(job, run, again)
            history.act(
                Expected.of([wanted]),
                lambda again=again: history.run_driver.end(run, again),
                can_be_killed=False,  # type: ignore[misc]
            )


@rule(weight=4)
def end_and_claim(history: History) -> None:
    """A process ends its run and claims the next one in the same transaction."""
    run = history.choose_run(lambda run: run.node is not None)
    job = history.job_of(run)
    how = _choose_end(history, job)
    following, next_job = message_of_one(history)
    following = replace(following, node=run.node)
    history.say(run.job_id, run.run_no, how.status, "then", following.job_id, following.run_no)
    ended = None if job is None else transitions.end(job, run, how)
    # An end that is not the plain one of an only run claims nothing: the process claims the next run by itself.
    is_plain = (
        job is not None
        and ended is not None
        and ended.is_final
        and not job.is_cancel_asked
        and job.first_run == job.run_no
    )
    begun = transitions.claim(next_job, history.world, following) if is_plain else None
    history.runs.append(following)
    found = history.act(
        Expected.of([ended, begun]), lambda: history.run_driver.end_and_claim(run, how, following)
    )  # fmt: skip
    if found is not Killed:
        history.require(found[0], None if ended is None else ended.status, "ended")
        history.require(found[1] is not None, begun is not None, "claimed")
    if history.jobs[next_job.id].claim == following.claim:
        history.oracle.record_begun(next_job.id)


@rule(weight=5)
def end_together(history: History) -> None:
    """A process writes the ends of the completed runs of a claim."""
    first = history.choose_run(lambda run: run.is_shared)
    ask_to_stop(history, first)
    together = [run for run in dict.fromkeys(history.runs) if run.claim == first.claim and history.happens(0.8)]
    # One claim ends them all.
    together = [replace(history.twist(run, share=0.1), claim=first.claim) for run in together]
    if not together:
        raise NotNow
    how = End(status="completed", output='{"done":true}')
    history.say([(run.job_id, run.run_no) for run in together])
    wanted = [transitions.end(job, run, how) for run in together if (job := history.job_of(run)) is not None]
    ended = [(run, how) for run in together]
    found = history.act(Expected.of(wanted), lambda: history.run_driver.end_together(ended))
    history.require(found, {each.id: each.status for each in wanted if each is not None}, "ended together")


@rule(weight=3)
def release(history: History) -> None:
    """A process gives runs of a shared claim back that have not begun."""
    first = history.choose_run(lambda run: run.is_shared)
    ask_to_stop(history, first)
    together = [run for run in dict.fromkeys(history.runs) if run.claim == first.claim and history.happens(0.7)]
    if not together:
        raise NotNow
    history.say([(run.job_id, run.run_no) for run in together])
    before = dict(history.jobs)
    wanted = [transitions.release(job, run) for run in together if (job := history.job_of(run)) is not None]
    found = history.act(Expected.of(wanted), lambda: history.run_driver.release(together))
    history.require(found, sum(each is not None for each in wanted), "given back")
    for run in together:
        if (
            run.job_id in before
            and transitions.owns(before[run.job_id], run)
            and history.jobs[run.job_id] != before[run.job_id]
        ):
            history.oracle.record_requeued(before[run.job_id], run.run_no)


@rule(weight=3)
def defer_rate(history: History) -> None:
    """A handler raised `RateLimited`: no job of its rate starts for a while."""
    if history.happens(0.3):
        worker_id, tenant = history.choose(RATED), history.choose(TENANTS)
        client_rules.trigger_specs(history, tenant, [JobSpec(worker_id=worker_id)] * 3)
        duty_rules.feed(history)
        start_all(history, worker_id)
    run = history.choose_run(lambda run: (job := history.job_of(run)) is not None and job.rate_key is not None)
    if history.happens(0.6):
        # Another one of the key is admitted.
        history.pass_time(1801.0)
        duty_rules.feed(history)
    job, seconds = history.job_of(run), 2500.0
    assert job is not None
    history.say(run.job_id, run.run_no, job.rate_key)
    wanted = transitions.owns(job, run)
    held = [transitions.hold(each) for each in history.jobs.values() if wanted and each.rate_key == job.rate_key]
    found = history.act(Expected.of(held), lambda: history.run_driver.defer_rate(run, seconds))
    history.require(found, wanted, "deferred")
    if found is True and job.rate_key is not None:
        history.oracle.record_deferred(job.rate_key, seconds)


@rule(weight=0.7)
def rush(history: History) -> None:
    """Jobs of one rate come, and each that starts ends or is lost at once."""
    worker_id, tenant = history.choose(RATED), history.choose(TENANTS)
    specs = [JobSpec(worker_id=worker_id)] * 6
    client_rules.trigger_specs(history, tenant, specs)
    for _ in range(9):
        duty_rules.feed(history)
        for run in start_all(history, worker_id):
            job, error = history.jobs[run.job_id], "WorkerLost: it died"
            rescued = transitions.rescue(job, history.world, run, error=error, is_loss=True)
            history.act(
                Expected.of([rescued]),
                lambda run=run, error=error: history.run_driver.rescue(run, error=error, is_loss=True),  # type: ignore[misc]
                can_be_killed=False,
            )


def start_all(history: History, worker_id: str) -> list[Run]:
    """A process claims the first run of each message of a worker. Returns the runs that it gets."""
    runs = []
    for message in [each for each in history.broker.messages if each.worker == worker_id]:
        history.broker.messages.remove(message)
        run = Run(key=message.runs[0], worker=worker_id, node=next(iter(NODES)), claim=history.new_uuid())
        # Retention may have deleted the job of a message.
        if run.job_id in history.jobs and _start(history, run):
            runs.append(run)
    return runs


def _start(history: History, run: Run) -> bool:
    """A process claims a run. Returns True if it gets it."""
    history.runs.append(run)
    wanted = transitions.claim(history.jobs[run.job_id], history.world, run)
    history.act(Expected.of([wanted]), lambda: history.run_driver.claim(run), can_be_killed=False)
    if wanted is not None:
        history.oracle.record_begun(run.job_id)
    return wanted is not None


@rule(weight=4)
def rescue(history: History) -> None:
    """A node finds that the process of a run is gone, or returns the run because it shuts down."""
    run, is_loss, is_unbegun = history.choose_run(), history.happens(0.7), history.happens(0.2)
    ask_to_stop(history, run)
    job = history.job_of(run)
    run = history.twist(run, share=0.1)
    if history.happens(0.2):
        run = replace(run, node=history.choose(list(NODES)))
    history.say(run.job_id, run.run_no, "lost" if is_loss else "returned")
    error = "WorkerLost: it died"
    how: dict[str, Any] = {"error": error, "is_loss": is_loss, "is_unbegun": is_unbegun}
    wanted = None if job is None else transitions.rescue(job, history.world, run, **how)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.rescue(run, **how))
    if found is not Killed:
        history.require(found, wanted and wanted.status, "rescued")


@rule(weight=2)
def kill(history: History) -> None:
    """A node kills the process of a run that did not stop in time."""
    run = history.choose_run()
    ask_to_stop(history, run)
    job = history.job_of(run)
    history.say(run.job_id, run.run_no)
    error = "Timeout: exceeded 1 s"
    wanted = None if job is None else transitions.kill(job, run, error=error)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.kill(run, error=error))
    history.require(found, wanted and wanted.status, "killed")
