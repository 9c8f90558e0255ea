"""The new jobs of retries: of single jobs, and of a bulk entry with all its followers that did not complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.access.caller import Caller
from ava.domain.jobs.graphs import Entry
from ava.domain.jobs.job import Job, JobSpec, Status
from ava.domain.jobs.new_job import UNMATCHED, UNRESOLVED, After, NewJob, TreePosition, origin_text
from ava.errors import InvalidFields, JobStateConflict
from ava.services.creation.quotas import TriggerRules
from ava.store.access import api_keys
from ava.store.engine import clock
from ava.store.engine.database import Connection
from ava.store.jobs import old_jobs
from ava.store.jobs.reads import trees
from ava.store.jobs.reads.trees import GraphFollower


def specs(connection: Connection, caller: Caller, retried: Sequence[Job], rules: TriggerRules) -> list[JobSpec]:
    """Return the specs of a caller's retries of jobs of its tenant, with the persons behind these jobs."""
    actors = {each for job in retried for each in job.identities}
    behind = api_keys.behind(connection, tenant_id=caller.tenant_id, actors=actors)
    return [
        JobSpec(
            worker_id=job.worker_id,
            input_json=job.input_json,
            trigger=job.trigger,
            # A platform job may be more urgent than this caller may ask for.
            priority=rules.bounded_by_role(caller, job.priority),
            retry_of=job.id,
            behind_retried=[Actor.parse(person) for each in job.identities if (person := behind.get(str(each.id)))],
            tags_json=job.tags_json,
            expires_in_seconds=job.expires_in_seconds,
            deadline_seconds=job.deadline_seconds,
            approval_json=job.approval_json,
        )
        for job in retried
    ]


def prepare(connection: Connection, caller: Caller, job: Job, rules: TriggerRules) -> list[NewJob]:
    """Return the new jobs of a bulk entry's retry, beginning with the entry's. Outputs of completed jobs are reused.

    Raise `InvalidFields` if the job is not a bulk entry, and `JobStateConflict` if it has completed, a job to retry is
    not final, or a predecessor is deleted.
    """
    if job.tree_id is None or job.parent_id is not None:
        reason = "The job is not an entry of a bulk with names or after; retry it without from."
        raise InvalidFields(f"from: {reason}", {"from": [reason]})
    if job.status is Status.COMPLETED:
        raise JobStateConflict("The job has completed; from can only retry an entry that did not complete.")
    followers = trees.unfinished_followers(connection, job)
    open_ones = [each.job.id for each in followers if not each.job.is_final]
    if open_ones:
        raise JobStateConflict(f"{open_ones[0]} has not ended yet; only ended jobs can be retried.")
    uuids = clock.new_uuids(connection, len(followers))
    renewed = {_uuid(each.job): uuid for each, uuid in zip(followers, uuids, strict=True)}
    _refuse_deleted(connection, caller, [uuid for each in followers for uuid in each.after if uuid not in renewed])
    awaited = {after for each in followers for after in each.after}
    retried = specs(connection, caller, [each.job for each in followers], rules)
    return [
        NewJob(
            tenant_id=caller.tenant_id,
            user_id=caller.user_id,
            spec=_spec(each, spec),
            schema_version=UNRESOLVED if each.template_json is not None else UNMATCHED,
            may_publish=False,
            uuid=uuid,
            position=TreePosition(tree_uuid=uuids[0], name=each.job.name, is_awaited=_uuid(each.job) in awaited),
            after=_after(each, renewed),
            origin_text=origin_text(caller.user_id, [caller.actor, *spec.behind_retried]),
        )
        for each, uuid, spec in zip(followers, uuids, retried, strict=True)
    ]


def _refuse_deleted(connection: Connection, caller: Caller, completed: Sequence[str]) -> None:
    """Retain the completed predecessors of the new jobs. Raise `JobStateConflict` if one is already deleted."""
    retained = old_jobs.keep(connection, tenant_id=caller.tenant_id, uuids=completed)
    deleted = next((ids.encode("job", uuid) for uuid in completed if uuid not in retained), None)
    if deleted is not None:
        raise JobStateConflict(
            f"{deleted}, a predecessor of the jobs to retry, is already deleted; trigger the whole graph again, or "
            "retry single jobs with an input."
        )


def _uuid(job: Job) -> str:
    return str(ids.decode("job", job.id))


def _spec(follower: GraphFollower, spec: JobSpec) -> JobSpec:
    if follower.template_json is None:
        return spec
    return replace(spec, input_json=follower.template_json, entry=Entry(has_references=True))


def _after(follower: GraphFollower, renewed: dict[str, str]) -> After | None:
    if not follower.after or follower.condition is None:
        return None
    uuids: Sequence[str] = [renewed.get(uuid, uuid) for uuid in follower.after]
    return After(uuids=tuple(uuids), condition=follower.condition, has_template=follower.template_json is not None)
