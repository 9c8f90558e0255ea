import type { CallOptions, CreateOptions } from "./calls.js";
import { type Delivery, SentDeliveries } from "./deliveries.js";
import type { components } from "./openapi.js";
import { PausableResource } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Webhook = Received<Schemas["WebhookRecord"]>;

const WEBHOOKS = "/v1/webhooks";
const WEBHOOK = `${WEBHOOKS}/{webhook_id}` as const;

/** Creates, tests, changes and pauses webhooks. The deliveries of a paused one wait. */
export class Webhooks extends PausableResource<Webhook> {
  /** @internal */
  protected readonly path = WEBHOOK;
  /** Shows the deliveries of a webhook, and sends them again. */
  readonly deliveries = new SentDeliveries(this.calls);

  /** Creates a webhook. Requests are signed with the secret, which the API never shows again. */
  async create(fields: Sent<Schemas["WebhookBody"]>, options: CreateOptions = {}): Promise<Webhook> {
    return this.calls.data("post", WEBHOOKS, [], { ...options, body: fields });
  }

  /** Yields the webhooks, newest first. */
  list(query: Query<typeof WEBHOOKS> = {}, options: CallOptions = {}): AsyncGenerator<Webhook> {
    return this.calls.list(WEBHOOKS, [], { perPage: 100, ...query }, options);
  }

  async get(id: string, options: CallOptions = {}): Promise<Webhook> {
    return this.calls.data("get", WEBHOOK, [id], options);
  }

  async update(id: string, changes: Sent<Schemas["WebhookChangeBody"]>, options: CallOptions = {}): Promise<Webhook> {
    return this.calls.data("patch", WEBHOOK, [id], { ...options, body: changes });
  }

  /** Deletes a webhook with its secret. It receives nothing more. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", WEBHOOK, [id], options);
  }

  /** Sends a test event, signed and retried like any other. Returns its pending delivery. */
  async test(id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", `${WEBHOOK}/test`, [id], options);
  }
}
