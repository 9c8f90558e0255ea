import type { CallOptions, CreateOptions } from "./calls.js";
import { type Delivery, NoticeDeliveries } from "./deliveries.js";
import type { components } from "./openapi.js";
import { PausableResource } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Notice = Received<Schemas["NoticeRecord"]>;

const NOTICES = "/v1/ava/notices";
const NOTICE = `${NOTICES}/{notice_id}` as const;

/** Creates, tests, changes and pauses notices: messages about events to Slack, Teams, mail addresses or a URL. */
export class Notices extends PausableResource<Notice> {
  /** @internal */
  protected readonly path = NOTICE;
  /** Shows the deliveries of a notice, and sends them again. */
  readonly deliveries = new NoticeDeliveries(this.calls);

  /** Creates a notice. The API never shows its target again. */
  async create(fields: Sent<Schemas["NoticeBody"]>, options: CreateOptions = {}): Promise<Notice> {
    return this.calls.data("post", NOTICES, [], { ...options, body: fields });
  }

  /** Yields the notices, newest first. */
  list(query: Query<typeof NOTICES> = {}, options: CallOptions = {}): AsyncGenerator<Notice> {
    return this.calls.list(NOTICES, [], { perPage: 100, ...query }, options);
  }

  async get(id: string, options: CallOptions = {}): Promise<Notice> {
    return this.calls.data("get", NOTICE, [id], options);
  }

  async update(id: string, changes: Sent<Schemas["NoticeChangeBody"]>, options: CallOptions = {}): Promise<Notice> {
    return this.calls.data("patch", NOTICE, [id], { ...options, body: changes });
  }

  /** Deletes a notice with its target. It sends nothing more. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", NOTICE, [id], options);
  }

  /** Sends a test message, which is retried like any other. Returns its pending delivery. */
  async test(id: string, options: CallOptions = {}): Promise<Delivery> {
    return this.calls.data("post", `${NOTICE}/test`, [id], options);
  }
}
