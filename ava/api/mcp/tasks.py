"""Jobs as MCP tasks: a task has its job's id, and the same result as a call that waits for the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ava.api.mcp import content, rest_calls, task_inputs
from ava.api.mcp.rpc_messages import INTERNAL_ERROR, INVALID_PARAMS, McpMessage, RpcError, missing_tasks
from ava.domain.ids import is_client_id

_COMPLETED, _FAILED, _CANCELLED = "completed", "failed", "cancelled"
_FINAL = (_COMPLETED, _FAILED, _CANCELLED)
#: Prefix of the error of a job that lost its process. Its handler reported nothing, so this is no tool error.
_LOST = "WorkerLost:"
#: Polling interval in milliseconds that is suggested to clients.
_POLL_MS = 1_000


def show_job(job_id: str, *, wait_seconds: int | None = None) -> Mapping[str, Any]:
    """Return a job's record. Raises `Refused` if there is no such job."""
    if not is_client_id("job", job_id):
        raise rest_calls.Refused("job_id: there is no such job.", status=404)
    query = {} if wait_seconds is None else {"wait": str(wait_seconds)}
    record: Mapping[str, Any] = rest_calls.ask("GET", f"/v1/ava/jobs/{job_id}", query=query).data
    return record


def is_final(job: Mapping[str, Any]) -> bool:
    return job["status"] in _FINAL


def get(message: McpMessage) -> dict[str, Any]:
    """Answer `tasks/get`."""
    job = _show(message)
    status, more = "working", {}
    if task_inputs.is_asking(job):
        status, more = "input_required", {"inputRequests": task_inputs.requests(message, job)}
    elif job["status"] == _CANCELLED:
        status = "cancelled"
    elif is_final(job):
        try:
            status, more = "completed", {"result": result_of(job)}
        except RpcError as error:
            status, more = "failed", {"error": {"code": error.code, "message": str(error), "data": error.data}}
    return {**_task(job, status), **more}


def update(message: McpMessage) -> dict[str, Any]:
    """Answer `tasks/update`. A response to a pending approval is a decision by the caller."""
    responses = message.params.get("inputResponses")
    if not isinstance(responses, dict):
        raise RpcError(INVALID_PARAMS, "params.inputResponses must be an object.")
    job = _show(message)
    try:
        task_inputs.decide(job, responses)
    except rest_calls.Refused as refusal:
        raise RpcError(refusal.status, str(refusal), status=refusal.status) from refusal
    return {}


def cancel(message: McpMessage) -> dict[str, Any]:
    """Answer `tasks/cancel`. An ended task stays unchanged."""
    task_id = _task_id(message)
    try:
        rest_calls.ask("POST", f"/v1/ava/jobs/{task_id}/cancel")
    except rest_calls.Refused as refusal:
        if refusal.status != 409:
            raise _refused(refusal) from refusal
    return {}


def created(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a call with an unfinished job."""
    return {"resultType": "task", **_task(job, "input_required" if task_inputs.is_asking(job) else "working")}


def result_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a call with an ended job. Raises `RpcError` if its process was lost."""
    job_id, about = job["id"], f"the output of job {job['id']} of {job['worker_id']}"
    if job.get("payload_hidden") and job["status"] == _COMPLETED:
        return content.explained(
            "The job has completed, but this key has no permission to see its output.", job_id=job_id
        )
    if job["status"] == _COMPLETED:
        output = job["output"]
        if isinstance(output, str):
            return content.of_text(output, about=about, job_id=job_id)
        return content.of_data(output, about=about, job_id=job_id)
    if job["status"] == _CANCELLED:
        return content.explained(f"The job was cancelled. {job['error'] or ''}".strip(), job_id=job_id, is_error=True)
    error = str(job["error"])
    if error.startswith(_LOST):
        raise RpcError(INTERNAL_ERROR, error, data={"job_id": job_id})
    return content.of_text(
        error, about=f"the error of job {job_id} of {job['worker_id']}", job_id=job_id, is_error=True
    )


def _show(message: McpMessage) -> Mapping[str, Any]:
    task_id = _task_id(message)
    try:
        return show_job(task_id)
    except rest_calls.Refused as refusal:
        raise _refused(refusal) from refusal


def _task_id(message: McpMessage) -> str:
    if not message.knows_tasks:
        raise missing_tasks()
    task_id = message.string("taskId")
    if not is_client_id("job", task_id):
        raise RpcError(INVALID_PARAMS, "There is no such task.")
    return task_id


def _refused(refusal: rest_calls.Refused) -> RpcError:
    if refusal.status == 404:
        return RpcError(INVALID_PARAMS, "There is no such task.")
    return RpcError(refusal.status, str(refusal), status=refusal.status)


def _task(job: Mapping[str, Any], status: str) -> dict[str, Any]:
    timestamps = [
        job[name] for name in ("created_at", "started_at", "cancel_requested_at", "completed_at") if job[name]
    ]
    task = {
        "taskId": job["id"],
        "status": status,
        "createdAt": job["created_at"],
        # All times have the same format, so the latest is the greatest string.
        "lastUpdatedAt": max(timestamps),
        # A job is deleted only after it has ended, and its worker's or tenant's retention has passed.
        "ttlMs": None,
        "pollIntervalMs": _POLL_MS,
    }
    if message := _status_message(job):
        task["statusMessage"] = message
    return task


def _status_message(job: Mapping[str, Any]) -> str:
    if job["status"] == _CANCELLED:
        return str(job["error"] or "")
    if is_final(job):
        return ""
    progress = job["progress"] or {}
    fraction, message = progress.get("fraction"), progress.get("message")
    parts = [f"{fraction:.0%}" if isinstance(fraction, int | float) else "", message or ""]
    return " ".join(filter(None, parts)) or str(job["status"])
