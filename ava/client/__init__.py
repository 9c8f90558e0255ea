"""The client of the AVA Jobs API: `Client(url, api_key=…)`, or `Client(url, secret=…, tenant=…, user=…)`.

It imports no module of the server and needs `requests` alone. The distribution `ava-jobs-client` holds this package and
no other (`clients/python`); the distribution `ava-jobs` holds it as well.
"""

from ava.client.client import Client
from ava.client.errors import (
    ApiConflict,
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiRateLimited,
    ApiRefused,
    ApiUnauthorized,
    ApiUnavailable,
    ClientError,
    WaitTimeout,
    WebhookUnverified,
)
from ava.client.operations import JobFilters, Operation
from ava.client.records import (
    ApiKey,
    ErrorGroup,
    Event,
    Explanation,
    Firing,
    Job,
    Limit,
    LogLine,
    PausedQueue,
    Progress,
    QueueCount,
    Queues,
    Schedule,
    SchedulePreview,
    ScheduleSlot,
    Worker,
    WorkerLimit,
)
from ava.client.reports import Analytics, AuditEntry, JobRuns, Node, Overview, Promotion, TenantLoad, TenantRules
from ava.client.webhook_calls import Delivery, DeliveryBody, Webhook
from ava.client.webhooks import verify

__all__ = [
    "Analytics",
    "ApiConflict",
    "ApiError",
    "ApiForbidden",
    "ApiKey",
    "ApiNotFound",
    "ApiRateLimited",
    "ApiRefused",
    "ApiUnauthorized",
    "ApiUnavailable",
    "AuditEntry",
    "Client",
    "ClientError",
    "Delivery",
    "DeliveryBody",
    "ErrorGroup",
    "Event",
    "Explanation",
    "Firing",
    "Job",
    "JobFilters",
    "JobRuns",
    "Limit",
    "LogLine",
    "Node",
    "Operation",
    "Overview",
    "PausedQueue",
    "Progress",
    "Promotion",
    "QueueCount",
    "Queues",
    "Schedule",
    "SchedulePreview",
    "ScheduleSlot",
    "TenantLoad",
    "TenantRules",
    "WaitTimeout",
    "Webhook",
    "WebhookUnverified",
    "Worker",
    "WorkerLimit",
    "verify",
]
