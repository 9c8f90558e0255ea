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
