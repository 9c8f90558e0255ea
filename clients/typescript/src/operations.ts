import type { CallOptions, CreateOptions, WaitOptions } from "./calls.js";
import type { components } from "./openapi.js";
import { Resource } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Operation = Received<Schemas["OperationRecord"]>;
export type RetryFilter = Sent<Schemas["RetryFilter"]>;
export type CancelFilter = Sent<Schemas["CancelFilter"]>;
interface Filters {
  retry: RetryFilter;
  cancel: CancelFilter;
}

const OPERATION = "/v1/ava/operations/{operation_id}";

/** Acts on all jobs that match a filter. */
export class Operations extends Resource {
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

  async get(id: string, options: CallOptions = {}): Promise<Operation> {
    return this.calls.data("get", OPERATION, [id], options);
  }

  /** Yields the operations, newest first. */
  list(query: Query<"/v1/ava/operations"> = {}, options: CallOptions = {}): AsyncGenerator<Operation> {
    return this.calls.list("/v1/ava/operations", [], { perPage: 100, ...query }, options);
  }

  /** Aborts an operation: it acts on no more jobs. */
  async abort(id: string, options: CallOptions = {}): Promise<Operation> {
    return this.calls.data("post", `${OPERATION}/abort`, [id], options);
  }

  /** Waits until an operation has ended, and returns it. Throws `WaitTimeout`. */
  async wait(id: string, options: WaitOptions = {}): Promise<Operation> {
    const ask = (request: CallOptions): Promise<Operation> => this.get(id, request);
    return this.calls.wait(ask, ({ state }) => state !== "running", options);
  }
}
