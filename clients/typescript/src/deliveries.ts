import type { CallOptions, CreateOptions } from "./calls.js";
import type { components } from "./openapi.js";
import { Resource } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

/** A request that a hook received (`in`), or an event that a webhook sends (`out`). */
export type Delivery = Received<Schemas["DeliveryRecord"]>;

const SENT = "/v1/webhooks/{webhook_id}/deliveries";
const OF_NOTICES = "/v1/ava/notices/{notice_id}/deliveries";
const RECEIVED = "/v1/ava/hooks/{hook_id}/deliveries";

/** Shows the deliveries of webhooks, and sends them again. */
export class SentDeliveries extends Resource {
  /** Yields the matching deliveries, newest first, without bodies. */
  list(webhookId: string, query: Query<typeof SENT> = {}, options: CallOptions = {}): AsyncGenerator<Delivery> {
    return this.calls.list(SENT, [webhookId], { perPage: 100, ...query }, options);
  }

  /** Returns a delivery with its body. */
  async get(webhookId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("get", `${SENT}/{delivery_id}`, [webhookId, id], options);
  }

  /** Sends a delivery again, with the same id and bytes. */
  async redeliver(webhookId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", `${SENT}/{delivery_id}/redeliver`, [webhookId, id], options);
  }

  /** Sends the deliveries of a time range again that are `abandoned` or `delivered`. Returns their number. */
  async redeliverMany(
    webhookId: string,
    range: Sent<Schemas["RedeliverBody"]>,
    options: CallOptions = {},
  ): Promise<number> {
    return (await this.calls.data("post", `${SENT}/redeliver`, [webhookId], { ...options, body: range })).total;
  }
}

/** Shows the deliveries of notices, and sends them again. */
export class NoticeDeliveries extends Resource {
  /** Yields the matching deliveries, newest first, without bodies. */
  list(noticeId: string, query: Query<typeof OF_NOTICES> = {}, options: CallOptions = {}): AsyncGenerator<Delivery> {
    return this.calls.list(OF_NOTICES, [noticeId], { perPage: 100, ...query }, options);
  }

  /** Returns a delivery with its message. */
  async get(noticeId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("get", `${OF_NOTICES}/{delivery_id}`, [noticeId, id], options);
  }

  /** Sends a message again. */
  async redeliver(noticeId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", `${OF_NOTICES}/{delivery_id}/redeliver`, [noticeId, id], options);
  }

  /** Sends the messages of a time range again that are `abandoned` or `delivered`. Returns their number. */
  async redeliverMany(
    noticeId: string,
    range: Sent<Schemas["NoticeRedeliverBody"]>,
    options: CallOptions = {},
  ): Promise<number> {
    return (await this.calls.data("post", `${OF_NOTICES}/redeliver`, [noticeId], { ...options, body: range })).total;
  }
}

/** Shows the deliveries of hooks, and processes them again. */
export class ReceivedDeliveries extends Resource {
  /** Yields the matching deliveries, newest first, without bodies. */
  list(hookId: string, query: Query<typeof RECEIVED> = {}, options: CallOptions = {}): AsyncGenerator<Delivery> {
    return this.calls.list(RECEIVED, [hookId], { perPage: 100, ...query }, options);
  }

  /** Returns a delivery with its body. */
  async get(hookId: string, id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("get", `${RECEIVED}/{delivery_id}`, [hookId, id], options);
  }

  /** Processes a delivery again, with the current subscriptions. Returns the new delivery. */
  async replay(hookId: string, id: string, options: CreateOptions = {}): Promise<Delivery> {
    return this.calls.data("post", `${RECEIVED}/{delivery_id}/replay`, [hookId, id], options);
  }

  /** Processes the deliveries of a time range again, all or none. Returns their number. */
  async replayMany(
    hookId: string,
    range: Sent<Schemas["ReplayBody"]>,
    options: CreateOptions = {},
  ): Promise<number> {
    return (await this.calls.data("post", `${RECEIVED}/replay`, [hookId], { ...options, body: range })).total;
  }
}
