"""`/v1/ava/runs`: the protocol of pull workers, which claim their runs over HTTP."""

from __future__ import annotations

import time

from flask import Blueprint, Response, g, request

from ava.api.http import request_turns, responses
from ava.api.http.callers import auth
from ava.api.http.callers.auth import open_to_all, open_to_workers
from ava.api.http.client_addresses import client_address
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.routes.streams import client_watch, watching
from ava.api.schemas.pulled_runs import (
    ClaimBody,
    ClaimedRunRecord,
    ClaimRequest,
    EndBody,
    EndRecord,
    HeartbeatBody,
    HeartbeatRecord,
    LinesBody,
    ProgressBody,
    StopRecord,
    write_claimed,
    write_end,
    write_heartbeats,
    write_stop,
)
from ava.domain.access.caller import Role
from ava.domain.jobs.job import Status
from ava.domain.jobs.run_log import RunEnd, RunHeartbeats, RunStop
from ava.domain.worker import PULL_PROTOCOLS
from ava.errors import Forbidden, InvalidParameters
from ava.services.durable_runs import SentWaits
from ava.services.pulled_runs import SentLine, SentOutcome

blueprint = Blueprint("runs", __name__, url_prefix="/v1/ava/runs")

_PROTOCOL = "AVA-Runs-Protocol"
#: Seconds: a wake-up within this time after the wait began, without a run to claim, counts as spurious.
_FUTILE_SECONDS = 1.0


@blueprint.before_request
def _check_protocol() -> None:
    version = request.headers.get(_PROTOCOL, PULL_PROTOCOLS[0])
    if version not in PULL_PROTOCOLS:
        reason = f"This protocol version is not supported; supported are {', '.join(PULL_PROTOCOLS)}."
        raise InvalidParameters(f"Header {_PROTOCOL}: {reason}", {_PROTOCOL: [reason]})


@blueprint.post("/claim")
@open_to_workers
@operation(
    summary="Claim runs",
    call=None,
    description="Claims runs of pull workers in the same order as a node. Needs an API key of "
    "the role `worker`. The token of a run is the only credential for its further calls. A run that does not use its "
    "token within 15 s has not begun, and its job returns to the queue.",
    body=ClaimBody(),
    body_as="claim",
    record=ClaimedRunRecord(),
    is_array=True,
    failures=(413, 415, 422),
)
def claim_runs(claim: ClaimRequest) -> Response:
    if caller().role is not Role.WORKER:
        raise Forbidden("Claiming runs needs an API key of the role worker.")
    claims, deadline = context().claims, time.monotonic() + claim.wait_seconds
    runs, wanted = claims.claim(caller(), claim.worker_ids, capacity=claim.capacity, name=claim.name)
    futile = 0
    while not runs and (left := deadline - time.monotonic()) > 0:
        is_disconnected = client_watch()
        with (
            watching(context().shares.claims, caller().tenant_id),
            request_turns.suspended(),
            claims.waiting(wanted, after_seconds=min(left, claims.pause_seconds(futile))) as waiting,
        ):
            began = time.monotonic()
            is_woken = claims.wait(waiting, deadline - began, is_disconnected)
        # The key may have been revoked during the wait.
        auth.identify()
        if not is_woken:
            break
        futile = futile + 1 if time.monotonic() - began < _FUTILE_SECONDS else 0
        runs, wanted = claims.claim(caller(), claim.worker_ids, capacity=claim.capacity, name=claim.name)
    return responses.data(f"[{','.join(map(write_claimed, context().runs.claimed(runs)))}]")


@blueprint.post("/<run>/lines")
@open_to_workers
@operation(
    summary="Append a run's log lines",
    call=None,
    description="A line with a `seq` that was already sent is ignored, so the call can be repeated.",
    body=LinesBody(),
    record=StopRecord(),
    failures=(404, 409, 413, 415, 422),
)
def append_lines(run: str, body: dict[str, list[SentLine]]) -> Response:
    return stop_response(context().runs.append(run, body["lines"]))


@blueprint.post("/<run>/progress")
@open_to_workers
@operation(
    summary="Report a run's progress",
    call=None,
    body=ProgressBody(),
    record=StopRecord(),
    failures=(404, 409, 413, 415, 422),
)
def report_progress(run: str, body: dict[str, float | str]) -> Response:
    """Store the progress of a run."""
    fraction, message = float(body["fraction"]), str(body["message"])
    return stop_response(context().runs.report(run, fraction=fraction, message=message))


def stop_response(is_to_stop: bool) -> Response:
    """Tell a worker whether its run must stop."""
    return responses.data(write_stop(RunStop(stop=is_to_stop)))


@blueprint.post("/<run>/end")
@open_to_workers
@operation(
    summary="End a run",
    call=None,
    description="The same end again is 200, a different one 409. After a stop, every end makes the job `cancelled`. "
    "With `waits` the job waits, and a later run continues its handler.",
    body=EndBody(),
    body_as="ending",
    record=EndRecord(),
    failures=(404, 409, 413, 415, 422, 429),
)
def end_run(run: str, ending: SentOutcome | SentWaits) -> Response:
    if isinstance(ending, SentWaits):
        status = context().durable_runs.wait(run, ending)
        ended = RunEnd(status=status, suspended=status is not Status.RUNNING)
    else:
        ended = RunEnd(status=context().runs.end(run, ending), suspended=False)
    return responses.data(write_end(ended))


@blueprint.post("/heartbeat")
@open_to_all
@operation(
    summary="Send heartbeats",
    call=None,
    description="Required at least every 5 s for each run. The tokens of the runs are the only credentials.",
    body=HeartbeatBody(),
    record=HeartbeatRecord(),
    failures=(413, 415, 422, 429),
)
def heartbeat(body: dict[str, list[str]]) -> Response:
    """Note that runs are alive, and show which are to stop or are lost."""
    runs, named = context().runs, body["runs"]
    if (who := runs.known_caller_of(named)) is None:
        # A request that names no run has no caller, so count it for its address.
        context().hook_gate.refuse_spent_address(client_address())
        who = runs.find_caller_of(named)
    if who is None:
        context().hook_gate.admit_address(client_address())
        return responses.data(write_heartbeats(RunHeartbeats(stop=(), lost=list(dict.fromkeys(named)))))
    g.caller = who
    request_turns.take_turn()
    context().hook_gate.admit_heartbeat(who.key_id or who.tenant_id)
    return responses.data(write_heartbeats(runs.renew(named)))
