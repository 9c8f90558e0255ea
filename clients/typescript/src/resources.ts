import type { CallOptions, CreateOptions } from "./calls.js";
import {
  EventsCalls, QueuesCalls, SchedulesCalls, SessionsCalls, WorkersCalls, type Firing, type Queues as QueuesRecord, type SentEvent,
  type Slot, type Worker,
} from "./methods.js";
import type { components } from "./openapi.js";
import type { PauseOptions } from "./resource.js";
import type { Sent } from "./wire.js";

type EventFields = Sent<components["schemas"]["EventBody"]>;
interface Scoped {
  scope?: "tenant" | "platform";
}

const EVENTS = "/v1/ava/events";
const SCHEDULE = "/v1/ava/schedules/{schedule_id}";
const WORKER = "/v1/ava/workers/{worker_id}";

/** Sends and reads events. */
export class Events extends EventsCalls {
  /** Sends an event. It creates a job for each matching subscription. */
  async send(event: EventFields, options: CreateOptions = {}): Promise<SentEvent> {
    return (await this.calls.data("post", EVENTS, [], { ...options, body: event })) as SentEvent;
  }

  /** Sends up to 1,000 events, all or none. Returns them in order. */
  async sendMany(events: readonly EventFields[], options: CreateOptions = {}): Promise<SentEvent[]> {
    return (await this.calls.data("post", EVENTS, [], { ...options, body: { events: [...events] } })) as SentEvent[];
  }
}

/** Creates, changes and pauses schedules. Firings of a paused schedule are skipped, and not caught up. */
export class Schedules extends SchedulesCalls {
  /** Returns the next 1 to 50 firings of a schedule. */
  async next(id: string, count = 10, options: CallOptions = {}): Promise<Slot[]> {
    return this.calls.data("get", `${SCHEDULE}/next`, [id], { ...options, query: { count } });
  }

  /** Yields a schedule's firings, newest first. */
  firings(id: string, options: CallOptions = {}): AsyncGenerator<Firing> {
    return this.calls.list(`${SCHEDULE}/firings`, [id], { perPage: 100 }, options);
  }
}

/** Creates and changes workers. */
export class Workers extends WorkersCalls {
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
export class Queues extends QueuesCalls {
  /** Returns the numbers of queued and running jobs, and the queues. */
  async counts({ paused, ...options }: CallOptions & { paused?: boolean } = {}): Promise<QueuesRecord> {
    return this.calls.data("get", "/v1/ava/queues", [], { ...options, query: { paused } });
  }
}

/** Signs users in to the dashboard. */
export class Sessions extends SessionsCalls {
  /** Returns a link that signs in to the dashboard as this caller, once and within 10 minutes. */
  async createLink(options: CallOptions = {}): Promise<string> {
    return this.calls.url + (await this.calls.data("post", "/v1/ava/session/links", [], options)).path;
  }
}
