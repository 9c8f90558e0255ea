"""A client of the AVA Jobs API: `Client(url, secret=…, tenant=…, user=…)`.

It imports nothing of the server, so that it can be used wherever `requests` is.
"""

from ava.client.client import Client
from ava.client.records import Event, Explanation, Job, LogLine, Progress, QueueCount, Queues, Worker
from ava.client.webhooks import verify
from ava.errors import (
    ApiConflict,
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiRateLimited,
    ApiRefused,
    ApiUnauthorized,
    ApiUnavailable,
    WaitTimeout,
    WebhookUnverified,
)

__all__ = [
    "ApiConflict",
    "ApiError",
    "ApiForbidden",
    "ApiNotFound",
    "ApiRateLimited",
    "ApiRefused",
    "ApiUnauthorized",
    "ApiUnavailable",
    "Client",
    "Event",
    "Explanation",
    "Job",
    "LogLine",
    "Progress",
    "QueueCount",
    "Queues",
    "WaitTimeout",
    "WebhookUnverified",
    "Worker",
    "verify",
]
