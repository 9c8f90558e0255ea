"""The client that tasks use outside of handlers. Created on first use."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from ava.handler.errors import JobFailed, NotConfigured, WaitTimeout

if TYPE_CHECKING:
    from ava.client import AsyncClient, Client, Job


class _Clients:
    """The clients of this process."""

    configured: Client | AsyncClient | None = None
    #: The client of the environment, and the process that created it: a fork must not share its connections.
    of_environment: tuple[int, Client] | None = None


def configure(client: Client | AsyncClient | None) -> None:
    """Use a client for the triggers outside of handlers; None: create one from the environment."""
    _Clients.configured, _Clients.of_environment = client, None


def call(method: str, *args: Any, **options: Any) -> Any:
    """Call a method of `client.jobs`. Raise `NotConfigured` without a client that blocks."""
    from ava.client import AsyncClient

    client = _client()
    if isinstance(client, AsyncClient):
        raise NotConfigured("ava.configure has an AsyncClient: write `await task.atrigger(…)`, or configure a Client.")
    return getattr(client.jobs, method)(*args, **options)


async def call_async(method: str, *args: Any, **options: Any) -> Any:
    """Call a method of `client.jobs`; of a client that blocks, in a thread. Raise `NotConfigured` without a client."""
    from ava.client import AsyncClient

    client = _client()
    function = getattr(client.jobs, method)
    if isinstance(client, AsyncClient):
        return await function(*args, **options)
    return await asyncio.to_thread(function, *args, **options)


def wait(job_id: str, timeout: float | None) -> Any:
    """Wait for a job and return its output. Raise `JobFailed` and `WaitTimeout`."""
    from ava.client import WaitTimeout as TimedOut

    try:
        return _output(call("wait", job_id, timeout))
    except TimedOut as error:
        raise WaitTimeout(str(error)) from None


async def wait_async(job_id: str, timeout: float | None) -> Any:
    """Wait for a job and return its output. Raise `JobFailed` and `WaitTimeout`."""
    from ava.client import WaitTimeout as TimedOut

    try:
        return _output(await call_async("wait", job_id, timeout))
    except TimedOut as error:
        raise WaitTimeout(str(error)) from None


def _client() -> Client | AsyncClient:
    from ava.client import Client

    if _Clients.configured is not None:
        return _Clients.configured
    made = _Clients.of_environment
    if made is None or made[0] != os.getpid():
        try:
            made = _Clients.of_environment = os.getpid(), Client.from_environment()
        except ValueError as error:
            raise NotConfigured(
                f"A trigger outside of a handler needs a client: call ava.configure(client), or {error}."
            ) from None
    return made[1]


def _output(job: Job) -> Any:
    if job.status != "completed":
        raise JobFailed(f"{job.worker_id} ({job.id}): {job.error or job.status}", job)
    if job.payload_hidden:
        raise PermissionError(f"the output of {job.id} is hidden from this API key, which has no payload permission")
    return job.output
