"""Steps of processes that run jobs, of their parents and nodes; also of such as have lost their run."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain.job import JobSpec
from tests.integration.model import client_rules, duty_rules, moves
from tests.integration.model.cast import NODES, RATED, TENANTS
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.moves import End, Run
from tests.integration.model.recorder import Killed
from tests.integration.model.run_driver import claim_after
from tests.integration.model.state import PERMIT, JobState

_LATE_SHARE = 0.2


def _take_message(history: History) -> Sequence[Run]:
    """Returns what a process may start by a message: a new one, or a late one, or one that comes twice."""
    broker = history.broker
    is_late = history.is_chance(_LATE_SHARE)
    if is_late and history.is_chance(0.4):
        # No message says so: after a failover that lost transactions a number may come twice.
        job = history.choose_job(lambda job: not job.is_startable)
        node, claim = history.choose(list(NODES)), history.new_uuid()
        return [Run(job_id=job.id, run_no=job.run_no + 1, worker=job.worker, node=node, claim=claim)]
    message = history.choose(broker.all if is_late else broker.messages)
    if not is_late and history.is_chance(0.9):
        broker.messages.remove(message)
    living = [id_ for id_ in NODES if id_ in history.world.living and message.queue in NODES[id_].queues]
    node = history.choose(living if history.is_chance(0.9) else list(NODES))
    claim = history.new_uuid()
    runs = [
        Run(job_id=job_id, run_no=run_no, worker=message.worker, node=node, claim=claim)
        for job_id, run_no in message.runs
        if job_id in history.jobs
    ]
    return [history.twist(run, share=0.3 if is_late else 0.0) for run in runs]


def _message_of_one(history: History) -> tuple[Run, JobState]:
    runs = _take_message(history)
    if not runs:
        raise NotNow
    run = runs[0]
    return run, history.jobs[run.job_id]


@rule(weight=14)
def claim(history: History) -> None:
    """A process claims the run of a message."""
    run, job = _message_of_one(history)
    history.say(job.id, run.run_no, job.worker, job.status)
    wanted = moves.claim(job, history.world, run)
    history.runs.append(run)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.claim(run))
    if found is not Killed:
        history.require(found is not None, wanted is not None, "claimed")
    if history.jobs[job.id].claim == run.claim:
        history.oracle.note_begun(job.id)


@rule(weight=4)
def claim_together(history: History) -> None:
    """A process claims several runs of one worker with one statement."""
    first, job = _message_of_one(history)
    together = [first]
    for message in list(history.broker.messages):
        if message.worker == first.worker and len(together) < 4:
            history.broker.messages.remove(message)
            together += [
                Run(job_id=job_id, run_no=run_no, worker=first.worker, node=first.node, claim=first.claim)
                for job_id, run_no in message.runs
                if job_id in history.jobs and job_id not in {run.job_id for run in together}
            ]
    together = [
        Run(job_id=run.job_id, run_no=run.run_no, worker=run.worker, node=run.node, claim=run.claim, is_shared=True)
        for run in together
    ]
    history.say(job.worker, [(run.job_id, run.run_no) for run in together])
    wanted = [moves.claim(history.jobs[run.job_id], history.world, run) for run in together]
    history.runs += together
    found = history.act(Expected.of(wanted), lambda: history.run_driver.claim_together(together))
    if found is not Killed:
        history.require({each.id for each in found}, {each.id for each in wanted if each}, "claimed together")


@rule(weight=1)
def look_for_lost_claim(history: History) -> None:
    """A process whose claim's result was lost finds out whether it has the run."""
    run = history.choose_run()
    job = history.job_of(run)
    wanted = bool(job and moves.owns(job, run))
    history.say(run.job_id, run.run_no)
    history.require(history.run_driver.claimed(run) is not None, wanted, "claimed by")
    history.require(history.run_driver.is_held(run), wanted, "is held")
    follower = next((each for each in history.jobs.values() if each.claim == claim_after(run.claim)), None)
    has_follower = follower is not None and follower.is_running and follower.node == run.node
    history.require(history.run_driver.passed(run) is not None, has_follower, "passed")


@rule(weight=2)
def check_shared(history: History) -> None:
    """A process asks before a run of a shared claim begins."""
    run = history.choose_run(lambda run: run.is_shared)
    job = history.job_of(run)
    wanted = bool(job and moves.owns(job, run))
    found = history.act(Expected(), lambda: history.run_driver.check(run), can_be_killed=False)
    history.require(found, (wanted, wanted and job is not None and job.is_cancel_asked), "check")


@rule(weight=2)
def append_lines(history: History) -> None:
    """A handler logs, and reports progress."""
    run = history.choose_run()
    job, progress = history.job_of(run), history.choose([None, '{"fraction":0.5}'])
    history.say(run.job_id, run.run_no)
    wanted = None if job is None else moves.progress(job, run, progress)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.append_lines(run, progress))
    history.require(found, wanted is not None, "lines stored")


def _choose_end(history: History, job: JobState | None, *, may_retry: bool = True) -> End:
    status = history.choose(["completed"] * 5 + ["failed"] * 2 + ["queued"] * 3 + ["cancelled"])
    progress = history.choose([None, None, '{"fraction":1}'])
    if status == "completed":
        return End(status=status, output='{"done":true}', progress=progress)
    if status == "queued" and may_retry:
        gives_back = history.is_chance(0.5)
        if gives_back or (job is not None and job.attempt < job.max_attempts):
            return End(status="queued", retry_in=100.0, gives_back=gives_back, progress=progress)
    if status == "cancelled":
        return End(status=status, progress=progress)
    return End(status="failed", error="ValueError: no", progress=progress)


@rule(weight=10)
def end(history: History) -> None:
    """A process writes how its run ended."""
    run = history.choose_run()
    job = history.job_of(run)
    how = _choose_end(history, job)
    history.say(run.job_id, run.run_no, how.status)
    wanted = None if job is None else moves.end(job, run, how)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.end(run, how))
    history.require(found, None if wanted is None else wanted.status, "ended")


@rule(weight=4)
def end_and_claim(history: History) -> None:
    """A process ends its run and claims the next one in the same transaction."""
    run = history.choose_run()
    job = history.job_of(run)
    how = _choose_end(history, job)
    following, next_job = _message_of_one(history)
    following = Run(
        job_id=following.job_id, run_no=following.run_no, worker=following.worker, node=run.node, claim=following.claim
    )  # fmt: skip
    history.say(run.job_id, run.run_no, how.status, "then", following.job_id, following.run_no)
    ended = None if job is None else moves.end(job, run, how)
    # The job that ends has no next run yet.
    begun = moves.claim(next_job, history.world, following)
    history.runs.append(following)
    found = history.act(
        Expected.of([ended, begun]), lambda: history.run_driver.end_and_claim(run, how, following)
    )  # fmt: skip
    if found is not Killed:
        history.require(found[0], None if ended is None else ended.status, "ended")
        history.require(found[1] is not None, begun is not None, "claimed")
    if history.jobs[next_job.id].claim == following.claim:
        history.oracle.note_begun(next_job.id)


@rule(weight=5)
def end_and_pass(history: History) -> None:
    """A process ends its run, and its permit passes to the job that waits next."""
    run = history.choose_run(lambda run: (job := history.job_of(run)) is not None and job.limit_key is not None)
    if history.is_chance(0.7):
        # What was published a moment ago goes first.
        history.pass_time(61.0)
    job = history.job_of(run)
    how = _choose_end(history, job)
    ended = None if job is None else moves.end(job, run, how)
    follower = Run(job_id="", run_no=0, worker=run.worker, node=run.node, claim=claim_after(run.claim))
    history.say(run.job_id, run.run_no, how.status)
    before = dict(history.jobs)

    def passes(each: JobState, _world: object) -> list[JobState | None]:
        may = ended is not None and job is not None and _may_pass(history, job, each, before)
        return [moves.take_permit(each, follower) if may else None]

    expected = Expected(jobs=Expected.of([ended]).jobs, moves=passes)
    found = history.act(expected, lambda: history.run_driver.end_and_pass(run, how))
    passed = [each for each in history.jobs.values() if each.claim == follower.claim and before.get(each.id) != each]
    if len(passed) > 1:
        history.require(len(passed), 1, "jobs that got the permit")
    for each in passed:
        history.runs.append(
            Run(job_id=each.id, run_no=each.run_no, worker=each.worker, node=run.node, claim=follower.claim)
        )
        history.oracle.note_begun(each.id)
    if found is not Killed:
        history.require(found[0], None if ended is None else ended.status, "ended")
        history.require(found[1] is not None, bool(passed), "passed")


def _may_pass(history: History, ended: JobState, each: JobState, before: dict[str, JobState]) -> bool:
    """Returns True if a job may get the permit of one that ends: the oldest of the same tenant, and first in turn."""
    world = history.world
    waiting = [
        job
        for job in before.values()
        if job.status == "queued" and job.waits == PERMIT and job.limit_key == ended.limit_key
    ]
    urgent = [job for job in waiting if job.priority == min(job.priority for job in waiting)]
    taken = sum(job.has_permit and job.limit_key == ended.limit_key for job in before.values())
    most = world.workers[each.worker].max_running
    return (
        bool(urgent)
        and each.id == min(job.id for job in urgent)
        and {job.tenant for job in urgent} == {ended.tenant}
        and each.worker == ended.worker
        and each.tenant not in world.tenant_limits
        and each.rate_key is None
        and not world.is_paused(each.worker, each.tenant)
        and ended.queue not in world.paused_queues
        and most is not None
        and taken <= most
    )


@rule(weight=5)
def end_together(history: History) -> None:
    """A process writes the ends of the completed runs of a claim."""
    first = history.choose_run(lambda run: run.is_shared)
    together = [run for run in dict.fromkeys(history.runs) if run.claim == first.claim and history.is_chance(0.8)]
    together = list({run.job_id: history.twist(run, share=0.1) for run in together}.values())
    if not together:
        raise NotNow
    how = End(status="completed", output='{"done":true}')
    history.say([(run.job_id, run.run_no) for run in together])
    wanted = [moves.end(job, run, how) for run in together if (job := history.job_of(run)) is not None]
    ended = [(run, how) for run in together]
    found = history.act(Expected.of(wanted), lambda: history.run_driver.end_together(ended))
    history.require(found, {each.id: each.status for each in wanted if each is not None}, "ended together")


@rule(weight=3)
def give_back(history: History) -> None:
    """A process gives runs of a shared claim back that have not begun."""
    first = history.choose_run(lambda run: run.is_shared)
    together = [run for run in dict.fromkeys(history.runs) if run.claim == first.claim and history.is_chance(0.7)]
    if not together:
        raise NotNow
    history.say([(run.job_id, run.run_no) for run in together])
    before = dict(history.jobs)
    wanted = [moves.give_back(job, run) for run in together if (job := history.job_of(run)) is not None]
    found = history.act(Expected.of(wanted), lambda: history.run_driver.give_back(together))
    history.require(found, sum(each is not None for each in wanted), "given back")
    for run in together:
        if (
            run.job_id in before
            and moves.owns(before[run.job_id], run)
            and history.jobs[run.job_id] != before[run.job_id]
        ):
            history.oracle.note_given_back(before[run.job_id], run.run_no)


@rule(weight=4)
def put_off_rate(history: History) -> None:
    """A handler was told that it is too early: no job of its rate starts for a while."""
    run = history.choose_run(lambda run: (job := history.job_of(run)) is not None and job.rate_key is not None)
    if history.is_chance(0.6):
        # Another one of the key is admitted.
        history.pass_time(1801.0)
        duty_rules.feed(history)
    job, seconds = history.job_of(run), 2500.0
    assert job is not None
    history.say(run.job_id, run.run_no, job.rate_key)
    wanted = moves.owns(job, run)
    held = [moves.hold(each) for each in history.jobs.values() if wanted and each.rate_key == job.rate_key]
    found = history.act(Expected.of(held), lambda: history.run_driver.put_off_rate(run, seconds))
    history.require(found, wanted, "put off")
    if found is True and job.rate_key is not None:
        history.oracle.note_put_off(job.rate_key, seconds)


@rule(weight=0.7)
def rush(history: History) -> None:
    """Jobs of one rate come, and each that starts ends or is lost at once."""
    worker_id, tenant = history.choose(RATED), history.choose(TENANTS)
    specs = [JobSpec(worker_id=worker_id)] * 6
    client_rules.trigger_specs(history, tenant, specs)
    for _ in range(9):
        duty_rules.feed(history)
        for message in [each for each in history.broker.messages if each.worker == worker_id]:
            history.broker.messages.remove(message)
            run = Run(
                job_id=message.runs[0][0], run_no=message.runs[0][1], worker=worker_id, node=next(iter(NODES)),
                claim=history.new_uuid(),
            )  # fmt: skip
            _start_and_lose(history, run)


def _start_and_lose(history: History, run: Run) -> None:
    history.runs.append(run)
    wanted = moves.claim(history.jobs[run.job_id], history.world, run)
    history.act(Expected.of([wanted]), lambda: history.run_driver.claim(run), can_be_killed=False)
    if wanted is None:
        return
    history.oracle.note_begun(run.job_id)
    job, error = history.jobs[run.job_id], "WorkerLost: it died"
    rescued = moves.rescue(job, history.world, run, error=error, is_loss=True)
    history.act(
        Expected.of([rescued]), lambda: history.run_driver.rescue(run, error=error, is_loss=True), can_be_killed=False
    )  # fmt: skip


@rule(weight=4)
def rescue(history: History) -> None:
    """A node finds that the process of a run is gone, or returns the run because it shuts down."""
    run, is_loss = history.choose_run(), history.is_chance(0.7)
    job = history.job_of(run)
    run = history.twist(run, share=0.1)
    history.say(run.job_id, run.run_no, "lost" if is_loss else "returned")
    error = "WorkerLost: it died"
    wanted = None if job is None else moves.rescue(job, history.world, run, error=error, is_loss=is_loss)
    found = history.act(
        Expected.of([wanted]), lambda: history.run_driver.rescue(run, error=error, is_loss=is_loss)
    )  # fmt: skip
    if found is not Killed:
        history.require(found and found.status, wanted and wanted.status, "rescued")


@rule(weight=2)
def kill(history: History) -> None:
    """A node kills the process of a run that did not stop in time."""
    run = history.choose_run()
    job = history.job_of(run)
    history.say(run.job_id, run.run_no)
    error = "Timeout: exceeded 1 s"
    wanted = None if job is None else moves.kill(job, run, error=error)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.kill(run, error=error))
    history.require(found, wanted and wanted.status, "killed")


@rule(weight=1)
def recall_run(history: History) -> None:
    """A node uses up the number of a run whose process died before the claim."""
    run, job = _message_of_one(history)
    history.say(job.id, run.run_no)
    wanted = moves.recall_run(job, run.run_no)
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.recall_run(job.id, run.run_no))
    history.require(found, wanted is not None, "recalled")


@rule(weight=2.5)
def park_unclaimed(history: History) -> None:
    """A node cannot run a job: its worker is paused, or the node lacks the handler."""
    paused = [each for each in history.jobs.values() if each.is_published and moves.is_paused(each, history.world)]
    if paused and history.is_chance(0.5):
        job = history.choose(paused)
        run = Run(job_id=job.id, run_no=job.run_no + 1, worker=job.worker, node="", claim="")
    else:
        run, job = _message_of_one(history)
    lacks_handler = history.is_chance(0.7)
    history.say(job.id, run.run_no, "lacks the handler" if lacks_handler else "")
    wanted = moves.park_unclaimed(job, history.world, run, lacks_handler=lacks_handler)
    found = history.act(
        Expected.of([wanted]), lambda: history.run_driver.park_unclaimed(run, lacks_handler=lacks_handler)
    )
    history.require(found, wanted is not None, "parked")


@rule(weight=1.5)
def recall_runs(history: History) -> None:
    """A node gives messages back that no process has taken, or a publisher could not send them."""
    runs = {(run.job_id, run.run_no) for run in _take_message(history)}
    history.say(sorted(runs))
    wanted = [moves.recall_run(history.jobs[job_id], run_no) for job_id, run_no in runs]
    history.act(Expected.of(wanted), lambda: history.driver.recall_runs(sorted(runs)))
