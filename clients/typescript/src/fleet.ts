import type { CallOptions, CreateOptions } from "./calls.js";
import type { Operation } from "./operations.js";
import type { components } from "./openapi.js";
import { PausableResource, Resource, type PauseOptions } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Worker = Received<Schemas["WorkerWithSettingsRecord"]>;
export type Queue = Received<Schemas["QueueRecord"]>;
export type Node = Received<Schemas["NodeRecord"]>;
export type ErrorGroup = Received<Schemas["ErrorGroupRecord"]>;
export type Approval = Received<Schemas["ApprovalRecord"]>;
export type TenantLimits = Received<Schemas["TenantLimitsRecord"]>;

const WORKER = "/v1/ava/workers/{worker_id}";
interface Scoped {
  scope?: "tenant" | "platform";
}

const APPROVAL = "/v1/ava/approvals/{approval_id}";
const ERROR = "/v1/ava/errors/{error_id}";
const TENANT_LIMITS = "/v1/ava/tenants/{tenant_id}/limits";

/** Creates and changes workers. */
export class Workers extends Resource {
  /** Creates a worker whose runs are claimed over HTTP. Its id is `wkr_` and the slug. */
  async create(fields: Omit<Sent<Schemas["WorkerBody"]>, "runtime">, options: CreateOptions = {}): Promise<Worker> {
    return this.calls.data("post", "/v1/ava/workers", [], { ...options, body: { ...fields, runtime: "pull" } });
  }

  /** Yields the matching workers, ordered by id, without their settings. */
  list(
    query: Query<"/v1/ava/workers"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Received<Schemas["WorkerRecord"]>> {
    return this.calls.list("/v1/ava/workers", [], { perPage: 100, ...query }, options);
  }

  async get(id: string, options: CallOptions = {}): Promise<Worker> {
    return this.calls.data("get", WORKER, [id], options);
  }

  /** Changes a worker's settings for the tenant; null resets one. */
  async update(id: string, changes: Sent<Schemas["WorkerChangeBody"]>, options: CallOptions = {}): Promise<Worker> {
    return this.calls.data("patch", WORKER, [id], { ...options, body: changes });
  }

  /** Pauses a worker: its jobs are accepted and wait until it is resumed. Scope `platform`: for all tenants. */
  async pause(id: string, { reason, scope, ...options }: PauseOptions & Scoped = {}): Promise<Worker> {
    const body = { reason: reason ?? null, ...(scope && { scope }) };
    return this.calls.data("post", `${WORKER}/pause`, [id], { ...options, body });
  }

  /** Ends the tenant's pause of a worker, or with scope `platform` the platform's. */
  async resume(id: string, { scope, ...options }: CallOptions & Scoped = {}): Promise<Worker> {
    return this.calls.data("post", `${WORKER}/resume`, [id], { ...options, body: { ...(scope && { scope }) } });
  }

  /** Deletes a worker that was created here; 409 while it has waiting or running jobs. */
  async delete(id: string, { scope, ...options }: CallOptions & Scoped = {}): Promise<void> {
    await this.calls.data("delete", WORKER, [id], { ...options, query: { scope } });
  }
}

/** Counts the jobs of queues, and pauses queues: their jobs wait. Pausing requires a platform role. */
export class Queues extends PausableResource<Queue> {
  /** @internal */
  protected readonly path = "/v1/ava/queues/{queue}";

  /** Returns the numbers of queued and running jobs, and the queues. */
  async counts(
    { paused, ...options }: CallOptions & { paused?: boolean } = {},
  ): Promise<Received<Schemas["QueuesRecord"]>> {
    return this.calls.data("get", "/v1/ava/queues", [], { ...options, query: { paused } });
  }
}

/** Lists and pauses nodes: a paused node finishes its running jobs and takes no others. Pausing requires a platform role. */
export class Nodes extends PausableResource<Node> {
  /** @internal */
  protected readonly path = "/v1/ava/nodes/{node_id}";

  /** Yields the nodes, live ones first. */
  list(query: Query<"/v1/ava/nodes"> = {}, options: CallOptions = {}): AsyncGenerator<Node> {
    return this.calls.list("/v1/ava/nodes", [], { perPage: 100, ...query }, options);
  }
}

/** Lists the promotions of a PostgreSQL standby. */
export class Promotions extends Resource {
  /** Yields the promotions, the latest first. Requires a platform role. */
  list(
    query: Query<"/v1/ava/promotions"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Received<Schemas["PromotionRecord"]>> {
    return this.calls.list("/v1/ava/promotions", [], { perPage: 100, ...query }, options);
  }
}

/** Lists the errors of failed jobs in groups; resolves, ignores and reopens them. */
export class Errors extends Resource {
  /** Yields the groups, the latest seen first. */
  list(query: Query<"/v1/ava/errors"> = {}, options: CallOptions = {}): AsyncGenerator<ErrorGroup> {
    return this.calls.list("/v1/ava/errors", [], { perPage: 100, ...query }, options);
  }

  /** Returns a group with its jobs of a time range, by default of 30 days. */
  async get(id: string, query: Query<typeof ERROR> = {}, options: CallOptions = {}): Promise<ErrorGroup> {
    return this.calls.data("get", ERROR, [id], { ...options, query });
  }

  /** Resolves a group. It reopens when another job fails with this error. */
  async resolve(id: string, options: CallOptions = {}): Promise<ErrorGroup> {
    return this.calls.data("post", `${ERROR}/resolve`, [id], options);
  }

  /** Ignores a group. Its jobs are still counted. */
  async ignore(id: string, options: CallOptions = {}): Promise<ErrorGroup> {
    return this.calls.data("post", `${ERROR}/ignore`, [id], options);
  }

  async reopen(id: string, options: CallOptions = {}): Promise<ErrorGroup> {
    return this.calls.data("post", `${ERROR}/reopen`, [id], options);
  }

  /** Triggers a new job for each failed job of a group, at most the newest 10,000. */
  async retry(id: string, options: CreateOptions = {}): Promise<Operation> {
    return this.calls.data("post", `${ERROR}/retry`, [id], options);
  }
}

/** Lists and decides what jobs ask persons. */
export class Approvals extends Resource {
  /** Yields the approvals: pending ones oldest first, others newest first. */
  list(query: Query<"/v1/ava/approvals"> = {}, options: CallOptions = {}): AsyncGenerator<Approval> {
    return this.calls.list("/v1/ava/approvals", [], { perPage: 100, ...query }, options);
  }

  async get(id: string, options: CallOptions = {}): Promise<Approval> {
    return this.calls.data("get", APPROVAL, [id], options);
  }

  /** Approves the content with this `payloadHash`. `data`: the answer, if the approval has a schema. */
  async approve(id: string, fields: Sent<Schemas["DecisionBody"]>, options: CallOptions = {}): Promise<Approval> {
    return this.calls.data("post", `${APPROVAL}/approve`, [id], { ...options, body: fields });
  }

  /** Denies the content with this `payloadHash`. */
  async deny(id: string, fields: Sent<Schemas["DecisionBody"]>, options: CallOptions = {}): Promise<Approval> {
    return this.calls.data("post", `${APPROVAL}/deny`, [id], { ...options, body: fields });
  }
}

/** Creates, lists and deletes API keys. */
export class Keys extends Resource {
  /** Creates a key. Only this response contains its `token`; it is null if a repeated call found the key. */
  async create(
    fields: Sent<Schemas["KeyBody"]>,
    options: CreateOptions = {},
  ): Promise<Received<Schemas["CreatedKeyRecord"]>> {
    return this.calls.data("post", "/v1/ava/keys", [], { ...options, body: fields });
  }

  /** Yields the tenant's keys, newest first. */
  list(query: Query<"/v1/ava/keys"> = {}, options: CallOptions = {}): AsyncGenerator<Received<Schemas["KeyRecord"]>> {
    return this.calls.list("/v1/ava/keys", [], { perPage: 100, ...query }, options);
  }

  /** Deletes a key; every process refuses it within 2 s. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", "/v1/ava/keys/{key_id}", [id], options);
  }
}

/** Reads and sets the limits of tenants. */
export class Tenants extends Resource {
  /** Yields the load of every tenant with jobs, by id. Requires a platform role. */
  list(
    query: Query<"/v1/ava/tenants"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Received<Schemas["TenantLoadRecord"]>> {
    return this.calls.list("/v1/ava/tenants", [], { perPage: 100, ...query }, options);
  }

  /** Returns the limits that operators have set for a tenant: the caller's own, or any for a platform role. */
  async limits(id: string, options: CallOptions = {}): Promise<TenantLimits> {
    return this.calls.data("get", TENANT_LIMITS, [id], options);
  }

  /** Replaces a tenant's limits; null means the installation's default. Requires a platform role. */
  async setLimits(
    id: string,
    limits: Sent<Schemas["TenantLimitsBody"]>,
    options: CallOptions = {},
  ): Promise<TenantLimits> {
    return this.calls.data("put", TENANT_LIMITS, [id], { ...options, body: limits });
  }
}

/** Reads limits and the tenant's use of them. */
export class Limits extends Resource {
  /** Yields the installation's limits. */
  list(
    query: Query<"/v1/ava/limits"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Received<Schemas["LimitRecord"]>> {
    return this.calls.list("/v1/ava/limits", [], { perPage: 100, ...query }, options);
  }

  /** Yields the workers that have a limit. */
  workers(
    query: Query<"/v1/ava/limits/workers"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Received<Schemas["WorkerLimitRecord"]>> {
    return this.calls.list("/v1/ava/limits/workers", [], { perPage: 100, ...query }, options);
  }
}

/** Reads totals and statistics. */
export class Reports extends Resource {
  /** Returns the totals of the tenant's jobs. */
  async overview(options: CallOptions = {}): Promise<Received<Schemas["OverviewRecord"]>> {
    return this.calls.data("get", "/v1/ava/overview", [], options);
  }

  /** Returns statistics of the jobs that ended in the last `days`. */
  async analytics(
    query: Query<"/v1/ava/analytics"> = {},
    options: CallOptions = {},
  ): Promise<Received<Schemas["AnalyticsRecord"]>> {
    return this.calls.data("get", "/v1/ava/analytics", [], { ...options, query });
  }

  /** Returns the values of charts in steps of a time range, by default of the last hour. */
  async series(
    query: Query<"/v1/ava/series"> = {},
    options: CallOptions = {},
  ): Promise<Received<Schemas["ChartSeriesRecord"]>> {
    return this.calls.data("get", "/v1/ava/series", [], { ...options, query });
  }
}

/** Reads the audit trail. */
export class Audit extends Resource {
  /** Yields the matching entries, newest first. */
  list(
    query: Query<"/v1/ava/audit"> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Received<Schemas["AuditEntryRecord"]>> {
    return this.calls.list("/v1/ava/audit", [], { perPage: 100, ...query }, options);
  }
}

/** Signs users in to the dashboard. */
export class Sessions extends Resource {
  /** Returns a link that signs in to the dashboard as this caller, once and within 10 minutes. */
  async createLink(options: CallOptions = {}): Promise<string> {
    return this.calls.url + (await this.calls.data("post", "/v1/ava/session/links", [], options)).path;
  }

  /** Ends all sessions of this user in the tenant, and its unused links. Returns the number of sessions. */
  async end(options: CallOptions = {}): Promise<number> {
    return (await this.calls.data("delete", "/v1/ava/sessions", [], options)).ended;
  }
}
