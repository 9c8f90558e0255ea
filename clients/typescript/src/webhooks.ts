import type { CallOptions, CreateOptions } from "./calls.js";
import type { components } from "./openapi.js";
import { Resource } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Webhook = Received<Schemas["WebhookRecord"]>;
export type Delivery = Received<Schemas["DeliveryRecord"]>;

const WEBHOOKS = "/v1/webhooks";
const WEBHOOK = `${WEBHOOKS}/{webhook_id}` as const;
const DELIVERY = `${WEBHOOK}/deliveries/{delivery_id}` as const;

/** Creates, tests and changes webhooks, and sends their deliveries again. */
export class Webhooks extends Resource {
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

  /** Yields the matching deliveries, newest first. */
  deliveries(
    id: string,
    query: Query<`${typeof WEBHOOK}/deliveries`> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Delivery> {
    return this.calls.list(`${WEBHOOK}/deliveries`, [id], { perPage: 100, ...query }, options);
  }

  /** Returns the body of a delivery's requests. */
  async deliveryBody(
    id: string,
    deliveryId: string,
    options: CallOptions = {},
  ): Promise<Received<Schemas["DeliveryBodyRecord"]>> {
    return this.calls.data("get", `${DELIVERY}/body`, [id, deliveryId], options);
  }

  /** Sends a delivery again, with the same id and bytes. */
  async redeliver(id: string, deliveryId: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", `${DELIVERY}/redeliver`, [id, deliveryId], options);
  }

  /** Sends the deliveries of a time range again that are `abandoned` or `delivered`. Returns their number. */
  async redeliverMany(id: string, range: Sent<Schemas["RedeliverBody"]>, options: CallOptions = {}): Promise<number> {
    const found = await this.calls.data("post", `${WEBHOOK}/deliveries/redeliver`, [id], { ...options, body: range });
    return found.redelivered;
  }
}
