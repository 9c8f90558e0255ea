import type { CallOptions, Calls } from "./calls.js";

/** The calls about one kind of records. Each throws `ApiError`. */
export class Resource {
  /** @internal */
  protected readonly calls: Calls;

  constructor(calls: Calls) {
    this.calls = calls;
  }
}

export interface PauseOptions extends CallOptions {
  /** The reason, shown with the pause. */
  reason?: string | undefined;
}

type Pausable =
  | "/v1/ava/queues/{queue}"
  | "/v1/ava/nodes/{node_id}"
  | "/v1/ava/schedules/{schedule_id}"
  | "/v1/ava/subscriptions/{subscription_id}"
  | "/v1/ava/hooks/{hook_id}"
  | "/v1/webhooks/{webhook_id}"
  | "/v1/ava/notices/{notice_id}";

/** The calls about records that can be paused. */
export abstract class PausableResource<Kept> extends Resource {
  /** @internal */
  protected abstract readonly path: Pausable;

  /** Pauses a record; a paused one keeps its pause. The record's `paused` has the reason. */
  async pause(id: string, { reason, ...options }: PauseOptions = {}): Promise<Kept> {
    return (await this.calls.data("post", `${this.path}/pause`, [id], { ...options, body: { reason: reason ?? null } })) as Kept;
  }

  /** Ends the pause of a record. */
  async resume(id: string, options: CallOptions = {}): Promise<Kept> {
    return (await this.calls.data("post", `${this.path}/resume`, [id], options)) as Kept;
  }
}
