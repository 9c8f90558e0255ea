import type { CallOptions, CreateOptions, WaitOptions } from "./calls.js";
import { OperationsCalls, type Operation } from "./methods.js";
import type { components } from "./openapi.js";
import type { Sent } from "./wire.js";

type Schemas = components["schemas"];

export type RetryFilter = Sent<Schemas["RetryFilter"]>;
export type CancelFilter = Sent<Schemas["CancelFilter"]>;
interface Filters {
  retry: RetryFilter;
  cancel: CancelFilter;
}

/** Acts on all jobs that match a filter. */
export class Operations extends OperationsCalls {
  /** Triggers a new job for each matching final job. For up to 500 jobs the returned operation has ended. */
  async retry(filter: RetryFilter, options: CreateOptions = {}): Promise<Operation> {
    return (await this.calls.data("post", "/v1/ava/jobs/retry", [], { ...options, body: { filter } })) as Operation;
  }

  /** Cancels all matching queued and running jobs. For up to 500 jobs the returned operation has ended. */
  async cancel(filter: CancelFilter, options: CreateOptions = {}): Promise<Operation> {
    return (await this.calls.data("post", "/v1/ava/jobs/cancel", [], { ...options, body: { filter } })) as Operation;
  }

  /** Returns how many jobs a `retry` or `cancel` would act on now; changes nothing. */
  async count<Kind extends keyof Filters>(
    kind: Kind,
    filter: Filters[Kind],
    options: CallOptions = {},
  ): Promise<number> {
    // TypeScript does not know that the filter is of the kind in the path.
    const body = { filter: filter as RetryFilter & CancelFilter, dryRun: true };
    const path: `/v1/ava/jobs/${keyof Filters}` = `/v1/ava/jobs/${kind}`;
    return (await this.calls.data("post", path, [], { ...options, body })).total;
  }

  /** Waits until an operation has ended, and returns it. Throws `WaitTimeout`. */
  async wait(id: string, options: WaitOptions = {}): Promise<Operation> {
    const ask = (request: CallOptions): Promise<Operation> => this.get(id, request);
    return this.calls.wait(ask, ({ state }) => state !== "running", options);
  }
}
