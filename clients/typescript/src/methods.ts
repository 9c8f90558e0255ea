// The methods of the client's resources. Written by `make records` from the operations of the API.
import type { CallOptions, CreateOptions } from "./calls.js";
import type { Job } from "./jobs.js";
import type { components } from "./openapi.js";
import { Resource, type PauseOptions } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Actor = Received<Schemas["ActorRecord"]>;
export type Analytics = Received<Schemas["AnalyticsRecord"]>;
export type ApprovalDecision = Received<Schemas["ApprovalDecisionRecord"]>;
export type Approval = Received<Schemas["ApprovalRecord"]>;
export type AuditEntry = Received<Schemas["AuditEntryRecord"]>;
export type Backlog = Received<Schemas["BacklogRecord"]>;
export type ChartSeries = Received<Schemas["ChartSeriesRecord"]>;
export type ChildOutput = Received<Schemas["ChildOutputRecord"]>;
export type Child = Received<Schemas["ChildRecord"]>;
export type ClaimedRun = Received<Schemas["ClaimedRunRecord"]>;
export type ContainedRun = Received<Schemas["ContainedRunRecord"]>;
export type Containment = Received<Schemas["ContainmentRecord"]>;
export type Count = Received<Schemas["CountRecord"]>;
export type CreatedKey = Received<Schemas["CreatedKeyRecord"]>;
export type DeletedNotice = Received<Schemas["DeletedNoticeRecord"]>;
export type Deleted = Received<Schemas["DeletedRecord"]>;
export type Delivery = Received<Schemas["DeliveryRecord"]>;
export type DeliveryTotal = Received<Schemas["DeliveryTotalRecord"]>;
export type Depth = Received<Schemas["DepthRecord"]>;
export type End = Received<Schemas["EndRecord"]>;
export type Ended = Received<Schemas["EndedRecord"]>;
export type EndedSeries = Received<Schemas["EndedSeriesRecord"]>;
export type EndedSessions = Received<Schemas["EndedSessionsRecord"]>;
export type ErrorDay = Received<Schemas["ErrorDayRecord"]>;
export type ErrorGroup = Received<Schemas["ErrorGroupRecord"]>;
export type Event = Received<Schemas["EventRecord"]>;
export type Explanation = Received<Schemas["ExplanationRecord"]>;
export type FailureKind = Received<Schemas["FailureKindRecord"]>;
export type Failure = Received<Schemas["FailureRecord"]>;
export type Firing = Received<Schemas["FiringRecord"]>;
export type Heartbeat = Received<Schemas["HeartbeatRecord"]>;
export type HookDeleted = Received<Schemas["HookDeletedRecord"]>;
export type Hook = Received<Schemas["HookRecord"]>;
export type HookTest = Received<Schemas["HookTestRecord"]>;
export type JobLog = Received<Schemas["JobLogRecord"]>;
export type JobRun = Received<Schemas["JobRunRecord"]>;
export type JobWait = Received<Schemas["JobWaitRecord"]>;
export type JournalEntry = Received<Schemas["JournalEntryRecord"]>;
export type KeyDeleted = Received<Schemas["KeyDeletedRecord"]>;
export type Key = Received<Schemas["KeyRecord"]>;
export type Latency = Received<Schemas["LatencyRecord"]>;
export type Limit = Received<Schemas["LimitRecord"]>;
export type Link = Received<Schemas["LinkRecord"]>;
export type LogLine = Received<Schemas["LogLineRecord"]>;
export type Mark = Received<Schemas["MarkRecord"]>;
export type Minute = Received<Schemas["MinuteRecord"]>;
export type Node = Received<Schemas["NodeRecord"]>;
export type Notice = Received<Schemas["NoticeRecord"]>;
export type Operation = Received<Schemas["OperationRecord"]>;
export type Overview = Received<Schemas["OverviewRecord"]>;
export type Pause = Received<Schemas["PauseRecord"]>;
export type Percentiles = Received<Schemas["PercentilesRecord"]>;
export type Preview = Received<Schemas["PreviewRecord"]>;
export type Promotion = Received<Schemas["PromotionRecord"]>;
export type Proofs = Received<Schemas["ProofsRecord"]>;
export type Queue = Received<Schemas["QueueRecord"]>;
export type Queues = Received<Schemas["QueuesRecord"]>;
export type Receipt = Received<Schemas["ReceiptRecord"]>;
export type Refusal = Received<Schemas["RefusalRecord"]>;
export type Rehearsal = Received<Schemas["RehearsalRecord"]>;
export type RehearsedWorker = Received<Schemas["RehearsedWorkerRecord"]>;
export type RunningJob = Received<Schemas["RunningJobRecord"]>;
export type ScheduleDeleted = Received<Schemas["ScheduleDeletedRecord"]>;
export type Schedule = Received<Schemas["ScheduleRecord"]>;
export type SentEvent = Received<Schemas["SentEventRecord"]>;
export type Series = Received<Schemas["SeriesRecord"]>;
export type Session = Received<Schemas["SessionRecord"]>;
export type SessionTenant = Received<Schemas["SessionTenantRecord"]>;
export type Slot = Received<Schemas["SlotRecord"]>;
export type Stop = Received<Schemas["StopRecord"]>;
export type SubscriptionDeleted = Received<Schemas["SubscriptionDeletedRecord"]>;
export type Subscription = Received<Schemas["SubscriptionRecord"]>;
export type SubscriptionTest = Received<Schemas["SubscriptionTestRecord"]>;
export type TenantLimits = Received<Schemas["TenantLimitsRecord"]>;
export type TenantLoad = Received<Schemas["TenantLoadRecord"]>;
export type TimeSeries = Received<Schemas["TimeSeriesRecord"]>;
export type Times = Received<Schemas["TimesRecord"]>;
export type TreeEdge = Received<Schemas["TreeEdgeRecord"]>;
export type TreeJob = Received<Schemas["TreeJobRecord"]>;
export type Tree = Received<Schemas["TreeRecord"]>;
export type TreeWait = Received<Schemas["TreeWaitRecord"]>;
export type Usage = Received<Schemas["UsageRecord"]>;
export type Webhook = Received<Schemas["WebhookRecord"]>;
export type WorkerCount = Received<Schemas["WorkerCountRecord"]>;
export type WorkerCounts = Received<Schemas["WorkerCountsRecord"]>;
export type WorkerDeleted = Received<Schemas["WorkerDeletedRecord"]>;
export type WorkerLimit = Received<Schemas["WorkerLimitRecord"]>;
export type ListedWorker = Received<Schemas["WorkerRecord"]>;
export type Worker = Received<Schemas["WorkerWithSettingsRecord"]>;

/** Calls about deliveries of webhooks. */
export class WebhooksDeliveriesCalls extends Resource {
  /** List the deliveries of a hook, a webhook or a notice, newest first. */
  list(
    id: string,
    query: Query<"/v1/webhooks/{webhook_id}/deliveries"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Delivery> {
    return this.calls.list("/v1/webhooks/{webhook_id}/deliveries", [id], { perPage: 100, ...query }, options);
  }

  /** Show a delivery with its body. */
  async get(webhookId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("get", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}", [webhookId, id], options);
  }

  /** Send a delivery again, with the same id and bytes. */
  async redeliver(webhookId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", [webhookId, id], options);
  }

  /** Send the deliveries of a time range again: abandoned ones, unless another status is given. */
  async redeliverMany(id: string, fields: Sent<Schemas["RedeliverBody"]>, options: CallOptions = {}): Promise<number> {
    return (await this.calls.data("post", "/v1/webhooks/{webhook_id}/deliveries/redeliver", [id], { ...options, body: fields })).total;
  }
}

/** Calls about deliveries of notices. */
export class NoticesDeliveriesCalls extends Resource {
  /** List the deliveries of a hook, a webhook or a notice, newest first. */
  list(
    id: string,
    query: Query<"/v1/ava/notices/{notice_id}/deliveries"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Delivery> {
    return this.calls.list("/v1/ava/notices/{notice_id}/deliveries", [id], { perPage: 100, ...query }, options);
  }

  /** Show a delivery with its body. */
  async get(noticeId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("get", "/v1/ava/notices/{notice_id}/deliveries/{delivery_id}", [noticeId, id], options);
  }

  /** Send a delivery again, with the same id and bytes. */
  async redeliver(noticeId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", "/v1/ava/notices/{notice_id}/deliveries/{delivery_id}/redeliver", [noticeId, id], options);
  }

  /** Send the deliveries of a time range again: abandoned ones, unless another status is given. */
  async redeliverMany(
    id: string,
    fields: Sent<Schemas["NoticeRedeliverBody"]>,
    options: CallOptions = {},
  ): Promise<number> {
    return (await this.calls.data("post", "/v1/ava/notices/{notice_id}/deliveries/redeliver", [id], { ...options, body: fields })).total;
  }
}

/** Calls about deliveries of hooks. */
export class HooksDeliveriesCalls extends Resource {
  /** List the deliveries of a hook, a webhook or a notice, newest first. */
  list(
    id: string,
    query: Query<"/v1/ava/hooks/{hook_id}/deliveries"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Delivery> {
    return this.calls.list("/v1/ava/hooks/{hook_id}/deliveries", [id], { perPage: 100, ...query }, options);
  }

  /** Show a delivery with its body. */
  async get(hookId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("get", "/v1/ava/hooks/{hook_id}/deliveries/{delivery_id}", [hookId, id], options);
  }

  /** Process a delivery again, with the current subscriptions. */
  async replay(hookId: string, id: string, options: CreateOptions = {}): Promise<Delivery> {
    return this.calls.data("post", "/v1/ava/hooks/{hook_id}/deliveries/{delivery_id}/replay", [hookId, id], options);
  }

  /** Process the deliveries of a time range again, all or none. */
  async replayMany(id: string, fields: Sent<Schemas["ReplayBody"]>, options: CreateOptions = {}): Promise<number> {
    return (await this.calls.data("post", "/v1/ava/hooks/{hook_id}/deliveries/replay", [id], { ...options, body: fields })).total;
  }
}

/** Calls about jobs. */
export class JobsCalls extends Resource {
  /** Trigger a new job like a final one, optionally with another input or priority. */
  async retry(id: string, fields: Sent<Schemas["RetryBody"]> = {}, options: CreateOptions = {}): Promise<Job> {
    return this.calls.data("post", "/v1/ava/jobs/{job_id}/retry", [id], { ...options, body: fields });
  }

  /** Show a job. */
  async get(id: string, options: CallOptions = {}): Promise<Job> {
    return (await this.calls.data("get", "/v1/ava/jobs/{job_id}", [id], options)) as Job;
  }

  /** Change a queued job. Without a start time it starts as soon as possible. */
  async update(id: string, fields: Sent<Schemas["ChangeBody"]>, options: CallOptions = {}): Promise<Job> {
    return this.calls.data("patch", "/v1/ava/jobs/{job_id}", [id], { ...options, body: fields });
  }

  /** List a job's runs, oldest first. */
  runs(id: string, query: Query<"/v1/ava/jobs/{job_id}/runs"> = {}, options: CallOptions = {}): AsyncGenerator<JobRun> {
    return this.calls.list("/v1/ava/jobs/{job_id}/runs", [id], { perPage: 100, ...query }, options);
  }

  /** Print all matching jobs, newest first: one complete job per line, as JSON. */
  export(query: Query<"/v1/ava/jobs/export"> = {}, options: CallOptions = {}): AsyncGenerator<Job> {
    return this.calls.lines("/v1/ava/jobs/export", [], query, options);
  }

  /** Print why a job has its status. */
  async why(id: string, options: CallOptions = {}): Promise<Explanation> {
    return this.calls.data("get", "/v1/ava/jobs/{job_id}/why", [id], options);
  }

  /** List the recorded steps, children and waits of a job's handler, oldest first. */
  journal(
    id: string,
    query: Query<"/v1/ava/jobs/{job_id}/journal"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<JournalEntry> {
    return this.calls.list("/v1/ava/jobs/{job_id}/journal", [id], { perPage: 100, ...query }, options);
  }

  /** List the waits of a job, the latest first. */
  waits(
    id: string,
    query: Query<"/v1/ava/jobs/{job_id}/waits"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<JobWait> {
    return this.calls.list("/v1/ava/jobs/{job_id}/waits", [id], { perPage: 100, ...query }, options);
  }

  /** List what webhooks have sent about a job, newest first, without bodies. */
  deliveries(
    id: string,
    query: Query<"/v1/ava/jobs/{job_id}/deliveries"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Delivery> {
    return this.calls.list("/v1/ava/jobs/{job_id}/deliveries", [id], { perPage: 100, ...query }, options);
  }
}

/** Calls about operations. */
export class OperationsCalls extends Resource {
  /** List bulk operations, newest first. */
  list(query: Query<"/v1/ava/operations"> = {}, options: CallOptions = {}): AsyncGenerator<Operation> {
    return this.calls.list("/v1/ava/operations", [], { perPage: 100, ...query }, options);
  }

  /** Show an operation with its current counts. */
  async get(id: string, options: CallOptions = {}): Promise<Operation> {
    return this.calls.data("get", "/v1/ava/operations/{operation_id}", [id], options);
  }

  /** Abort operations: they act on no more jobs. Their effects so far are not undone. */
  async abort(id: string, options: CallOptions = {}): Promise<Operation> {
    return this.calls.data("post", "/v1/ava/operations/{operation_id}/abort", [id], options);
  }
}

/** Calls about containments. */
export class ContainmentsCalls extends Resource {
  /** List containments, newest first. */
  list(query: Query<"/v1/ava/containments"> = {}, options: CallOptions = {}): AsyncGenerator<Containment> {
    return this.calls.list("/v1/ava/containments", [], { perPage: 100, ...query }, options);
  }

  /** Show a containment with its running jobs. */
  async get(id: string, options: CallOptions = {}): Promise<Containment> {
    return this.calls.data("get", "/v1/ava/containments/{containment_id}", [id], options);
  }

  /** Print the jobs that a containment holds or has stopped, one line of JSON each. */
  export(id: string, options: CallOptions = {}): AsyncGenerator<Job> {
    return this.calls.lines("/v1/ava/containments/{containment_id}/jobs/export", [id], {}, options);
  }

  /** Print the signed records (JWS) of the times when a containment became complete, and was lifted. */
  async proofs(id: string, options: CallOptions = {}): Promise<Proofs> {
    return this.calls.data("get", "/v1/ava/containments/{containment_id}/proof", [id], options);
  }

  /** Lift containments. An operation returns the held jobs to the queue, or cancels them. */
  async lift(id: string, fields: Sent<Schemas["LiftBody"]> = {}, options: CallOptions = {}): Promise<Operation> {
    return this.calls.data("post", "/v1/ava/containments/{containment_id}/lift", [id], { ...options, body: fields });
  }
}

/** Calls about schedules. */
export class SchedulesCalls extends Resource {
  /** Create a schedule of a worker. */
  async create(fields: Sent<Schemas["ScheduleBody"]>, options: CreateOptions = {}): Promise<Schedule> {
    return this.calls.data("post", "/v1/ava/schedules", [], { ...options, body: fields });
  }

  /** List schedules, newest first. */
  list(query: Query<"/v1/ava/schedules"> = {}, options: CallOptions = {}): AsyncGenerator<Schedule> {
    return this.calls.list("/v1/ava/schedules", [], { perPage: 100, ...query }, options);
  }

  /** Print a pattern or an interval in words, and its next firings; nothing is saved. */
  async preview(fields: Sent<Schemas["PreviewBody"]> = {}, options: CallOptions = {}): Promise<Preview> {
    return this.calls.data("post", "/v1/ava/schedules/preview", [], { ...options, body: fields });
  }

  /** Show a schedule. */
  async get(id: string, options: CallOptions = {}): Promise<Schedule> {
    return this.calls.data("get", "/v1/ava/schedules/{schedule_id}", [id], options);
  }

  /** Change a schedule. Its next firing is computed from now. */
  async update(id: string, fields: Sent<Schemas["ScheduleChangeBody"]>, options: CallOptions = {}): Promise<Schedule> {
    return this.calls.data("patch", "/v1/ava/schedules/{schedule_id}", [id], { ...options, body: fields });
  }

  /** Delete the schedule and its firings immediately. Its jobs continue. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", "/v1/ava/schedules/{schedule_id}", [id], options);
  }

  /** Pause a schedule. Firings are skipped until the schedule is resumed. Its jobs continue. */
  async pause(id: string, { reason, ...options }: PauseOptions = {}): Promise<Schedule> {
    return this.calls.data("post", "/v1/ava/schedules/{schedule_id}/pause", [id], { ...options, body: { reason: reason ?? null } });
  }

  /** Resume a schedule. The next firing is at the first slot from now on; skipped firings are not caught up. */
  async resume(id: string, options: CallOptions = {}): Promise<Schedule> {
    return this.calls.data("post", "/v1/ava/schedules/{schedule_id}/resume", [id], options);
  }

  /** Trigger a job now, with a schedule's worker, input and priority. */
  async run(id: string, options: CreateOptions = {}): Promise<Job> {
    return this.calls.data("post", "/v1/ava/schedules/{schedule_id}/run", [id], options);
  }
}

/** Calls about workers. */
export class WorkersCalls extends Resource {
  /** List workers. */
  list(query: Query<"/v1/ava/workers"> = {}, options: CallOptions = {}): AsyncGenerator<ListedWorker> {
    return this.calls.list("/v1/ava/workers", [], { perPage: 100, ...query }, options);
  }

  /** Create a pull worker, which claims its runs over HTTP. Its id is wkr_ followed by the slug. */
  async create(fields: Omit<Sent<Schemas["WorkerBody"]>, "runtime">, options: CreateOptions = {}): Promise<Worker> {
    return this.calls.data("post", "/v1/ava/workers", [], { ...options, body: { ...fields, ...{"runtime": "pull"} } });
  }

  /** Show a worker with its settings and the schema of its input. */
  async get(id: string, options: CallOptions = {}): Promise<Worker> {
    return this.calls.data("get", "/v1/ava/workers/{worker_id}", [id], options);
  }

  /** Change the tenant's settings of a worker. A cleared setting is as the handler declares it. */
  async update(id: string, fields: Sent<Schemas["WorkerChangeBody"]>, options: CallOptions = {}): Promise<Worker> {
    return this.calls.data("patch", "/v1/ava/workers/{worker_id}", [id], { ...options, body: fields });
  }
}

/** Calls about queues. */
export class QueuesCalls extends Resource {
  /**
   * Pause a queue. For the roles of the platform. Triggers for the queue are still accepted; within 2 s no more of its
   * jobs start, not even published jobs. Running jobs continue.
   */
  async pause(id: string, { reason, ...options }: PauseOptions = {}): Promise<Queue> {
    return this.calls.data("post", "/v1/ava/queues/{queue}/pause", [id], { ...options, body: { reason: reason ?? null } });
  }

  /** Resume a queue. For the roles of the platform. The jobs of the queue start in their exact order. */
  async resume(id: string, options: CallOptions = {}): Promise<Queue> {
    return this.calls.data("post", "/v1/ava/queues/{queue}/resume", [id], options);
  }
}

/** Calls about webhooks. */
export class WebhooksCalls extends Resource {
  readonly deliveries = new WebhooksDeliveriesCalls(this.calls);

  /** Create a webhook: events are sent to the URL from now on. */
  async create(fields: Sent<Schemas["WebhookBody"]>, options: CreateOptions = {}): Promise<Webhook> {
    return this.calls.data("post", "/v1/webhooks", [], { ...options, body: fields });
  }

  /** List webhooks, newest first. */
  list(query: Query<"/v1/webhooks"> = {}, options: CallOptions = {}): AsyncGenerator<Webhook> {
    return this.calls.list("/v1/webhooks", [], { perPage: 100, ...query }, options);
  }

  /** Show a webhook. */
  async get(id: string, options: CallOptions = {}): Promise<Webhook> {
    return this.calls.data("get", "/v1/webhooks/{webhook_id}", [id], options);
  }

  /** Change the URL, the events or the secret of a webhook. */
  async update(id: string, fields: Sent<Schemas["WebhookChangeBody"]>, options: CallOptions = {}): Promise<Webhook> {
    return this.calls.data("patch", "/v1/webhooks/{webhook_id}", [id], { ...options, body: fields });
  }

  /** Delete the webhook and its secret. It gets no further requests. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", "/v1/webhooks/{webhook_id}", [id], options);
  }

  /** Pause a webhook. Sends no further events to the webhook. Its pending deliveries are retained. */
  async pause(id: string, { reason, ...options }: PauseOptions = {}): Promise<Webhook> {
    return this.calls.data("post", "/v1/webhooks/{webhook_id}/pause", [id], { ...options, body: { reason: reason ?? null } });
  }

  /** Resume a webhook. Sends the pending deliveries of the webhook, and events from now on. */
  async resume(id: string, options: CallOptions = {}): Promise<Webhook> {
    return this.calls.data("post", "/v1/webhooks/{webhook_id}/resume", [id], options);
  }

  /** Send a test event, signed and retried like any other. */
  async test(id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", "/v1/webhooks/{webhook_id}/test", [id], options);
  }
}

/** Calls about notices. */
export class NoticesCalls extends Resource {
  readonly deliveries = new NoticesDeliveriesCalls(this.calls);

  /** Create a notice, by default about failed jobs. */
  async create(fields: Sent<Schemas["NoticeBody"]>, options: CreateOptions = {}): Promise<Notice> {
    return this.calls.data("post", "/v1/ava/notices", [], { ...options, body: fields });
  }

  /** List notices, newest first. */
  list(query: Query<"/v1/ava/notices"> = {}, options: CallOptions = {}): AsyncGenerator<Notice> {
    return this.calls.list("/v1/ava/notices", [], { perPage: 100, ...query }, options);
  }

  /** Show a notice. */
  async get(id: string, options: CallOptions = {}): Promise<Notice> {
    return this.calls.data("get", "/v1/ava/notices/{notice_id}", [id], options);
  }

  /** Change the name, the channel, the target or the rules of a notice. A new channel needs a target. */
  async update(id: string, fields: Sent<Schemas["NoticeChangeBody"]>, options: CallOptions = {}): Promise<Notice> {
    return this.calls.data("patch", "/v1/ava/notices/{notice_id}", [id], { ...options, body: fields });
  }

  /** Delete the notice and its target. Nothing more is sent. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", "/v1/ava/notices/{notice_id}", [id], options);
  }

  /** Pause a notice. Sends no messages. Pending deliveries are retained; events are not counted. */
  async pause(id: string, { reason, ...options }: PauseOptions = {}): Promise<Notice> {
    return this.calls.data("post", "/v1/ava/notices/{notice_id}/pause", [id], { ...options, body: { reason: reason ?? null } });
  }

  /** Resume a notice. Sends the pending deliveries of the notice, and messages about events from now on. */
  async resume(id: string, options: CallOptions = {}): Promise<Notice> {
    return this.calls.data("post", "/v1/ava/notices/{notice_id}/resume", [id], options);
  }

  /** Send a test message, which is retried like any other. */
  async test(id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", "/v1/ava/notices/{notice_id}/test", [id], options);
  }
}

/** Calls about events. */
export class EventsCalls extends Resource {
  /** List events, newest first. */
  list(query: Query<"/v1/ava/events"> = {}, options: CallOptions = {}): AsyncGenerator<Event> {
    return this.calls.list("/v1/ava/events", [], { perPage: 100, ...query }, options);
  }

  /** Show an event with the jobs that it created, and the jobs that waited for it. */
  async get(id: string, options: CallOptions = {}): Promise<Event> {
    return this.calls.data("get", "/v1/ava/events/{event_id}", [id], options);
  }
}

/** Calls about subscriptions. */
export class SubscriptionsCalls extends Resource {
  /** Create a subscription: each event with the type and a matching pattern creates a job of the worker. */
  async create(fields: Sent<Schemas["SubscriptionBody"]>, options: CreateOptions = {}): Promise<Subscription> {
    return this.calls.data("post", "/v1/ava/subscriptions", [], { ...options, body: fields });
  }

  /** List subscriptions, newest first. */
  list(query: Query<"/v1/ava/subscriptions"> = {}, options: CallOptions = {}): AsyncGenerator<Subscription> {
    return this.calls.list("/v1/ava/subscriptions", [], { perPage: 100, ...query }, options);
  }

  /** Try a pattern and a template on an event; nothing is stored. */
  async test(fields: Sent<Schemas["SubscriptionTestBody"]>, options: CallOptions = {}): Promise<SubscriptionTest> {
    return this.calls.data("post", "/v1/ava/subscriptions/test", [], { ...options, body: fields });
  }

  /** Show a subscription. */
  async get(id: string, options: CallOptions = {}): Promise<Subscription> {
    return this.calls.data("get", "/v1/ava/subscriptions/{subscription_id}", [id], options);
  }

  /** Change a subscription, for the events from now on. */
  async update(
    id: string,
    fields: Sent<Schemas["SubscriptionChangeBody"]>,
    options: CallOptions = {},
  ): Promise<Subscription> {
    return this.calls.data("patch", "/v1/ava/subscriptions/{subscription_id}", [id], { ...options, body: fields });
  }

  /** Delete the subscription immediately. Its jobs continue. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", "/v1/ava/subscriptions/{subscription_id}", [id], options);
  }

  /** Pause a subscription. Events from now on create no jobs for the subscription, also after it is resumed. */
  async pause(id: string, { reason, ...options }: PauseOptions = {}): Promise<Subscription> {
    return this.calls.data("post", "/v1/ava/subscriptions/{subscription_id}/pause", [id], { ...options, body: { reason: reason ?? null } });
  }

  /** Resume a subscription. Events from now on create jobs again. */
  async resume(id: string, options: CallOptions = {}): Promise<Subscription> {
    return this.calls.data("post", "/v1/ava/subscriptions/{subscription_id}/resume", [id], options);
  }
}

/** Calls about hooks. */
export class HooksCalls extends Resource {
  readonly deliveries = new HooksDeliveriesCalls(this.calls);

  /** Create a hook. Its URL, and the secret if one is generated, are returned only once. */
  async create(fields: Sent<Schemas["HookBody"]>, options: CreateOptions = {}): Promise<Hook> {
    return this.calls.data("post", "/v1/ava/hooks", [], { ...options, body: fields });
  }

  /** List hooks, newest first. */
  list(query: Query<"/v1/ava/hooks"> = {}, options: CallOptions = {}): AsyncGenerator<Hook> {
    return this.calls.list("/v1/ava/hooks", [], { perPage: 100, ...query }, options);
  }

  /** Show a hook. */
  async get(id: string, options: CallOptions = {}): Promise<Hook> {
    return this.calls.data("get", "/v1/ava/hooks/{hook_id}", [id], options);
  }

  /** Change a hook, or give it a new secret. Earlier secrets stay valid for a while. */
  async update(id: string, fields: Sent<Schemas["HookChangeBody"]>, options: CallOptions = {}): Promise<Hook> {
    return this.calls.data("patch", "/v1/ava/hooks/{hook_id}", [id], { ...options, body: fields });
  }

  /** Delete the hook with its secret: its address stops working within 2 s. Its jobs and events are retained. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", "/v1/ava/hooks/{hook_id}", [id], options);
  }

  /**
   * Pause a hook. The hook still accepts deliveries, and stores them as `skipped`: they start nothing until they are
   * replayed. Applies within 2 s.
   */
  async pause(id: string, { reason, ...options }: PauseOptions = {}): Promise<Hook> {
    return this.calls.data("post", "/v1/ava/hooks/{hook_id}/pause", [id], { ...options, body: { reason: reason ?? null } });
  }

  /** Resume a hook. Deliveries from now on are processed, within 2 s. Earlier ones can be replayed. */
  async resume(id: string, options: CallOptions = {}): Promise<Hook> {
    return this.calls.data("post", "/v1/ava/hooks/{hook_id}/resume", [id], options);
  }

  /** Give a hook a new URL, which is returned only once; the earlier one stays valid for a while. */
  async rotate(id: string, fields: Sent<Schemas["HookRotateBody"]> = {}, options: CreateOptions = {}): Promise<Hook> {
    return this.calls.data("post", "/v1/ava/hooks/{hook_id}/rotate", [id], { ...options, body: fields });
  }

  /** Send a test request to a hook, in its provider's format. It starts the same jobs as a real one. */
  async test(id: string, fields: Sent<Schemas["HookTestBody"]> = {}, options: CallOptions = {}): Promise<HookTest> {
    return this.calls.data("post", "/v1/ava/hooks/{hook_id}/test", [id], { ...options, body: fields });
  }
}

/** Calls about keys. */
export class KeysCalls extends Resource {
  /** Create a key and print it with its token, which is in this response only. */
  async create(fields: Sent<Schemas["KeyBody"]>, options: CreateOptions = {}): Promise<CreatedKey> {
    return this.calls.data("post", "/v1/ava/keys", [], { ...options, body: fields });
  }

  /** List the tenant's keys, newest first. */
  list(query: Query<"/v1/ava/keys"> = {}, options: CallOptions = {}): AsyncGenerator<Key> {
    return this.calls.list("/v1/ava/keys", [], { perPage: 100, ...query }, options);
  }

  /** Delete keys. Every process refuses them within 2 seconds. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", "/v1/ava/keys/{key_id}", [id], options);
  }
}

/** Calls about sessions. */
export class SessionsCalls extends Resource {
  /** End all sessions of your user in the tenant, and make its unused links invalid. */
  async end(options: CallOptions = {}): Promise<number> {
    return (await this.calls.data("delete", "/v1/ava/sessions", [], options)).ended;
  }
}

/** Calls about limits. */
export class LimitsCalls extends Resource {
  /** List the limits and the tenant's use of them. */
  list(query: Query<"/v1/ava/limits"> = {}, options: CallOptions = {}): AsyncGenerator<Limit> {
    return this.calls.list("/v1/ava/limits", [], { perPage: 100, ...query }, options);
  }

  /** List the workers with a limit and the tenant's use of it. */
  workers(query: Query<"/v1/ava/limits/workers"> = {}, options: CallOptions = {}): AsyncGenerator<WorkerLimit> {
    return this.calls.list("/v1/ava/limits/workers", [], { perPage: 100, ...query }, options);
  }
}

/** Calls about tenants. */
export class TenantsCalls extends Resource {
  /** Show the limits of a tenant. Empty ones are the installation's defaults. */
  async limits(id: string, options: CallOptions = {}): Promise<TenantLimits> {
    return this.calls.data("get", "/v1/ava/tenants/{tenant_id}/limits", [id], options);
  }

  /** Replace a tenant's limits; an empty one is the installation's default. Requires a platform role. */
  async setLimits(
    id: string,
    fields: Sent<Schemas["TenantLimitsBody"]>,
    options: CallOptions = {},
  ): Promise<TenantLimits> {
    return this.calls.data("put", "/v1/ava/tenants/{tenant_id}/limits", [id], { ...options, body: fields });
  }

  /** List tenants with jobs that wait, run, or ended in the last hour. Requires --role platform-admin. */
  list(query: Query<"/v1/ava/tenants"> = {}, options: CallOptions = {}): AsyncGenerator<TenantLoad> {
    return this.calls.list("/v1/ava/tenants", [], { perPage: 100, ...query }, options);
  }
}

/** Calls about reports. */
export class ReportsCalls extends Resource {
  /** Show the waiting and running jobs, and the jobs that ended in the last hour. */
  async overview(options: CallOptions = {}): Promise<Overview> {
    return this.calls.data("get", "/v1/ava/overview", [], options);
  }

  /** Show the success rate, waiting and running times, and each worker's jobs. */
  async analytics(query: Query<"/v1/ava/analytics"> = {}, options: CallOptions = {}): Promise<Analytics> {
    return this.calls.data("get", "/v1/ava/analytics", [], { ...options, query });
  }

  /** Show ended, running and waiting jobs, and the times to start and to run, in steps of a range. */
  async series(query: Query<"/v1/ava/series"> = {}, options: CallOptions = {}): Promise<ChartSeries> {
    return this.calls.data("get", "/v1/ava/series", [], { ...options, query });
  }
}

/** Calls about approvals. */
export class ApprovalsCalls extends Resource {
  /** List approvals: pending ones oldest first, others newest first. */
  list(query: Query<"/v1/ava/approvals"> = {}, options: CallOptions = {}): AsyncGenerator<Approval> {
    return this.calls.list("/v1/ava/approvals", [], { perPage: 100, ...query }, options);
  }

  /** Show an approval with its content, its payload_hash and its decisions. */
  async get(id: string, options: CallOptions = {}): Promise<Approval> {
    return this.calls.data("get", "/v1/ava/approvals/{approval_id}", [id], options);
  }

  /** Approve the content with a payload_hash, as `show` prints it. */
  async approve(id: string, fields: Sent<Schemas["DecisionBody"]>, options: CallOptions = {}): Promise<Approval> {
    return this.calls.data("post", "/v1/ava/approvals/{approval_id}/approve", [id], { ...options, body: fields });
  }

  /** Deny the content with a payload_hash, as `show` prints it. */
  async deny(id: string, fields: Sent<Schemas["DecisionBody"]>, options: CallOptions = {}): Promise<Approval> {
    return this.calls.data("post", "/v1/ava/approvals/{approval_id}/deny", [id], { ...options, body: fields });
  }
}

/** Calls about errors. */
export class ErrorsCalls extends Resource {
  /** List groups of failed jobs, the latest seen first. */
  list(query: Query<"/v1/ava/errors"> = {}, options: CallOptions = {}): AsyncGenerator<ErrorGroup> {
    return this.calls.list("/v1/ava/errors", [], { perPage: 100, ...query }, options);
  }

  /** Show an error with its newest jobs. */
  async get(
    id: string,
    query: Query<"/v1/ava/errors/{error_id}"> = {},
    options: CallOptions = {},
  ): Promise<ErrorGroup> {
    return this.calls.data("get", "/v1/ava/errors/{error_id}", [id], { ...options, query });
  }

  /** Resolve errors. They reopen when another job fails with the same error. */
  async resolve(id: string, options: CallOptions = {}): Promise<ErrorGroup> {
    return this.calls.data("post", "/v1/ava/errors/{error_id}/resolve", [id], options);
  }

  /** Trigger a new job for each failed job of errors. `ava operations show` follows the operation. */
  async retry(id: string, options: CreateOptions = {}): Promise<Operation> {
    return this.calls.data("post", "/v1/ava/errors/{error_id}/retry", [id], options);
  }

  /** Ignore errors. Their jobs are still counted. */
  async ignore(id: string, options: CallOptions = {}): Promise<ErrorGroup> {
    return this.calls.data("post", "/v1/ava/errors/{error_id}/ignore", [id], options);
  }

  /** Reopen errors. */
  async reopen(id: string, options: CallOptions = {}): Promise<ErrorGroup> {
    return this.calls.data("post", "/v1/ava/errors/{error_id}/reopen", [id], options);
  }
}

/** Calls about nodes. */
export class NodesCalls extends Resource {
  /** List the nodes, live ones first; ended ones are listed for an hour. */
  list(query: Query<"/v1/ava/nodes"> = {}, options: CallOptions = {}): AsyncGenerator<Node> {
    return this.calls.list("/v1/ava/nodes", [], { perPage: 100, ...query }, options);
  }

  /**
   * Pause a node. For the roles of the platform. Within seconds the node stops claiming jobs; running jobs finish,
   * however long they take. The node stays paused and does not exit, because its supervisor would restart it: stop it
   * once `busy` is 0. A restarted node claims jobs.
   */
  async pause(id: string, { reason, ...options }: PauseOptions = {}): Promise<Node> {
    return this.calls.data("post", "/v1/ava/nodes/{node_id}/pause", [id], { ...options, body: { reason: reason ?? null } });
  }

  /** Resume a node. For the roles of the platform. Within seconds the node claims jobs again. */
  async resume(id: string, options: CallOptions = {}): Promise<Node> {
    return this.calls.data("post", "/v1/ava/nodes/{node_id}/resume", [id], options);
  }
}

/** Calls about promotions. */
export class PromotionsCalls extends Resource {
  /** List the latest promotions of a PostgreSQL standby. Requires --role platform-admin. */
  list(query: Query<"/v1/ava/promotions"> = {}, options: CallOptions = {}): AsyncGenerator<Promotion> {
    return this.calls.list("/v1/ava/promotions", [], { perPage: 100, ...query }, options);
  }
}

/** Calls about audit. */
export class AuditCalls extends Resource {
  /** List who changed what, newest first; refused requests are listed too. */
  list(query: Query<"/v1/ava/audit"> = {}, options: CallOptions = {}): AsyncGenerator<AuditEntry> {
    return this.calls.list("/v1/ava/audit", [], { perPage: 100, ...query }, options);
  }
}
