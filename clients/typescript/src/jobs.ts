import { mayRepeat, pauseMs, sleep, type CallOptions, type CreateOptions, type WaitOptions } from "./calls.js";
import { ApiError } from "./errors.js";
import { JobsCalls, type Tree } from "./methods.js";
import type { components } from "./openapi.js";
import { Operations, type CancelFilter } from "./operations.js";
import { eventsOf } from "./streams.js";
import { fromWire, type Query, type Received, type Sent } from "./wire.js";

type Schemas = components["schemas"];

export interface Job extends Received<Schemas["JobRecord"]> {
  /** The sizes of an input and an output that a list leaves out, because they have more than 16 KiB. */
  inputBytes?: number;
  outputBytes?: number;
  /** True if the key sees no payloads: input and output are null then, and an error has its kind alone. */
  payloadHidden?: boolean;
}
export interface JobQuery extends Omit<Query<"/v1/ava/jobs">, "fields"> {
  /** Yields large inputs and outputs too. */
  isWhole?: boolean;
}
export type JobLine = Received<Schemas["LogLineRecord"]>;
type TriggerFields = Omit<Sent<Schemas["TriggerBody"]>, "workerId" | "input">;
export interface TriggerOptions extends TriggerFields, CreateOptions {
  /** Responds once a synchronous standby of the database has applied the job. */
  isReplicated?: boolean;
}
export type BulkEntry = Sent<Schemas["BulkEntryBody"]>;
export type BulkOptions = CreateOptions & Pick<TriggerOptions, "isReplicated">;
export interface LogChoice {
  level?: "info" | "warn" | "error";
  /** A part of the line, ignoring case. */
  text?: string;
  /** The earliest time, ISO 8601. */
  since?: string;
  /** Max number of last lines. */
  tail?: number;
  /** Yields new lines until the job is final. */
  follow?: boolean;
}

/** What `events` yields: log lines, progress and changes of the status; the last one is the job itself. */
export type JobEvent =
  | { kind: "log"; line: JobLine }
  | { kind: "progress"; progress: { fraction: number; message: string | null } }
  | { kind: "status"; status: { status: Job["status"]; attempt: number; cancelRequested: boolean } }
  | { kind: "end"; job: Job };

const JOB = "/v1/ava/jobs/{job_id}";
const MAX_LINES = 500;
const FINAL: ReadonlySet<string | undefined> = new Set(["completed", "failed", "cancelled"]);

/** Triggers, reads and changes jobs. */
export class Jobs extends JobsCalls {
  /** Triggers a job, once however often the network makes this client repeat the call. */
  async trigger(workerId: string, input: Record<string, unknown> = {}, options: TriggerOptions = {}): Promise<Job> {
    const { signal, idempotencyKey, isReplicated, ...fields } = options;
    const request = { signal, idempotencyKey, ...durability(isReplicated), body: { workerId, input, ...fields } };
    return this.calls.data("post", "/v1/ava/jobs", [], request);
  }

  /** Triggers 1 to 1,000 jobs in one transaction. The call has an idempotency key, or each entry has its own. */
  async triggerMany(jobs: readonly BulkEntry[], options: BulkOptions = {}): Promise<Job[]> {
    const { signal, idempotencyKey, isReplicated } = options;
    const isKeyed = idempotencyKey === undefined && jobs.length > 0 && jobs.every((each) => each.idempotencyKey);
    const request = { signal, ...durability(isReplicated), body: { jobs: [...jobs] } };
    const keyed = { ...request, idempotencyKey: isKeyed ? null : idempotencyKey };
    return (await this.calls.data("post", "/v1/ava/jobs/bulk", [], keyed)) as Job[];
  }

  /** Triggers a job and waits until it is final. */
  async triggerAndWait(
    workerId: string,
    input: Record<string, unknown> = {},
    { timeoutSeconds, ...options }: TriggerOptions & WaitOptions = {},
  ): Promise<Job> {
    const { id } = await this.trigger(workerId, input, options);
    return this.wait(id, { signal: options.signal, timeoutSeconds });
  }

  /** Yields the jobs that match, newest first. */
  list({ isWhole = false, ...filters }: JobQuery = {}, options: CallOptions = {}): AsyncGenerator<Job> {
    const query = { perPage: 100, ...filters, ...(isWhole ? { fields: "*" } : {}) };
    return this.calls.list("/v1/ava/jobs", [], query, options) as AsyncGenerator<Job>;
  }

  /** Waits until a job is final, and returns it. Waits out an outage of the API. Throws `WaitTimeout`. */
  async wait(id: string, options: WaitOptions = {}): Promise<Job> {
    const ask = (request: CallOptions): Promise<Job> => this.get(id, request);
    return this.calls.wait(ask, (job) => FINAL.has(job.status), options);
  }

  /** Yields the lines of a job's log, oldest first. */
  async *logs(id: string, choice: LogChoice = {}, options: CallOptions = {}): AsyncGenerator<JobLine> {
    const { level, text, since, tail, follow = false } = choice;
    const filters = { level, q: text, since };
    let cursor: string | null = null;
    if (tail !== undefined) {
      // Read the cursor first, so that no line written meanwhile is missed.
      cursor = (await this.#lines(id, { tail: 1 }, options)).next;
      if (cursor !== null && tail > 0) yield* await this.#tail(id, filters, tail, cursor, options);
    }
    if (follow) {
      const [part, earliest] = [text?.toLowerCase() ?? "", Date.parse(since ?? "") || 0];
      for await (const event of this.#follow(id, options, cursor)) {
        if (event.kind !== "log" || (level !== undefined && event.line.level !== level)) continue;
        const isEarly = Date.parse(event.line.ts) < earliest;
        if (!isEarly && event.line.msg.toLowerCase().includes(part)) yield event.line;
      }
      return;
    }
    for (let more = tail === undefined; more; ) {
      const found = await this.#lines(id, { ...filters, limit: MAX_LINES, after: cursor }, options);
      yield* found.lines;
      more = found.hasMore && found.next !== null;
      cursor = found.next;
    }
  }

  async #tail(id: string, filters: object, tail: number, end: string, options: CallOptions): Promise<JobLine[]> {
    let lines: JobLine[] = [];
    for (let before: string | null = end; before !== null && lines.length < tail; ) {
      const found = await this.#lines(id, { ...filters, limit: Math.min(tail, MAX_LINES), before }, options);
      lines = [...found.lines, ...lines];
      before = found.hasMore ? found.previous : null;
    }
    return lines.slice(-tail);
  }

  async #lines(id: string, query: object, options: CallOptions) {
    const { data, pagination = {} } = await this.calls.page("get", `${JOB}/logs`, [id], { ...options, query });
    const { hasMore = false, nextCursor: next = null, previousCursor: previous = null } = pagination;
    return { lines: (data as { logs: JobLine[] }).logs, hasMore, next, previous };
  }

  /** Follows a job to its end. A broken connection is resumed without a gap or a double. */
  events(id: string, options: CallOptions = {}): AsyncGenerator<JobEvent> {
    return this.#follow(id, options, null);
  }

  async *#follow(id: string, { signal }: CallOptions, after: string | null): AsyncGenerator<JobEvent> {
    for (let failures = 0; ; ) {
      const headers: Record<string, string> = after ? { "Last-Event-ID": after } : {};
      let end = (): void => undefined;
      try {
        const opened = await this.calls.open("get", `${JOB}/stream`, [id], { headers, signal });
        end = opened.end;
        for await (const { id: eventId, event, data } of eventsOf(opened.response)) {
          failures = 0;
          after = eventId || after;
          const found = eventOf(event, data);
          if (found !== null) yield found;
          if (found?.kind === "end") return;
        }
        signal?.throwIfAborted();
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof ApiError && !mayRepeat(error, failures + 1, this.calls.retries)) throw error;
      } finally {
        end();
      }
      await sleep(pauseMs(Math.min(failures++, 6)), signal);
      signal?.throwIfAborted();
    }
  }

  /** Cancels a job; 409 if it is completed or failed. */
  async cancel(id: string, options: CallOptions = {}): Promise<Job> {
    try {
      return await this.calls.data("post", `${JOB}/cancel`, [id], options);
    } catch (error) {
      // The response to an earlier attempt may have been lost.
      if (error instanceof ApiError && error.status === 409) {
        const job = await this.get(id, options);
        if (job.status === "cancelled") return job;
      }
      throw error;
    }
  }

  /** Cancels the jobs that match a filter, and waits until all are cancelled or signalled. Returns their numbers. */
  async cancelAll(filter: CancelFilter, options: WaitOptions = {}): Promise<{ cancelled: number; signalled: number }> {
    const operations = new Operations(this.calls);
    const started = await operations.cancel(filter, { signal: options.signal });
    const { result } = started.state === "running" ? await operations.wait(started.id, options) : started;
    return { cancelled: 0, signalled: 0, ...result };
  }

  /** Returns the jobs of a job's tree, and their edges; waits up to `waitSeconds` until each is final. */
  async tree(id: string, { waitSeconds, ...options }: CallOptions & { waitSeconds?: number } = {}): Promise<Tree> {
    const request = { ...options, query: { wait: waitSeconds }, holdSeconds: waitSeconds };
    return this.calls.data("get", `${JOB}/tree`, [id], request);
  }
}

function durability(isReplicated = false): { headers?: Record<string, string> } {
  return isReplicated ? { headers: { Durability: "replicated" } } : {};
}

/** Returns an event of a stream; null for one that this client does not know. */
function eventOf(event: string, data: string): JobEvent | null {
  if (event === "log") return { kind: event, line: fromWire(JSON.parse(data)) };
  if (event === "progress") return { kind: event, progress: fromWire(JSON.parse(data)) };
  if (event === "status") return { kind: event, status: fromWire(JSON.parse(data)) };
  return event === "end" ? { kind: event, job: fromWire(JSON.parse(data)) } : null;
}
