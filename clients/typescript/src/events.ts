import type { CallOptions, CreateOptions } from "./calls.js";
import { ReceivedDeliveries } from "./deliveries.js";
import type { components } from "./openapi.js";
import { PausableResource, Resource } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Event = Received<Schemas["EventRecord"]>;
export type SentEvent = Received<Schemas["SentEventRecord"]>;
export type Subscription = Received<Schemas["SubscriptionRecord"]>;
export type Hook = Received<Schemas["HookRecord"]>;
type EventFields = Sent<Schemas["EventBody"]>;

const EVENTS = "/v1/ava/events";
const SUBSCRIPTIONS = "/v1/ava/subscriptions";
const SUBSCRIPTION = `${SUBSCRIPTIONS}/{subscription_id}` as const;
const HOOKS = "/v1/ava/hooks";
const HOOK = `${HOOKS}/{hook_id}` as const;

/** Sends and reads events. */
export class Events extends Resource {
  /** Sends an event. It creates a job for each matching subscription. */
  async send(event: EventFields, options: CreateOptions = {}): Promise<SentEvent> {
    return (await this.calls.data("post", EVENTS, [], { ...options, body: event })) as SentEvent;
  }

  /** Sends up to 1,000 events, all or none. Returns them in order. */
  async sendMany(events: readonly EventFields[], options: CreateOptions = {}): Promise<SentEvent[]> {
    return (await this.calls.data("post", EVENTS, [], { ...options, body: { events: [...events] } })) as SentEvent[];
  }

  /** Returns an event and the jobs that it has created so far. */
  async get(id: string, options: CallOptions = {}): Promise<Event> {
    return this.calls.data("get", `${EVENTS}/{event_id}`, [id], options);
  }

  /** Yields the matching events, newest first. */
  list(query: Query<typeof EVENTS> = {}, options: CallOptions = {}): AsyncGenerator<Event> {
    return this.calls.list(EVENTS, [], { perPage: 100, ...query }, options);
  }
}

/** Creates, changes and pauses subscriptions, which start jobs for events. A paused one skips events. */
export class Subscriptions extends PausableResource<Subscription> {
  /** @internal */
  protected readonly path = SUBSCRIPTION;

  async create(fields: Sent<Schemas["SubscriptionBody"]>, options: CreateOptions = {}): Promise<Subscription> {
    return this.calls.data("post", SUBSCRIPTIONS, [], { ...options, body: fields });
  }

  /** Yields the matching subscriptions, newest first. */
  list(query: Query<typeof SUBSCRIPTIONS> = {}, options: CallOptions = {}): AsyncGenerator<Subscription> {
    return this.calls.list(SUBSCRIPTIONS, [], { perPage: 100, ...query }, options);
  }

  async get(id: string, options: CallOptions = {}): Promise<Subscription> {
    return this.calls.data("get", SUBSCRIPTION, [id], options);
  }

  /** Changes a subscription, for the events from now on. */
  async update(
    id: string,
    changes: Sent<Schemas["SubscriptionChangeBody"]>,
    options: CallOptions = {},
  ): Promise<Subscription> {
    return this.calls.data("patch", SUBSCRIPTION, [id], { ...options, body: changes });
  }

  /** Deletes a subscription; its jobs continue. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", SUBSCRIPTION, [id], options);
  }

  /** Tries a pattern and a template on an event; nothing is stored. */
  async test(
    fields: Sent<Schemas["SubscriptionTestBody"]>,
    options: CallOptions = {},
  ): Promise<Received<Schemas["SubscriptionTestRecord"]>> {
    return this.calls.data("post", `${SUBSCRIPTIONS}/test`, [], { ...options, body: fields });
  }
}

/** Creates hooks, which receive webhooks of others. A paused hook stores its deliveries as `skipped`. */
export class Hooks extends PausableResource<Hook> {
  /** @internal */
  protected readonly path = HOOK;
  /** Shows and replays the deliveries of a hook. */
  readonly deliveries = new ReceivedDeliveries(this.calls);

  /** Creates a hook. Only this response contains its `url`, and the `secret` if it was generated. */
  async create(fields: Sent<Schemas["HookBody"]>, options: CreateOptions = {}): Promise<Hook> {
    return this.calls.data("post", HOOKS, [], { ...options, body: fields });
  }

  /** Yields the hooks, newest first. */
  list(query: Query<typeof HOOKS> = {}, options: CallOptions = {}): AsyncGenerator<Hook> {
    return this.calls.list(HOOKS, [], { perPage: 100, ...query }, options);
  }

  async get(id: string, options: CallOptions = {}): Promise<Hook> {
    return this.calls.data("get", HOOK, [id], options);
  }

  /** Changes a hook; after a new secret the previous one stays valid for `keepSecretSeconds`. */
  async update(id: string, changes: Sent<Schemas["HookChangeBody"]>, options: CallOptions = {}): Promise<Hook> {
    return this.calls.data("patch", HOOK, [id], { ...options, body: changes });
  }

  /** Gives a hook a new `url`, which only this response contains; the old one stays valid for `keepSeconds`. */
  async rotate(id: string, fields: Sent<Schemas["HookRotateBody"]> = {}, options: CreateOptions = {}): Promise<Hook> {
    return this.calls.data("post", `${HOOK}/rotate`, [id], { ...options, body: fields });
  }

  /** Deletes a hook; its jobs and events stay. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", HOOK, [id], options);
  }

  /** Sends the hook a test request. */
  async test(
    id: string,
    fields: Sent<Schemas["HookTestBody"]> = {},
    options: CallOptions = {},
  ): Promise<Received<Schemas["HookTestRecord"]>> {
    return this.calls.data("post", `${HOOK}/test`, [id], { ...options, body: fields });
  }
}
