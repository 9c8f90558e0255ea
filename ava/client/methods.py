"""The methods of the clients' resources. Written by `make records` from the operations of the API.

One generated file, because nobody edits it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import ApiResource, Calls
from ava.client.flows import Flow, Listing, Mode, Sender, call, listing
from ava.client.records import (
    Analytics,
    ApiKey,
    Approval,
    AuditEntry,
    Containment,
    Delivery,
    ErrorGroup,
    Explanation,
    Firing,
    Hook,
    HookTest,
    Job,
    JobRun,
    JobWait,
    JournalEntry,
    Limit,
    Node,
    Notice,
    Operation,
    Overview,
    Promotion,
    Proofs,
    Queue,
    Queues,
    ReceivedEvent,
    Schedule,
    SchedulePreview,
    ScheduleSlot,
    Series,
    Subscription,
    TenantLoad,
    TenantRules,
    TriedSubscription,
    Webhook,
    Worker,
    WorkerLimit,
)


class DeliveryFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only records of this time or later, in ISO 8601.
    since: datetime | str | None
    #: Only records before this time, in ISO 8601.
    until: datetime | str | None
    #: Only deliveries with this status.
    status: str | None
    #: Only deliveries of events of this type.
    event_type: str | None


class DeliveryOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only records before this time, in ISO 8601.
    until: datetime | str | None
    #: Only deliveries with this status.
    status: str | None
    #: Only deliveries of events of this type.
    event_type: str | None


class TriggerOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: The kind of trigger.
    trigger: str | None
    #: 1 (highest) to 10 (lowest).
    priority: int | None
    #: Start time, at most a year ahead, in ISO 8601.
    scheduled_at: datetime | str | None
    #: Up to 10 tags for searching: keys of 1 to 32 of `a-z`, `0-9`, `_`, `.` and `-`, values of 1 to 64 characters.
    tags: Mapping[str, str] | None
    #: Seconds from `scheduled_at` (without it: from creation) until the job is cancelled if it has not started.
    expires_in_seconds: int | None
    #: Max number of retries, if it is lower than the worker's.
    max_retries: int | None
    #: Time, later than `scheduled_at`, in ISO 8601, at which the job is cancelled if it has not started.
    start_before: datetime | str | None
    dedupe: Mapping[str, Any] | None
    debounce: Mapping[str, Any] | None
    #: Seconds from `scheduled_at` (without it: from creation) until the job is stopped and fails, waits included.
    deadline_seconds: int | None
    #: The decision of persons that the job needs before its first start, unless an approval of its worker applies.
    approval: Mapping[str, Any] | None
    #: The name of the entry, unique in the bulk.
    name: str | None
    #: The names of the entries that must end before this entry starts.
    after: Sequence[str] | None
    #: The condition on the outcomes of the `after` entries, evaluated once each of them has ended or can no longer run:
    #: `completed`: every entry completed; `ended`: any outcome; `failed`: at least one entry did not complete.
    when: str | None


class JobChanges(TypedDict, total=False):
    """Changes; omitted fields stay unchanged."""

    #: The new priority.
    priority: int
    #: The new start time in ISO 8601; null or a past time: now.
    scheduled_at: datetime | str | None
    #: Seconds from now, or from a later `scheduled_at`, until the job is cancelled if it has not started; null: it does
    #: not expire.
    expires_in_seconds: int | None
    #: The new tags, which replace the earlier tags.
    tags: Mapping[str, str]


class JobFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only jobs of this worker.
    worker_id: str | None
    #: Only jobs with this status.
    status: str | None
    #: Only jobs with this trigger.
    trigger: str | None
    #: Only jobs created at or after this time, in ISO 8601.
    created_after: datetime | str | None
    #: Only jobs created before this time, in ISO 8601.
    created_before: datetime | str | None
    #: Only jobs that ended at or after this time, in ISO 8601.
    completed_after: datetime | str | None
    #: Only jobs that ended before this time, in ISO 8601.
    completed_before: datetime | str | None
    #: Only queued jobs with this wait reason.
    waits_for: str | None
    #: Only jobs with this priority.
    priority: int | None
    #: Only jobs triggered by this user, schedule or key.
    triggered_by: str | None
    #: A part of the error, at least 3 characters, in upper or lower case.
    error: str | None
    #: Only failed jobs of this error group.
    error_id: str | None
    #: A job's id, or at least 4 characters of it: its beginning (`job_01kq`), its end (`…8w3fq0za`) or any other part
    #: (`3fq0`).
    id: str | None
    #: Only jobs that the handler of this job created.
    parent_id: str | None
    #: Only jobs of the tree with this id, which is the id of its first job.
    tree_id: str | None
    #: True: only the roots of trees, and jobs without a tree.
    root: bool | None
    #: Only jobs with this tag; replace `key` with the key of the tag.
    tags: Mapping[str, Any] | None
    #: The exact value at a path in the input: a string, number, true, false or null, as it was written; replace `path`
    #: with its path, such as `account.id`.
    input: Mapping[str, Any] | None


class ScheduleOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: In place of `cron` and `timezone`: it fires at the multiples of this interval since the Unix epoch.
    every_seconds: int | None
    #: A display name.
    name: str | None
    #: The input of its jobs.
    input: Mapping[str, Any] | None
    #: The priority of the created jobs, 1 (highest) to 10 (lowest).
    priority: int | None
    #: The opposite of `paused`.
    enabled: bool | None
    #: True: the schedule does not fire until it is resumed.
    paused: bool | None
    #: The effect of a firing while the last job of this schedule is not final: `allow` creates a job, `skip` creates
    #: none, `queue_one` creates a job that starts when the last job is final (unless one is already waiting),
    #: `cancel_running` cancels the last job first.
    overlap: str | None
    #: How to catch up firings that were missed because nothing could fire for more than a minute: `last` creates one
    #: job for the newest, `none` creates none, `all` creates one job for each, at most 100.
    catch_up: str | None
    #: Missed firings older than this are not caught up.
    catch_up_seconds: int | None
    #: Max delay of its firings in seconds.
    spread_seconds: int | None
    #: The schedule does not fire before this time.
    starts_at: datetime | str | None
    #: The schedule does not fire from this time on.
    ends_at: datetime | str | None
    #: Seconds from its slot until a job that has not started is cancelled.
    expires_in_seconds: int | None
    #: The decision of persons that each job needs before its first start, unless an approval of its worker applies.
    approval: Mapping[str, Any] | None


class ScheduleFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only schedules of this worker.
    worker_id: str | None
    #: Only schedules that fire (true), or only paused schedules (false).
    enabled: bool | None
    #: Only paused schedules (true), or only schedules that are not paused (false).
    paused: bool | None


class ScheduleChanges(TypedDict, total=False):
    """Changes; omitted fields stay unchanged."""

    #: ID of the worker to run.
    worker_id: str
    #: Five fields as in crontab(5): minute, hour, day of month, month, day of week; with names, `L` and `#`.
    cron: str
    #: The IANA name of the schedule's time zone, such as Europe/Berlin.
    timezone: str
    #: In place of `cron` and `timezone`: it fires at the multiples of this interval since the Unix epoch.
    every_seconds: int
    #: A display name.
    name: str | None
    #: The input of its jobs.
    input: Mapping[str, Any]
    #: The priority of the created jobs, 1 (highest) to 10 (lowest).
    priority: int
    #: False pauses the schedule, true resumes it: it fires from now on, and earlier firings are not caught up.
    enabled: bool
    #: The effect of a firing while the last job of this schedule is not final: `allow` creates a job, `skip` creates
    #: none, `queue_one` creates a job that starts when the last job is final (unless one is already waiting),
    #: `cancel_running` cancels the last job first.
    overlap: str
    #: How to catch up firings that were missed because nothing could fire for more than a minute: `last` creates one
    #: job for the newest, `none` creates none, `all` creates one job for each, at most 100.
    catch_up: str
    #: Missed firings older than this are not caught up.
    catch_up_seconds: int
    #: Max delay of its firings in seconds.
    spread_seconds: int
    #: The schedule does not fire before this time.
    starts_at: datetime | str | None
    #: The schedule does not fire from this time on.
    ends_at: datetime | str | None
    #: Seconds from its slot until a job that has not started is cancelled.
    expires_in_seconds: int | None
    #: The decision of persons that each job needs before its first start, unless an approval of its worker applies.
    approval: Mapping[str, Any] | None


class WorkerFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only workers with this status.
    status: str | None
    #: Only workers with a live node (true), or only workers without one (false).
    live: bool | None
    #: A part of the name or id, in upper or lower case.
    q: str | None
    #: Only paused workers (true), or only workers that are not paused (false).
    paused: bool | None


class WorkerOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: A display name.
    name: str | None
    #: Max duration of one run in seconds.
    timeout_seconds: float | None
    retry: Mapping[str, Any] | None
    #: JSON Schema 2020-12 of the input; null: any object is accepted.
    input_schema: Mapping[str, Any] | None
    #: Max number of its running jobs; null: no limit.
    max_running: int | None
    #: Max starts per period, such as `100/minute`.
    rate: str | None
    #: Time in seconds until its unstarted jobs expire; null: never.
    expires_in_seconds: int | None
    #: Time in seconds until its unfinished jobs fail; null: never.
    deadline_seconds: int | None
    #: `platform`: a worker for every tenant; needs platform-admin or above.
    scope: str | None


class WorkerChanges(TypedDict, total=False):
    """Changes; omitted fields stay unchanged."""

    #: Can be changed only for a pull worker, by its owner.
    name: str | None
    #: At most the value that the handler declares.
    timeout_seconds: float | None
    retry: Mapping[str, Any] | None
    #: JSON Schema 2020-12 of the input; null: any object is accepted.
    input_schema: Mapping[str, Any] | None
    #: Max number of its running jobs, per value of the declared `max_running_per`; 0: none.
    max_running: int | None
    #: Max starts per period, such as `100/minute`.
    rate: str | None
    #: Time in seconds until its unstarted jobs expire.
    expires_in_seconds: int | None
    #: Time in seconds until its unfinished jobs fail.
    deadline_seconds: int | None
    #: `platform`: the settings of all tenants, which each tenant's own settings override; needs platform-admin or
    #: above.
    scope: str
    #: `paused`: its jobs wait. `deprecated`: triggers are refused (409).
    status: str | None
    #: Values of `env["KEY"]` in the handler; null deletes an entry.
    config: Mapping[str, str | None]
    #: Values of `env.secrets["NAME"]` in the handler; never shown again.
    secrets: Mapping[str, str | None]
    #: At most the value that the handler declares; the short form of `retry`.
    max_retries: int | None
    #: The decision of persons that each new job needs before its first start.
    approval: Mapping[str, Any] | None


class WebhookChanges(TypedDict, total=False):
    """Changes; omitted fields stay unchanged."""

    #: The target URL: a public http(s) address.
    url: str
    #: The types of events to send.
    events: Sequence[str]
    #: A new secret.
    secret: str
    #: True: send no events of jobs that a handler created.
    roots_only: bool


class NoticeChanges(TypedDict, total=False):
    """Changes; omitted fields stay unchanged."""

    #: A display name, which each message contains.
    name: str
    #: `slack`, `teams`, `email` or `webhook`.
    channel: str
    #: `slack`, `teams`: the address of an incoming webhook. `email`: mail addresses, separated by commas. `webhook`: a
    #: URL.
    target: str
    #: The events that the notice is about.
    on: Sequence[Mapping[str, Any]]


class EventFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only records of this time or later, in ISO 8601.
    since: datetime | str | None
    #: Only records before this time, in ISO 8601.
    until: datetime | str | None
    #: Only events of this type.
    type: str | None
    #: Only events of this source.
    source: str | None


class SubscriptionOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: A display name.
    name: str | None
    #: A pattern over the whole event, as in Amazon EventBridge: lists of values, `prefix`, `suffix`, `anything-but`,
    #: `numeric`, `exists`, `cidr`, nested objects.
    match: Mapping[str, Any] | None
    #: A template of the job's input: `{"$get": "data.number", "default": 0}` anywhere in it is replaced by a value of
    #: the event.
    input: Mapping[str, Any] | None
    #: The priority of the created jobs, 1 (highest) to 10 (lowest).
    priority: int | None
    #: True: create it paused.
    paused: bool | None


class SubscriptionFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only subscriptions with exactly this `event_type`.
    event_type: str | None
    #: Only subscriptions of this worker.
    worker_id: str | None
    #: Only paused subscriptions (true), or only subscriptions that are not paused (false).
    paused: bool | None


class SubscriptionTestOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: The exact type of the events, or a prefix with a final `.*` for one or more further parts:
    #: `github.pull_request.*`.
    event_type: str | None
    #: A pattern over the whole event, as in Amazon EventBridge: lists of values, `prefix`, `suffix`, `anything-but`,
    #: `numeric`, `exists`, `cidr`, nested objects.
    match: Mapping[str, Any] | None
    #: A template of the job's input: `{"$get": "data.number", "default": 0}` anywhere in it is replaced by a value of
    #: the event.
    input: Mapping[str, Any] | None


class SubscriptionChanges(TypedDict, total=False):
    """Changes; omitted fields stay unchanged."""

    #: The exact type of the events, or a prefix with a final `.*` for one or more further parts:
    #: `github.pull_request.*`.
    event_type: str
    #: The worker.
    worker_id: str
    #: A display name.
    name: str | None
    #: A pattern over the whole event, as in Amazon EventBridge: lists of values, `prefix`, `suffix`, `anything-but`,
    #: `numeric`, `exists`, `cidr`, nested objects.
    match: Mapping[str, Any] | None
    #: A template of the job's input: `{"$get": "data.number", "default": 0}` anywhere in it is replaced by a value of
    #: the event.
    input: Mapping[str, Any] | None
    #: The priority of the created jobs, 1 (highest) to 10 (lowest).
    priority: int


class HookOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: The signing secret of the provider.
    secret: str | None
    #: How requests of a `custom` provider are authenticated: `scheme` (hmac, shared_secret, url_secret, asymmetric,
    #: none), `header`, `prefix`, `separator`, `algorithm`, `encoding`, `key`, `signed`, `time_header`, `time_prefix`,
    #: `time_unit`, `parameter`, `id`, `type`, `handshake`, `challenge`, `answer_status`, `answer_text`.
    verifier: Mapping[str, Any] | None
    #: Each delivery creates a job of this worker, and no event.
    worker_id: str | None
    #: The type of the events.
    event_type: str | None
    #: A pattern over the event, as in a subscription.
    match: Mapping[str, Any] | None
    #: A template of the job's input.
    input: Mapping[str, Any] | None
    #: The priority of the created jobs, 1 (highest) to 10 (lowest).
    priority: int | None
    #: How to detect a duplicate delivery, which starts nothing. `id` compares the sender's id within 24 hours. `body`
    #: compares the body, while its signed time is accepted, or within 24 hours without a signed time. `both` compares
    #: both, and either match is a duplicate. `none` accepts every delivery.
    dedupe: str | None
    #: Max difference in seconds between the signed time and now, in either direction.
    tolerance_seconds: int | None
    #: True: create it paused.
    paused: bool | None


class HookChanges(TypedDict, total=False):
    """Changes; omitted fields stay unchanged."""

    #: A name.
    name: str
    #: A new secret.
    secret: str
    #: How requests of a `custom` provider are authenticated: `scheme` (hmac, shared_secret, url_secret, asymmetric,
    #: none), `header`, `prefix`, `separator`, `algorithm`, `encoding`, `key`, `signed`, `time_header`, `time_prefix`,
    #: `time_unit`, `parameter`, `id`, `type`, `handshake`, `challenge`, `answer_status`, `answer_text`.
    verifier: Mapping[str, Any]
    #: Each delivery creates a job of this worker, and no event.
    worker_id: str | None
    #: The type of the events.
    event_type: str | None
    #: A pattern over the event, as in a subscription.
    match: Mapping[str, Any] | None
    #: A template of the job's input.
    input: Mapping[str, Any] | None
    #: The priority of the created jobs, 1 (highest) to 10 (lowest).
    priority: int
    #: How to detect a duplicate delivery, which starts nothing. `id` compares the sender's id within 24 hours. `body`
    #: compares the body, while its signed time is accepted, or within 24 hours without a signed time. `both` compares
    #: both, and either match is a duplicate. `none` accepts every delivery.
    dedupe: str
    #: Max difference in seconds between the signed time and now, in either direction.
    tolerance_seconds: int
    #: How long the earlier secrets stay valid, in seconds.
    keep_secret_seconds: int


class HookTestOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: How the request is signed.
    mode: str | None
    #: The raw body.
    body: str | None
    #: Further headers, such as `x-github-event`.
    headers: Mapping[str, Any] | None


class KeyOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: When the key expires; null: never.
    expires_at: datetime | str | None
    #: False: payloads are hidden from its holder: null or `(hidden)`, with `payload_hidden: true`.
    payloads: bool | None
    #: Required for the role `worker`, and only for it: the pull workers that the key may claim runs of.
    workers: Sequence[str] | None
    #: Only for the role `worker`: its claimed runs may create children of these workers; `["*"]`: all of the tenant.
    triggers: Sequence[str] | None
    #: `platform`, only for the role `worker`: the key claims the runs of every tenant of the platform's workers.
    scope: str | None


class TenantLimitsOptions(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Max number of its running jobs; 0: none.
    max_running: int | None
    #: Its weight in fair queueing (default 1), relative to the weights of other tenants.
    weight: float | None
    #: The smallest priority number that its jobs may have; a smaller number is raised to it.
    most_urgent_priority: int | None
    #: Retention of its ended jobs and their log lines, in days; a worker's own `retention_days` takes precedence.
    retention_days: float | None


class AnalyticsFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Add a series by hour or by day.
    group_by: str | None
    #: Count only the jobs of this worker.
    worker_id: str | None
    #: True to add percentiles of waiting and run times, accurate within 2 %.
    percentiles: bool | None


class SeriesFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only records of this time or later, in ISO 8601.
    since: datetime | str | None
    #: Only records before this time, in ISO 8601.
    until: datetime | str | None
    #: Without `since`: the length of the range that ends at `until`, or now.
    range_seconds: int | None
    #: Only the jobs of this worker.
    worker_id: str | None
    #: Only the jobs of the workers with this queue, and its backlog.
    queue: str | None
    #: For platform-admin and above: the jobs of this tenant.
    tenant_id: str | None
    #: For platform-admin and above: `platform` for the jobs of all tenants together.
    scope: str | None


class ApprovalFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only approvals with this status.
    status: str | None
    #: Only approvals of this job.
    job_id: str | None
    #: True: only pending approvals that the caller may decide.
    mine: bool | None


class ErrorFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Count only failures of this time or later, in ISO 8601.
    since: datetime | str | None
    #: Only records before this time, in ISO 8601.
    until: datetime | str | None
    #: Only errors of this worker.
    worker_id: str | None
    #: Only errors with this status.
    status: str | None


class AuditFilters(TypedDict, total=False):
    """Optional fields; None is the default."""

    #: Only records of this time or later, in ISO 8601.
    since: datetime | str | None
    #: Only records before this time, in ISO 8601.
    until: datetime | str | None
    #: The action, such as `jobs.cancel`.
    action: str | None
    #: The identity: a user (`usr_…`) or an API key (`key_…`).
    actor_id: str | None
    #: The user that an API key's holder named in `x-user-id`.
    label: str | None
    #: The id of the changed object.
    target: str | None


class WebhooksDeliveriesCalls(ApiResource[Mode]):
    """Calls about deliveries of webhooks."""

    @listing
    def list(self, webhook_id: str, *, per_page: int = 100, **options: Unpack[DeliveryFilters]) -> Listing[Delivery]:
        """List the deliveries of a hook, a webhook or a notice, newest first."""
        return self._records(
            Delivery, "GET /v1/webhooks/{webhook_id}/deliveries filter[status] filter[event_type]", locals()
        )

    @call
    def get(self, webhook_id: str, delivery_id: str) -> Flow[Delivery]:
        """Show a delivery with its body."""
        return self._record(Delivery, "GET /v1/webhooks/{webhook_id}/deliveries/{delivery_id}", locals())

    @call
    def redeliver(self, webhook_id: str, delivery_id: str) -> Flow[Delivery]:
        """Send a delivery again, with the same id and bytes."""
        return self._record(Delivery, "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", locals())

    @call
    def redeliver_many(self, webhook_id: str, since: datetime | str, **options: Unpack[DeliveryOptions]) -> Flow[int]:
        """Send the deliveries of a time range again: abandoned ones, unless another status is given."""
        return self._count("POST /v1/webhooks/{webhook_id}/deliveries/redeliver", locals())


class NoticesDeliveriesCalls(ApiResource[Mode]):
    """Calls about deliveries of notices."""

    @listing
    def list(self, notice_id: str, *, per_page: int = 100, **options: Unpack[DeliveryFilters]) -> Listing[Delivery]:
        """List the deliveries of a hook, a webhook or a notice, newest first."""
        return self._records(
            Delivery, "GET /v1/ava/notices/{notice_id}/deliveries filter[status] filter[event_type]", locals()
        )

    @call
    def get(self, notice_id: str, delivery_id: str) -> Flow[Delivery]:
        """Show a delivery with its body."""
        return self._record(Delivery, "GET /v1/ava/notices/{notice_id}/deliveries/{delivery_id}", locals())

    @call
    def redeliver(self, notice_id: str, delivery_id: str) -> Flow[Delivery]:
        """Send a delivery again, with the same id and bytes."""
        return self._record(Delivery, "POST /v1/ava/notices/{notice_id}/deliveries/{delivery_id}/redeliver", locals())

    @call
    def redeliver_many(self, notice_id: str, since: datetime | str, **options: Unpack[DeliveryOptions]) -> Flow[int]:
        """Send the deliveries of a time range again: abandoned ones, unless another status is given."""
        return self._count("POST /v1/ava/notices/{notice_id}/deliveries/redeliver", locals())


class HooksDeliveriesCalls(ApiResource[Mode]):
    """Calls about deliveries of hooks."""

    @listing
    def list(self, hook_id: str, *, per_page: int = 100, **options: Unpack[DeliveryFilters]) -> Listing[Delivery]:
        """List the deliveries of a hook, a webhook or a notice, newest first."""
        return self._records(
            Delivery, "GET /v1/ava/hooks/{hook_id}/deliveries filter[status] filter[event_type]", locals()
        )

    @call
    def get(self, hook_id: str, delivery_id: str) -> Flow[Delivery]:
        """Show a delivery with its body."""
        return self._record(Delivery, "GET /v1/ava/hooks/{hook_id}/deliveries/{delivery_id}", locals())

    @call
    def replay(self, hook_id: str, delivery_id: str, *, idempotency_key: str | None = None) -> Flow[Delivery]:
        """Process a delivery again, with the current subscriptions."""
        return self._record(Delivery, "POST /v1/ava/hooks/{hook_id}/deliveries/{delivery_id}/replay", locals())

    @call
    def replay_many(
        self,
        hook_id: str,
        since: datetime | str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[DeliveryOptions],
    ) -> Flow[int]:
        """Process the deliveries of a time range again, all or none."""
        return self._count("POST /v1/ava/hooks/{hook_id}/deliveries/replay", locals())


class JobsCalls(ApiResource[Mode]):
    """Calls about jobs."""

    @call
    def trigger(
        self,
        worker_id: str,
        input: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        is_replicated: bool = False,
        **options: Unpack[TriggerOptions],
    ) -> Flow[Job]:
        """Trigger a job of a worker."""
        return self._record(Job, "POST /v1/ava/jobs", locals())

    @call
    def get(self, job_id: str) -> Flow[Job]:
        """Show a job."""
        return self._record(Job, "GET /v1/ava/jobs/{job_id}", locals())

    @call
    def update(self, job_id: str, **options: Unpack[JobChanges]) -> Flow[Job]:
        """Change a queued job. Without a start time it starts as soon as possible."""
        return self._record(Job, "PATCH /v1/ava/jobs/{job_id}", locals())

    @listing
    def runs(self, job_id: str, *, per_page: int = 100) -> Listing[JobRun]:
        """List a job's runs, oldest first."""
        return self._records(JobRun, "GET /v1/ava/jobs/{job_id}/runs", locals())

    @call
    def why(self, job_id: str) -> Flow[Explanation]:
        """Print why a job has its status."""
        return self._record(Explanation, "GET /v1/ava/jobs/{job_id}/why", locals())

    @listing
    def journal(self, job_id: str, *, per_page: int = 100) -> Listing[JournalEntry]:
        """List the recorded steps, children and waits of a job's handler, oldest first."""
        return self._records(JournalEntry, "GET /v1/ava/jobs/{job_id}/journal", locals())

    @listing
    def waits(self, job_id: str, *, per_page: int = 100) -> Listing[JobWait]:
        """List the waits of a job, the latest first."""
        return self._records(JobWait, "GET /v1/ava/jobs/{job_id}/waits", locals())

    @listing
    def deliveries(self, job_id: str, *, per_page: int = 100) -> Listing[Delivery]:
        """List what webhooks have sent about a job, newest first, without bodies."""
        return self._records(Delivery, "GET /v1/ava/jobs/{job_id}/deliveries", locals())


class OperationsCalls(ApiResource[Mode]):
    """Calls about operations."""

    @listing
    def list(self, *, state: str | None = None, per_page: int = 100) -> Listing[Operation]:
        """List bulk operations, newest first."""
        return self._records(Operation, "GET /v1/ava/operations filter[state]", locals())

    @call
    def get(self, operation_id: str) -> Flow[Operation]:
        """Show an operation with its current counts."""
        return self._record(Operation, "GET /v1/ava/operations/{operation_id}", locals())

    @call
    def abort(self, operation_id: str) -> Flow[Operation]:
        """Abort operations: they act on no more jobs. Their effects so far are not undone."""
        return self._record(Operation, "POST /v1/ava/operations/{operation_id}/abort", locals())


class ContainmentsCalls(ApiResource[Mode]):
    """Calls about containments."""

    @call
    def create(
        self,
        scope: Mapping[str, Any],
        reason: str,
        running: str | None = None,
        triggers: str | None = None,
        ends_in_seconds: int | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Flow[Containment]:
        """Contain the jobs that match all given parts of a scope."""
        return self._record(Containment, "POST /v1/ava/containments", locals())

    @listing
    def list(self, *, state: str | None = None, per_page: int = 100) -> Listing[Containment]:
        """List containments, newest first."""
        return self._records(Containment, "GET /v1/ava/containments filter[state]", locals())

    @call
    def get(self, containment_id: str) -> Flow[Containment]:
        """Show a containment with its running jobs."""
        return self._record(Containment, "GET /v1/ava/containments/{containment_id}", locals())

    @listing
    def jobs(self, containment_id: str, *, per_page: int = 100) -> Listing[Job]:
        """List the jobs that a containment holds, and the running ones that it has asked to stop."""
        return self._records(Job, "GET /v1/ava/containments/{containment_id}/jobs", locals())

    @listing
    def export(self, containment_id: str) -> Listing[Job]:
        """Print the jobs that a containment holds or has stopped, one line of JSON each."""
        return self._lines(Job, "GET /v1/ava/containments/{containment_id}/jobs/export", locals())

    @call
    def proofs(self, containment_id: str) -> Flow[Proofs]:
        """Print the signed records (JWS) of the times when a containment became complete, and was lifted."""
        return self._record(Proofs, "GET /v1/ava/containments/{containment_id}/proof", locals())

    @call
    def lift(self, containment_id: str, *, held: str | None = None) -> Flow[Operation]:
        """Lift containments. An operation returns the held jobs to the queue, or cancels them."""
        return self._record(Operation, "POST /v1/ava/containments/{containment_id}/lift", locals())


class SchedulesCalls(ApiResource[Mode]):
    """Calls about schedules."""

    @call
    def create(
        self,
        worker_id: str,
        cron: str | None = None,
        timezone: str | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Flow[Schedule]:
        """Create a schedule of a worker."""
        return self._record(Schedule, "POST /v1/ava/schedules", locals())

    @listing
    def list(self, *, per_page: int = 100, **options: Unpack[ScheduleFilters]) -> Listing[Schedule]:
        """List schedules, newest first."""
        return self._records(
            Schedule, "GET /v1/ava/schedules filter[worker_id] filter[enabled] filter[paused]", locals()
        )

    @call
    def preview(
        self,
        cron: str | None = None,
        timezone: str | None = None,
        count: int | None = None,
        *,
        every_seconds: int | None = None,
    ) -> Flow[SchedulePreview]:
        """Print a pattern or an interval in words, and its next firings; nothing is saved."""
        return self._record(SchedulePreview, "POST /v1/ava/schedules/preview", locals())

    @call
    def get(self, schedule_id: str) -> Flow[Schedule]:
        """Show a schedule."""
        return self._record(Schedule, "GET /v1/ava/schedules/{schedule_id}", locals())

    @call
    def update(self, schedule_id: str, **options: Unpack[ScheduleChanges]) -> Flow[Schedule]:
        """Change a schedule. Its next firing is computed from now."""
        return self._record(Schedule, "PATCH /v1/ava/schedules/{schedule_id}", locals())

    @call
    def delete(self, schedule_id: str) -> Flow[None]:
        """Delete the schedule and its firings immediately. Its jobs continue."""
        return self._none("DELETE /v1/ava/schedules/{schedule_id}", locals())

    @call
    def pause(self, schedule_id: str, reason: str | None = None) -> Flow[Schedule]:
        """Pause a schedule. Firings are skipped until the schedule is resumed. Its jobs continue."""
        return self._record(Schedule, "POST /v1/ava/schedules/{schedule_id}/pause", locals())

    @call
    def resume(self, schedule_id: str) -> Flow[Schedule]:
        """Resume a schedule. The next firing is at the first slot from now on; skipped firings are not caught up."""
        return self._record(Schedule, "POST /v1/ava/schedules/{schedule_id}/resume", locals())

    @call
    def next(self, schedule_id: str, count: int | None = None) -> Flow[Sequence[ScheduleSlot]]:
        """Print the next firings of a schedule."""
        return self._array(ScheduleSlot, "GET /v1/ava/schedules/{schedule_id}/next", locals())

    @call
    def run(self, schedule_id: str, *, idempotency_key: str | None = None) -> Flow[Job]:
        """Trigger a job now, with a schedule's worker, input and priority."""
        return self._record(Job, "POST /v1/ava/schedules/{schedule_id}/run", locals())

    @listing
    def firings(self, schedule_id: str, *, per_page: int = 100) -> Listing[Firing]:
        """List a schedule's firings, newest first."""
        return self._records(Firing, "GET /v1/ava/schedules/{schedule_id}/firings", locals())


class WorkersCalls(ApiResource[Mode]):
    """Calls about workers."""

    @listing
    def list(self, *, per_page: int = 100, **options: Unpack[WorkerFilters]) -> Listing[Worker]:
        """List workers."""
        return self._records(Worker, "GET /v1/ava/workers filter[status] filter[live] filter[paused]", locals())

    @call
    def create(
        self, slug: str, *, idempotency_key: str | None = None, **options: Unpack[WorkerOptions]
    ) -> Flow[Worker]:
        """Create a pull worker, which claims its runs over HTTP. Its id is wkr_ followed by the slug."""
        return self._record(Worker, "POST /v1/ava/workers", locals() | {"runtime": "pull"})

    @call
    def delete(self, worker_id: str, *, scope: str | None = None) -> Flow[None]:
        """Delete pull workers, once they have no waiting or running jobs."""
        return self._none("DELETE /v1/ava/workers/{worker_id}", locals())

    @call
    def get(self, worker_id: str) -> Flow[Worker]:
        """Show a worker with its settings and the schema of its input."""
        return self._record(Worker, "GET /v1/ava/workers/{worker_id}", locals())

    @call
    def update(self, worker_id: str, **options: Unpack[WorkerChanges]) -> Flow[Worker]:
        """Change the tenant's settings of a worker. A cleared setting is as the handler declares it."""
        return self._record(Worker, "PATCH /v1/ava/workers/{worker_id}", locals())

    @call
    def pause(self, worker_id: str, reason: str | None = None, *, scope: str | None = None) -> Flow[Worker]:
        """Pause a worker.

        Triggers are still accepted, and schedules still create jobs; no job of the worker starts after the response.
        409 if it is deprecated.
        """
        return self._record(Worker, "POST /v1/ava/workers/{worker_id}/pause", locals())

    @call
    def resume(self, worker_id: str, *, scope: str | None = None) -> Flow[Worker]:
        """Resume a worker.

        Waiting jobs follow within two seconds. The platform's pause and the tenant's end separately. 409 if the worker
        is deprecated.
        """
        return self._record(Worker, "POST /v1/ava/workers/{worker_id}/resume", locals())


class QueuesCalls(ApiResource[Mode]):
    """Calls about queues."""

    @call
    def counts(self, *, paused: bool | None = None) -> Flow[Queues]:
        """List the queues with the tenant's own jobs. OLDEST is the waiting time of the oldest startable job."""
        return self._record(Queues, "GET /v1/ava/queues filter[paused]", locals())

    @call
    def pause(self, queue: str, reason: str | None = None) -> Flow[Queue]:
        """Pause a queue.

        For the roles of the platform. Triggers for the queue are still accepted; within 2 s no more of its jobs start,
        not even published jobs. Running jobs continue.
        """
        return self._record(Queue, "POST /v1/ava/queues/{queue}/pause", locals())

    @call
    def resume(self, queue: str) -> Flow[Queue]:
        """Resume a queue. For the roles of the platform. The jobs of the queue start in their exact order."""
        return self._record(Queue, "POST /v1/ava/queues/{queue}/resume", locals())


class WebhooksCalls(ApiResource[Mode]):
    """Calls about webhooks."""

    def __init__(self, calls: Calls, sender: Sender) -> None:
        super().__init__(calls, sender)
        self.deliveries: WebhooksDeliveriesCalls[Mode] = WebhooksDeliveriesCalls(calls, sender)

    @call
    def create(
        self,
        url: str,
        events: Sequence[str],
        secret: str,
        *,
        roots_only: bool | None = None,
        paused: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Webhook]:
        """Create a webhook: events are sent to the URL from now on."""
        return self._record(Webhook, "POST /v1/webhooks", locals())

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Webhook]:
        """List webhooks, newest first."""
        return self._records(Webhook, "GET /v1/webhooks filter[paused]", locals())

    @call
    def get(self, webhook_id: str) -> Flow[Webhook]:
        """Show a webhook."""
        return self._record(Webhook, "GET /v1/webhooks/{webhook_id}", locals())

    @call
    def update(self, webhook_id: str, **options: Unpack[WebhookChanges]) -> Flow[Webhook]:
        """Change the URL, the events or the secret of a webhook."""
        return self._record(Webhook, "PATCH /v1/webhooks/{webhook_id}", locals())

    @call
    def delete(self, webhook_id: str) -> Flow[None]:
        """Delete the webhook and its secret. It gets no further requests."""
        return self._none("DELETE /v1/webhooks/{webhook_id}", locals())

    @call
    def pause(self, webhook_id: str, reason: str | None = None) -> Flow[Webhook]:
        """Pause a webhook. Sends no further events to the webhook. Its pending deliveries are retained."""
        return self._record(Webhook, "POST /v1/webhooks/{webhook_id}/pause", locals())

    @call
    def resume(self, webhook_id: str) -> Flow[Webhook]:
        """Resume a webhook. Sends the pending deliveries of the webhook, and events from now on."""
        return self._record(Webhook, "POST /v1/webhooks/{webhook_id}/resume", locals())

    @call
    def test(self, webhook_id: str) -> Flow[Delivery]:
        """Send a test event, signed and retried like any other."""
        return self._record(Delivery, "POST /v1/webhooks/{webhook_id}/test", locals(), is_idempotent=False)


class NoticesCalls(ApiResource[Mode]):
    """Calls about notices."""

    def __init__(self, calls: Calls, sender: Sender) -> None:
        super().__init__(calls, sender)
        self.deliveries: NoticesDeliveriesCalls[Mode] = NoticesDeliveriesCalls(calls, sender)

    @call
    def create(
        self,
        name: str,
        channel: str,
        target: str,
        on: Sequence[Mapping[str, Any]],
        *,
        paused: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Notice]:
        """Create a notice, by default about failed jobs."""
        return self._record(Notice, "POST /v1/ava/notices", locals())

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Notice]:
        """List notices, newest first."""
        return self._records(Notice, "GET /v1/ava/notices filter[paused]", locals())

    @call
    def get(self, notice_id: str) -> Flow[Notice]:
        """Show a notice."""
        return self._record(Notice, "GET /v1/ava/notices/{notice_id}", locals())

    @call
    def update(self, notice_id: str, **options: Unpack[NoticeChanges]) -> Flow[Notice]:
        """Change the name, the channel, the target or the rules of a notice. A new channel needs a target."""
        return self._record(Notice, "PATCH /v1/ava/notices/{notice_id}", locals())

    @call
    def delete(self, notice_id: str) -> Flow[None]:
        """Delete the notice and its target. Nothing more is sent."""
        return self._none("DELETE /v1/ava/notices/{notice_id}", locals())

    @call
    def pause(self, notice_id: str, reason: str | None = None) -> Flow[Notice]:
        """Pause a notice. Sends no messages. Pending deliveries are retained; events are not counted."""
        return self._record(Notice, "POST /v1/ava/notices/{notice_id}/pause", locals())

    @call
    def resume(self, notice_id: str) -> Flow[Notice]:
        """Resume a notice. Sends the pending deliveries of the notice, and messages about events from now on."""
        return self._record(Notice, "POST /v1/ava/notices/{notice_id}/resume", locals())

    @call
    def test(self, notice_id: str) -> Flow[Delivery]:
        """Send a test message, which is retried like any other."""
        return self._record(Delivery, "POST /v1/ava/notices/{notice_id}/test", locals(), is_idempotent=False)


class EventsCalls(ApiResource[Mode]):
    """Calls about events."""

    @listing
    def list(self, *, per_page: int = 100, **options: Unpack[EventFilters]) -> Listing[ReceivedEvent]:
        """List events, newest first."""
        return self._records(ReceivedEvent, "GET /v1/ava/events filter[type] filter[source]", locals())

    @call
    def get(self, event_id: str) -> Flow[ReceivedEvent]:
        """Show an event with the jobs that it created, and the jobs that waited for it."""
        return self._record(ReceivedEvent, "GET /v1/ava/events/{event_id}", locals())


class SubscriptionsCalls(ApiResource[Mode]):
    """Calls about subscriptions."""

    @call
    def create(
        self,
        event_type: str,
        worker_id: str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubscriptionOptions],
    ) -> Flow[Subscription]:
        """Create a subscription: each event with the type and a matching pattern creates a job of the worker."""
        return self._record(Subscription, "POST /v1/ava/subscriptions", locals())

    @listing
    def list(self, *, per_page: int = 100, **options: Unpack[SubscriptionFilters]) -> Listing[Subscription]:
        """List subscriptions, newest first."""
        return self._records(
            Subscription, "GET /v1/ava/subscriptions filter[event_type] filter[worker_id] filter[paused]", locals()
        )

    @call
    def test(self, event: Mapping[str, Any], **options: Unpack[SubscriptionTestOptions]) -> Flow[TriedSubscription]:
        """Try a pattern and a template on an event; nothing is stored."""
        return self._record(TriedSubscription, "POST /v1/ava/subscriptions/test", locals())

    @call
    def get(self, subscription_id: str) -> Flow[Subscription]:
        """Show a subscription."""
        return self._record(Subscription, "GET /v1/ava/subscriptions/{subscription_id}", locals())

    @call
    def update(self, subscription_id: str, **options: Unpack[SubscriptionChanges]) -> Flow[Subscription]:
        """Change a subscription, for the events from now on."""
        return self._record(Subscription, "PATCH /v1/ava/subscriptions/{subscription_id}", locals())

    @call
    def delete(self, subscription_id: str) -> Flow[None]:
        """Delete the subscription immediately. Its jobs continue."""
        return self._none("DELETE /v1/ava/subscriptions/{subscription_id}", locals())

    @call
    def pause(self, subscription_id: str, reason: str | None = None) -> Flow[Subscription]:
        """Pause a subscription. Events from now on create no jobs for the subscription, also after it is resumed."""
        return self._record(Subscription, "POST /v1/ava/subscriptions/{subscription_id}/pause", locals())

    @call
    def resume(self, subscription_id: str) -> Flow[Subscription]:
        """Resume a subscription. Events from now on create jobs again."""
        return self._record(Subscription, "POST /v1/ava/subscriptions/{subscription_id}/resume", locals())


class HooksCalls(ApiResource[Mode]):
    """Calls about hooks."""

    def __init__(self, calls: Calls, sender: Sender) -> None:
        super().__init__(calls, sender)
        self.deliveries: HooksDeliveriesCalls[Mode] = HooksDeliveriesCalls(calls, sender)

    @call
    def create(
        self, name: str, provider: str, *, idempotency_key: str | None = None, **options: Unpack[HookOptions]
    ) -> Flow[Hook]:
        """Create a hook. Its URL, and the secret if one is generated, are returned only once."""
        return self._record(Hook, "POST /v1/ava/hooks", locals())

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Hook]:
        """List hooks, newest first."""
        return self._records(Hook, "GET /v1/ava/hooks filter[paused]", locals())

    @call
    def get(self, hook_id: str) -> Flow[Hook]:
        """Show a hook."""
        return self._record(Hook, "GET /v1/ava/hooks/{hook_id}", locals())

    @call
    def update(self, hook_id: str, **options: Unpack[HookChanges]) -> Flow[Hook]:
        """Change a hook, or give it a new secret. Earlier secrets stay valid for a while."""
        return self._record(Hook, "PATCH /v1/ava/hooks/{hook_id}", locals())

    @call
    def delete(self, hook_id: str) -> Flow[None]:
        """Delete the hook with its secret: its address stops working within 2 s. Its jobs and events are retained."""
        return self._none("DELETE /v1/ava/hooks/{hook_id}", locals())

    @call
    def pause(self, hook_id: str, reason: str | None = None) -> Flow[Hook]:
        """Pause a hook.

        The hook still accepts deliveries, and stores them as `skipped`: they start nothing until they are replayed.
        Applies within 2 s.
        """
        return self._record(Hook, "POST /v1/ava/hooks/{hook_id}/pause", locals())

    @call
    def resume(self, hook_id: str) -> Flow[Hook]:
        """Resume a hook. Deliveries from now on are processed, within 2 s. Earlier ones can be replayed."""
        return self._record(Hook, "POST /v1/ava/hooks/{hook_id}/resume", locals())

    @call
    def rotate(
        self, hook_id: str, *, keep_seconds: int | None = None, idempotency_key: str | None = None
    ) -> Flow[Hook]:
        """Give a hook a new URL, which is returned only once; the earlier one stays valid for a while."""
        return self._record(Hook, "POST /v1/ava/hooks/{hook_id}/rotate", locals())

    @call
    def test(self, hook_id: str, **options: Unpack[HookTestOptions]) -> Flow[HookTest]:
        """Send a test request to a hook, in its provider's format. It starts the same jobs as a real one."""
        return self._record(HookTest, "POST /v1/ava/hooks/{hook_id}/test", locals(), is_idempotent=False)


class KeysCalls(ApiResource[Mode]):
    """Calls about keys."""

    @call
    def create(
        self, name: str, role: str, *, idempotency_key: str | None = None, **options: Unpack[KeyOptions]
    ) -> Flow[ApiKey]:
        """Create a key and print it with its token, which is in this response only."""
        return self._record(ApiKey, "POST /v1/ava/keys", locals())

    @listing
    def list(self, *, per_page: int = 100) -> Listing[ApiKey]:
        """List the tenant's keys, newest first."""
        return self._records(ApiKey, "GET /v1/ava/keys", locals())

    @call
    def delete(self, key_id: str) -> Flow[None]:
        """Delete keys. Every process refuses them within 2 seconds."""
        return self._none("DELETE /v1/ava/keys/{key_id}", locals())


class SessionsCalls(ApiResource[Mode]):
    """Calls about sessions."""

    @call
    def end(self) -> Flow[int]:
        """End all sessions of your user in the tenant, and make its unused links invalid."""
        return self._count("DELETE /v1/ava/sessions", locals())


class LimitsCalls(ApiResource[Mode]):
    """Calls about limits."""

    @listing
    def list(self, *, per_page: int = 100) -> Listing[Limit]:
        """List the limits and the tenant's use of them."""
        return self._records(Limit, "GET /v1/ava/limits", locals())

    @listing
    def workers(self, *, per_page: int = 100) -> Listing[WorkerLimit]:
        """List the workers with a limit and the tenant's use of it."""
        return self._records(WorkerLimit, "GET /v1/ava/limits/workers", locals())


class TenantsCalls(ApiResource[Mode]):
    """Calls about tenants."""

    @call
    def limits(self, tenant_id: str) -> Flow[TenantRules]:
        """Show the limits of a tenant. Empty ones are the installation's defaults."""
        return self._record(TenantRules, "GET /v1/ava/tenants/{tenant_id}/limits", locals())

    @call
    def set_limits(self, tenant_id: str, **options: Unpack[TenantLimitsOptions]) -> Flow[TenantRules]:
        """Replace a tenant's limits; an empty one is the installation's default. Requires a platform role."""
        return self._record(TenantRules, "PUT /v1/ava/tenants/{tenant_id}/limits", locals())

    @listing
    def list(self, *, per_page: int = 100) -> Listing[TenantLoad]:
        """List tenants with jobs that wait, run, or ended in the last hour. Requires --role platform-admin."""
        return self._records(TenantLoad, "GET /v1/ava/tenants", locals())


class ReportsCalls(ApiResource[Mode]):
    """Calls about reports."""

    @call
    def overview(self) -> Flow[Overview]:
        """Show the waiting and running jobs, and the jobs that ended in the last hour."""
        return self._record(Overview, "GET /v1/ava/overview", locals())

    @call
    def analytics(self, days: int | None = None, **options: Unpack[AnalyticsFilters]) -> Flow[Analytics]:
        """Show the success rate, waiting and running times, and each worker's jobs."""
        return self._record(Analytics, "GET /v1/ava/analytics filter[worker_id]", locals())

    @call
    def series(self, **options: Unpack[SeriesFilters]) -> Flow[Series]:
        """Show ended, running and waiting jobs, and the times to start and to run, in steps of a range."""
        return self._record(Series, "GET /v1/ava/series filter[worker_id] filter[queue] filter[tenant_id]", locals())


class ApprovalsCalls(ApiResource[Mode]):
    """Calls about approvals."""

    @listing
    def list(self, *, per_page: int = 100, **options: Unpack[ApprovalFilters]) -> Listing[Approval]:
        """List approvals: pending ones oldest first, others newest first."""
        return self._records(Approval, "GET /v1/ava/approvals filter[status] filter[job_id] filter[mine]", locals())

    @call
    def get(self, approval_id: str) -> Flow[Approval]:
        """Show an approval with its content, its payload_hash and its decisions."""
        return self._record(Approval, "GET /v1/ava/approvals/{approval_id}", locals())

    @call
    def approve(
        self, approval_id: str, payload_hash: str, *, data: Any = None, comment: str | None = None
    ) -> Flow[Approval]:
        """Approve the content with a payload_hash, as `show` prints it."""
        return self._record(Approval, "POST /v1/ava/approvals/{approval_id}/approve", locals())

    @call
    def deny(
        self, approval_id: str, payload_hash: str, *, data: Any = None, comment: str | None = None
    ) -> Flow[Approval]:
        """Deny the content with a payload_hash, as `show` prints it."""
        return self._record(Approval, "POST /v1/ava/approvals/{approval_id}/deny", locals())


class ErrorsCalls(ApiResource[Mode]):
    """Calls about errors."""

    @listing
    def list(self, *, per_page: int = 100, **options: Unpack[ErrorFilters]) -> Listing[ErrorGroup]:
        """List groups of failed jobs, the latest seen first."""
        return self._records(ErrorGroup, "GET /v1/ava/errors filter[worker_id] filter[status]", locals())

    @call
    def get(
        self, error_id: str, *, since: datetime | str | None = None, until: datetime | str | None = None
    ) -> Flow[ErrorGroup]:
        """Show an error with its newest jobs."""
        return self._record(ErrorGroup, "GET /v1/ava/errors/{error_id}", locals())

    @call
    def resolve(self, error_id: str) -> Flow[ErrorGroup]:
        """Resolve errors. They reopen when another job fails with the same error."""
        return self._record(ErrorGroup, "POST /v1/ava/errors/{error_id}/resolve", locals())

    @call
    def retry(self, error_id: str, *, idempotency_key: str | None = None) -> Flow[Operation]:
        """Trigger a new job for each failed job of errors. `ava operations show` follows the operation."""
        return self._record(Operation, "POST /v1/ava/errors/{error_id}/retry", locals())

    @call
    def ignore(self, error_id: str) -> Flow[ErrorGroup]:
        """Ignore errors. Their jobs are still counted."""
        return self._record(ErrorGroup, "POST /v1/ava/errors/{error_id}/ignore", locals())

    @call
    def reopen(self, error_id: str) -> Flow[ErrorGroup]:
        """Reopen errors."""
        return self._record(ErrorGroup, "POST /v1/ava/errors/{error_id}/reopen", locals())


class NodesCalls(ApiResource[Mode]):
    """Calls about nodes."""

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Node]:
        """List the nodes, live ones first; ended ones are listed for an hour."""
        return self._records(Node, "GET /v1/ava/nodes filter[paused]", locals())

    @call
    def pause(self, node_id: str, reason: str | None = None) -> Flow[Node]:
        """Pause a node.

        For the roles of the platform. Within seconds the node stops claiming jobs; running jobs finish, however long
        they take. The node stays paused and does not exit, because its supervisor would restart it: stop it once `busy`
        is 0. A restarted node claims jobs.
        """
        return self._record(Node, "POST /v1/ava/nodes/{node_id}/pause", locals())

    @call
    def resume(self, node_id: str) -> Flow[Node]:
        """Resume a node. For the roles of the platform. Within seconds the node claims jobs again."""
        return self._record(Node, "POST /v1/ava/nodes/{node_id}/resume", locals())


class PromotionsCalls(ApiResource[Mode]):
    """Calls about promotions."""

    @listing
    def list(self, *, per_page: int = 100) -> Listing[Promotion]:
        """List the latest promotions of a PostgreSQL standby. Requires --role platform-admin."""
        return self._records(Promotion, "GET /v1/ava/promotions", locals())


class AuditCalls(ApiResource[Mode]):
    """Calls about audit."""

    @listing
    def list(self, *, per_page: int = 100, **options: Unpack[AuditFilters]) -> Listing[AuditEntry]:
        """List who changed what, newest first; refused requests are listed too."""
        return self._records(
            AuditEntry, "GET /v1/ava/audit filter[action] filter[actor_id] filter[label] filter[target]", locals()
        )
