"""`/v1/ava/containments`: stop everything in a scope of jobs, until it is lifted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from itertools import chain

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.callers.auth import open_to_all
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context, request_id
from ava.api.http.operations import NDJSON, operation
from ava.api.http.paging import PageRequest, id_reader, page_of, page_query
from ava.api.routes.audit import record_values
from ava.api.routes.jobs import export_response
from ava.api.routes.streams import HEARTBEAT_SECONDS, client_watch, event_stream, waiting
from ava.api.schemas.bulk_operations import OperationRecord, write_operation
from ava.api.schemas.containments import (
    ContainmentBody,
    ContainmentListQuery,
    ContainmentListRequest,
    ContainmentQuery,
    ContainmentRecord,
    ContainmentRequest,
    LiftBody,
    ProofsRecord,
    RehearsalRecord,
    containment_writer,
    write_containment,
    write_proofs,
    write_rehearsal,
)
from ava.api.schemas.jobs import LightJobRecord, light_writer
from ava.domain.containment import Containment, HeldJobs
from ava.store.jobs.reads.batches import JobBatch

blueprint = Blueprint("containments", __name__, url_prefix="/v1/ava/containments")
#: Beside the API's paths, and open to all.
keys_blueprint = Blueprint("signing_keys", __name__)


@keys_blueprint.get("/.well-known/ava-signing-keys")
@open_to_all
def signing_keys() -> Response:
    """Return the public keys that verify proofs, former ones too, as a JWKS (RFC 7517)."""
    response = responses.as_json(json.dumps({"keys": [each.jwk for each in context().signing.public_keys()]}))
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


@blueprint.post("")
@operation(
    summary="Create a containment",
    call=PublicCall(
        arguments="scope reason running triggers ends_in_seconds",
        help="Contain the jobs that match all given parts of a scope.",
        example='--worker wkr_import --reason "it deletes invoices" --wait',
    ),
    description="After the response no job of the scope starts: startable jobs are held, running ones are asked to "
    "stop (or left to end), and new triggers are refused (or held). From `effective_at` on no handler of the scope is "
    "entered, from `complete_at` on no run of it can write. With `dry_run` the response is 200 with the jobs to hold "
    "and to stop.",
    body=ContainmentBody(),
    record=ContainmentRecord(),
    status=201,
    other_records={200: RehearsalRecord()},
    failures=(409, 413, 415, 422),
    is_write=True,
    takes_key=True,
)
def create(body: ContainmentRequest, key: str | None) -> Response:
    spec = body.spec
    record_values(scope=spec.scope.record, running=spec.running, triggers=spec.triggers, dry_run=body.is_dry_run)
    if body.is_dry_run:
        return responses.data(write_rehearsal(context().containments.rehearse(caller(), spec)))
    created, is_replay = context().containments.create(caller(), spec, key=key)
    return responses.data(
        write_containment(created), 201, location=f"{blueprint.url_prefix}/{created.id}", is_replay=is_replay
    )


@blueprint.get("")
@operation(
    summary="List containments",
    call=PublicCall(
        help="List containments, newest first.",
        columns="id* state* scope HELD=held_count STOPPED=stopped_count RUNNING=running_count "
        "EFFECTIVE=effective_at+ COMPLETE=complete_at+ reason+",
    ),
    description="Newest first: containments of the tenant and of all tenants. They are retained as long as the "
    "audit trail.",
    query=ContainmentListQuery(),
    record=ContainmentRecord(),
    is_list=True,
)
def list_containments(query: ContainmentListRequest) -> Response:
    found, total = context().containments.page(caller(), state=query.state, bounds=query.bounds)
    return page_of(query, found, total, write_containment)


@blueprint.get("/<containment:containment_id>")
@operation(
    summary="Show a containment",
    call=PublicCall(help="Show a containment with its running jobs."),
    description="`wait` delays the response until it is complete or no longer active, or the seconds have passed.",
    query=ContainmentQuery(),
    query_as="wait_seconds",
    record=ContainmentRecord(),
    failures=(404,),
)
def show(containment_id: str, wait_seconds: int | None) -> Response:
    found = context().containments.show(caller(), containment_id)
    if wait_seconds is not None and found.is_active and found.complete_at is None:
        with waiting():
            context().watches.wait(found.id, wait_seconds, client_watch(), tenant_id=found.tenant_id)
        found = context().containments.show(caller(), containment_id)
    return responses.data(write_containment(found))


@blueprint.get("/<containment:containment_id>/jobs")
@operation(
    summary="List the jobs of a containment",
    call=PublicCall(
        method="containments.jobs",
        help="List the jobs that a containment holds, and the running ones that it has asked to stop.",
        columns="id* worker_id status* created_at",
    ),
    description="Newest first: the jobs that it holds now, and the running jobs that it has asked to stop.",
    query=page_query(id_reader("job")),
    record=LightJobRecord(),
    is_list=True,
    failures=(404,),
)
def jobs(containment_id: str, query: PageRequest) -> Response:
    found = context().containments.jobs(caller(), containment_id, bounds=query.bounds)
    return page_of(query, found.jobs, found.total, light_writer())


@blueprint.get("/<containment:containment_id>/jobs/export")
@operation(
    summary="Export the jobs of a containment",
    call=PublicCall(
        help="Print the jobs that a containment holds or has stopped, one line of JSON each.", example="> jobs.ndjson"
    ),
    description="All of them, newest first, one record per line, as in the list. The export counts as a stream. If the "
    "connection ends without the last chunk of the response, the export is incomplete.",
    record=LightJobRecord(),
    media_type=NDJSON,
    failures=(404,),
)
def export(containment_id: str) -> Response:
    who, containments = caller(), context().containments

    def read(before_id: str | None) -> JobBatch:
        return containments.batch(who, containment_id, before_id=before_id)

    return export_response(read, light_writer().shown(is_visible=who.sees_payloads))


@blueprint.get("/<containment:containment_id>/stream")
@operation(
    summary="Follow a containment",
    call=None,
    description="Server-Sent Events: `containment` with the record whenever it changes, and `end` with the record once "
    "it is complete or no longer active. Comments are heartbeats.",
    failures=(404,),
    media_type="text/event-stream",
)
def stream(containment_id: str) -> Response:
    records = context().containments.follow(caller(), containment_id)
    # Read before the response begins, so that a failure gets its own status.
    records = chain([next(records)], records)
    watches, is_disconnected = context().watches, client_watch()
    return event_stream(_events(records, containment_writer(), lambda: watches.is_closing or is_disconnected()))


def _events(
    records: Iterator[Containment], write: Callable[[Containment], str], has_ended: Callable[[], bool]
) -> Generator[str]:
    sent, sent_at = "", time.monotonic()
    for each in records:
        if has_ended():
            return
        text = f"data: {write(each)}\n\n"
        if text != sent:
            sent, sent_at = text, time.monotonic()
            yield f"event: containment\n{text}"
        elif time.monotonic() - sent_at > HEARTBEAT_SECONDS:
            sent_at = time.monotonic()
            yield ":\n\n"
    yield f"event: end\n{sent}"


@blueprint.get("/<containment:containment_id>/proof")
@operation(
    summary="Show the proofs of a containment",
    call=PublicCall(
        method="containments.proofs",
        command="containments proof",
        help="Print the signed records (JWS) of the times when a containment became complete, and was lifted.",
    ),
    description="The record with its counts, signed by this installation: a compact JWS (EdDSA) over RFC 8785 JSON, "
    "written once when the containment is complete and once when it is lifted. `GET /.well-known/ava-signing-keys` has "
    "the public keys. Before it is complete or lifted: 409.",
    record=ProofsRecord(),
    failures=(404, 409),
)
def proof(containment_id: str) -> Response:
    return responses.data(write_proofs(context().containments.proofs(caller(), containment_id)))


@blueprint.post("/<containment:containment_id>/lift")
@operation(
    summary="Lift a containment",
    call=PublicCall(help="Lift containments. An operation returns the held jobs to the queue, or cancels them."),
    description="From the response on, new triggers are accepted. The operation releases the held jobs in batches, "
    "oldest first, or cancels them. Jobs that another active containment covers stay held. Running jobs that were "
    "asked to stop still stop.",
    body=LiftBody(),
    may_be_empty=True,
    record=OperationRecord(),
    status=202,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def lift(containment_id: str, body: dict[str, HeldJobs]) -> Response:
    record_values(held=body["held"])
    started = context().containments.lift(caller(), containment_id, body["held"], request_id=request_id())
    return responses.data(write_operation(started), 202, location=f"/v1/ava/operations/{started.id}")
