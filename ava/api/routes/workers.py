"""`/v1/ava/workers`: the workers and their settings per tenant."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.callers.auth import open_to_workers
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.records import write_deleted
from ava.api.http.strict import DryRunQuery
from ava.api.routes.audit import record_change
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.workers import (
    WorkerBody,
    WorkerChangeBody,
    WorkerDeletedRecord,
    WorkerDeleteQuery,
    WorkerListQuery,
    WorkerPauseBody,
    WorkerRecord,
    WorkerResumeBody,
    WorkerWithSettingsRecord,
    write_worker,
    write_worker_with_settings,
)
from ava.domain.access.caller import Role
from ava.domain.secrets.redaction import HIDDEN
from ava.domain.worker import PullWorkerSpec, Worker
from ava.errors import Forbidden
from ava.services.workers import WorkerChange

blueprint = Blueprint("workers", __name__, url_prefix="/v1/ava/workers")
_calls = ResourceCalls(
    blueprint=blueprint,
    rule="/<worker_id>",
    noun="a worker",
    find=lambda: context().workers,
    write=write_worker_with_settings,
    record=WorkerWithSettingsRecord(),
)

#: Audited fields of a changed worker.
_AUDITED = (
    *("status", "config", "timeout_seconds", "max_retries", "retry", "max_running", "rate", "platform", "name"),
    "approval",
)
#: Audited fields of a created or deleted worker.
_DEFINED = ("name", "runtime", "timeout_seconds", "max_retries", "max_running", "rate", "scope")


replace(_calls, write=write_worker, record=WorkerRecord()).add_list(
    WorkerListQuery(),
    "worker_filter",
    description="The workers by id, without schemas and settings.",
    call=PublicCall(
        options={"q": "--search"},
        help="List workers.",
        example="--live",
        lists_all=True,
        columns="id name status* live* queue TIMEOUT=timeout* RETRIES=max_retries+ updated_at+",
        tool="list_workers",
    ),
)


@blueprint.post("")
@operation(
    summary="Create a worker",
    call=PublicCall(
        arguments="slug",
        options={"retry": "", "scope": "--platform"},
        help="Create a pull worker, which claims its runs over HTTP. Its id is wkr_ followed by the slug.\n\n`ava "
        "keys create --worker` creates the key with which it claims runs.",
        example="--timeout-seconds 60 --max-retries 2",
    ),
    description="Creates a worker of the tenant or of the platform; its runs are claimed over HTTP "
    "(`/v1/ava/runs/claim`). Only the tenant sees its own workers.",
    body=WorkerBody(),
    body_as="made",
    record=WorkerWithSettingsRecord(),
    status=201,
    failures=(409, 413, 415, 422),
    is_write=True,
    # A schema reveals something about each input that is retried with it.
    needs_payloads=True,
    takes_key=True,
)
def create(made: tuple[PullWorkerSpec, bool], key: str | None) -> Response:
    spec, is_of_platform = made
    created, is_replay = context().workers.create(caller(), spec, key, is_of_platform=is_of_platform)
    record = write_worker_with_settings(created)
    response = responses.data(record, 201, location=f"{blueprint.url_prefix}/{created.id}", is_replay=is_replay)
    if not is_replay:
        record_change("{}", record, _DEFINED)
    return response


@blueprint.delete("/<worker_id>")
@operation(
    summary="Delete a worker",
    call=PublicCall(
        options={"scope": "--platform"}, help="Delete pull workers, once they have no waiting or running jobs."
    ),
    description="Deletes a pull worker without waiting or running jobs. Its ended jobs are retained.",
    query=WorkerDeleteQuery(),
    query_as="is_of_platform",
    record=WorkerDeletedRecord(),
    failures=(404, 409),
    is_write=True,
    needs_payloads=True,
)
def delete(worker_id: str, is_of_platform: bool) -> Response:
    deleted = context().workers.delete(caller(), worker_id, is_of_platform=is_of_platform)
    record_change(write_worker_with_settings(deleted), "{}", _DEFINED)
    return responses.data(write_deleted(worker_id))


@blueprint.get("/<worker_id>")
@open_to_workers
@operation(
    summary="Show a worker",
    call=PublicCall(help="Show a worker with its settings and the schema of its input."),
    record=WorkerWithSettingsRecord(),
    failures=(404,),
)
def show(worker_id: str) -> Response:
    """Show one worker."""
    if caller().role is Role.WORKER and worker_id not in caller().worker_ids:
        raise Forbidden(f"This API key has no access to {worker_id}.")
    return responses.data(write_worker_with_settings(context().workers.show(caller(), worker_id)))


@blueprint.patch("/<worker_id>")
@operation(
    summary="Update a worker",
    call=PublicCall(
        options={"retry": "", "scope": "--platform"},
        help="Change the tenant's settings of a worker. A cleared setting is as the handler declares it.\n\nThe "
        "concurrency and rate limits of a worker apply to all tenants. Clearing the retry delays also clears "
        "the max retries, unless --max-retries is given.",
        example="--config REGION=eu --unset timeout-seconds",
    ),
    description="Changes the tenant's settings, which override the platform's settings, which override the "
    "handler's. Only the fields in the body change, and only the named entries of `config` and `secrets`. Waiting "
    "jobs follow a change of status within two seconds; no job of a paused worker starts after the response. A job "
    "reads configuration, secrets and timeout when it starts, and the number of retries when it is triggered.",
    body=WorkerChangeBody(),
    body_as="change",
    record=WorkerWithSettingsRecord(),
    failures=(404, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def change(worker_id: str, change: WorkerChange) -> Response:
    before, after = context().workers.change(caller(), worker_id, change)
    not_shown = {f"secrets.{name}": value for name, value in change.secrets.items()}
    if change.is_of_platform:
        # Every role of the tenant reads the trail.
        not_shown |= {f"platform.config.{name}": value for name, value in change.config.items()}
    hidden = {name: (None, HIDDEN) if value else (HIDDEN, None) for name, value in not_shown.items()}
    record_change(_audited(before), _audited(after), _AUDITED, hidden=hidden)
    return responses.data(write_worker_with_settings(after))


_calls.add_pauses(
    pause="Triggers are still accepted, and schedules still create jobs; no job of the worker starts after the "
    "response. 409 if it is deprecated.",
    resume="Waiting jobs follow within two seconds. The platform's pause and the tenant's end separately. 409 if the "
    "worker is deprecated.",
    bodies=(WorkerPauseBody(), WorkerResumeBody()),
    failures=(404, 409, 413, 415, 422),
    needs_payloads=True,
    options={"reason": "--reason", "scope": "--platform"},
)


def _audited(worker: Worker) -> str:
    """Return a worker without the platform's configuration, which no tenant sees."""
    platform = worker.platform and replace(worker.platform, config={})
    return write_worker_with_settings(replace(worker, platform=platform))
