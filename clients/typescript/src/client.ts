import {
  answerOf, authorization, errorOf, makeApi, mayPass, newKey, pauseMs, segment, sleep, type Api, type CallOptions,
} from "./calls.js";
import type { components, paths } from "./openapi.js";
import { eventsOf } from "./streams.js";
import { WorkerPool, type Handler, type RunOptions } from "./worker.js";

export type Job = components["schemas"]["JobRecord"] & {
  /** True if the key sees no payloads: input and output are null then, and an error has its kind alone. */
  payload_hidden?: boolean;
};
export type JobInList = components["schemas"]["LightJobRecord"] & { payload_hidden?: boolean };
/** What `change` changes of a job that waits; null takes a date or an expiry away. */
export type JobChange = components["schemas"]["ChangeBody"];
export type Tree = components["schemas"]["TreeRecord"];
export type TriggerOptions = Omit<components["schemas"]["TriggerBody"], "worker_id" | "input"> & {
  /** What makes the trigger repeatable; made up if it is not given. */
  idempotencyKey?: string;
};
/** Which jobs `jobs` yields, and how many it fetches at once; it goes from page to page itself. */
export type JobQuery = Omit<NonNullable<paths["/v1/ava/jobs"]["get"]["parameters"]["query"]>, "page">;

/** What `stream` yields: log lines, progress and changes of the status; the last one is the job itself. */
export type JobUpdate =
  | { kind: "log"; line: { ts: string; level: "info" | "warn" | "error"; msg: string } }
  | { kind: "progress"; progress: { fraction: number; message: string } }
  | { kind: "status"; status: { status: Job["status"]; attempt: number; cancel_requested: boolean } }
  | { kind: "end"; job: Job };

const FINAL: ReadonlySet<string> = new Set(["completed", "failed", "cancelled"]);

/** The client and the worker of one installation, with one API key. */
export class Ava {
  /**
   * Every call of the API, typed, for what the methods do not cover. Each is repeated after a failure that may pass,
   * unless it does something anew each time and takes no idempotency key.
   */
  readonly api: Api;
  readonly #options: CallOptions;
  readonly #pool: WorkerPool;

  constructor(options: CallOptions) {
    if (!options.url || !options.key) throw new TypeError("Set `url` to the API's URL and `key` to an API key.");
    this.#options = options;
    this.api = makeApi(options);
    this.#pool = new WorkerPool(options);
  }

  /** Triggers a job, once however often the network makes this client ask. */
  async trigger(workerId: string, input: Record<string, unknown> = {}, options: TriggerOptions = {}): Promise<Job> {
    const { idempotencyKey = newKey(), ...rest } = options;
    const answer = await answerOf(
      this.api.POST("/v1/ava/jobs", {
        body: { worker_id: workerId, input, ...rest },
        params: { header: { "Idempotency-Key": idempotencyKey } },
      }),
    );
    return answer.data;
  }

  async job(id: string): Promise<Job> {
    return (await answerOf(this.api.GET("/v1/ava/jobs/{job_id}", { params: { path: { job_id: id } } }))).data as Job;
  }

  /**
   * Waits until a job is final, and returns it; an outage of the API is waited out. Throws the signal's reason if that
   * is aborted before.
   */
  async wait(id: string, { signal }: { signal?: AbortSignal } = {}): Promise<Job> {
    const params = { path: { job_id: id }, query: { wait: 30 } };
    for (let failures = 0; ; ) {
      signal?.throwIfAborted();
      try {
        const asked = this.api.GET("/v1/ava/jobs/{job_id}", { params, ...(signal ? { signal } : {}) });
        const { data } = await answerOf(asked);
        if (FINAL.has(data.status ?? "")) return data as Job;
        failures = 0;
      } catch (error) {
        if (!mayPass(error)) throw error;
        await sleep(pauseMs(Math.min(failures++, 6)), signal);
      }
    }
  }

  /** The jobs that belong together with a job, and their edges; with `wait` once each is final, or after so many seconds. */
  async tree(id: string, { wait, signal }: { wait?: number; signal?: AbortSignal } = {}): Promise<Tree> {
    const params = { path: { job_id: id }, query: wait === undefined ? {} : { wait } };
    const asked = this.api.GET("/v1/ava/jobs/{job_id}/tree", { params, ...(signal ? { signal } : {}) });
    return (await answerOf(asked)).data as Tree;
  }

  /** Changes a queued job; 409 once it has started, but for its priority and tags. */
  async change(id: string, change: JobChange): Promise<Job> {
    const params = { path: { job_id: id } };
    return (await answerOf(this.api.PATCH("/v1/ava/jobs/{job_id}", { params, body: change }))).data;
  }

  async cancel(id: string): Promise<Job> {
    return (await answerOf(this.api.POST("/v1/ava/jobs/{job_id}/cancel", { params: { path: { job_id: id } } }))).data;
  }

  /** Triggers a new job like a final one. */
  async retry(id: string, idempotencyKey: string = newKey()): Promise<Job> {
    const params = { path: { job_id: id }, header: { "Idempotency-Key": idempotencyKey } };
    return (await answerOf(this.api.POST("/v1/ava/jobs/{job_id}/retry", { params }))).data;
  }

  /** Yields the jobs that match, newest first. Pages are fetched as the iterator reaches them. */
  async *jobs(query: JobQuery = {}): AsyncGenerator<JobInList> {
    let cursor: string | undefined;
    do {
      const page = await answerOf(
        this.api.GET("/v1/ava/jobs", {
          params: { query: { per_page: 100, ...query, ...(cursor === undefined ? {} : { cursor }) } },
        }),
      );
      yield* page.data;
      cursor = page.pagination.has_more ? (page.pagination.next_cursor ?? undefined) : undefined;
    } while (cursor !== undefined);
  }

  /** Follows a job to its end. A broken connection is resumed without a gap or a double. */
  async *stream(id: string, { signal }: { signal?: AbortSignal } = {}): AsyncGenerator<JobUpdate> {
    const { url, key, fetch: send = fetch } = this.#options;
    const address = `${url.replace(/\/+$/, "")}/v1/ava/jobs/${segment(id)}/stream`;
    let last = "";
    for (let attempt = 0; ; attempt += 1) {
      signal?.throwIfAborted();
      const headers: Record<string, string> = { Authorization: authorization(key) };
      if (last) headers["Last-Event-ID"] = last;
      try {
        const response = await send(address, { headers, signal: signal ?? null });
        if (!response.ok) throw errorOf(response, await response.json().catch(() => null));
        for await (const { id: eventId, event, data } of eventsOf(response)) {
          attempt = 0;
          last = eventId || last;
          const value = JSON.parse(data) as never;
          if (event === "end") {
            yield { kind: "end", job: value };
            return;
          }
          if (event === "log") yield { kind: "log", line: value };
          if (event === "progress") yield { kind: "progress", progress: value };
          if (event === "status") yield { kind: "status", status: value };
        }
      } catch (error) {
        if (signal?.aborted || !mayPass(error)) throw error;
      }
      await sleep(pauseMs(Math.min(attempt, 6)), signal);
    }
  }

  /** Registers the handler of a worker with the runtime `pull`, by its slug. */
  worker<Input = Record<string, unknown>>(slug: string, handler: Handler<Input>): void {
    this.#pool.add(slug, handler as Handler<never>);
  }

  /**
   * Claims runs of the registered workers and calls their handlers, until `stop` is called, the signal is aborted, or
   * the process gets SIGTERM or SIGINT. Resolves when every run has ended.
   */
  run(options: RunOptions = {}): Promise<void> {
    return this.#pool.run(options);
  }

  /** Claims no more runs, lets those under way end, and stops them when the grace is over. */
  stop(): void {
    this.#pool.stop();
  }
}
