import { answerOf, makeApi, pauseMs, sleep, type Api, type CallOptions } from "./calls.js";
import { AvaError, GiveUp, RetryLater, RunStopped } from "./errors.js";
import type { components } from "./openapi.js";

type Claimed = components["schemas"]["ClaimedRunRecord"];
type Ending = components["schemas"]["EndBody"];
type Level = "info" | "warn" | "error";

/** What a handler has of its run. */
export interface Env {
  readonly job: components["schemas"]["JobRecord"];
  /** The configuration of the worker. */
  readonly config: Readonly<Record<string, string>>;
  /** Which attempt this is, from 1. */
  readonly attempt: number;
  /** Aborted when the run is to stop; its reason is a `RunStopped`. Pass it on to `fetch` and the like. */
  readonly signal: AbortSignal;
  /** Lines of the job's log. */
  readonly log: Readonly<Record<Level, (...parts: unknown[]) => void>>;
  /** Reports how much is done, from 0 to 1. */
  progress(fraction: number, message?: string): void;
}

export type Handler<Input> = (input: Input, env: Env) => unknown;

export interface RunOptions {
  /** Runs at once; 1 by default. */
  concurrency?: number;
  /** What this process is called, for people. */
  name?: string;
  /** Stops the worker when it is aborted. */
  signal?: AbortSignal;
  /** Seconds that runs have to end after a stop, before they are stopped and given back; 30 by default. */
  graceSeconds?: number;
  /** Whether SIGTERM and SIGINT stop the worker; true by default where there are signals. */
  handlesSignals?: boolean;
}

interface NodeProcess {
  on(signal: string, listener: () => void): void;
  off(signal: string, listener: () => void): void;
}

const CLAIM_SECONDS = 30;
const HEARTBEAT_MS = 4_000;
const FLUSH_MS = 100;
const MAX_LINES = 500;
/** Seconds that a stopped handler has to return before its run is given back without it. */
const LEFT_BEHIND_MS = 5_000;

/** Claims runs and calls handlers. */
export class WorkerPool {
  readonly #handlers = new Map<string, Handler<never>>();
  readonly #runs = new Map<string, Run>();
  readonly #api: Api;
  #stopping: AbortController | null = null;

  constructor(options: CallOptions) {
    // The pool repeats its calls itself.
    this.#api = makeApi({ ...options, retries: 0 });
  }

  add(slug: string, handler: Handler<never>): void {
    this.#handlers.set(`wkr_${slug}`, handler);
  }

  stop(): void {
    this.#stopping?.abort();
  }

  async run({ concurrency = 1, name, signal, graceSeconds = 30, handlesSignals = true }: RunOptions): Promise<void> {
    if (this.#handlers.size === 0) throw new Error("Register a handler with `worker` first.");
    if (this.#stopping !== null) throw new Error("The worker runs already.");
    const stopping = (this.#stopping = new AbortController());
    const stop = (): void => stopping.abort();
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    const process = (globalThis as { process?: Partial<NodeProcess> }).process;
    const process_ = handlesSignals && typeof process?.on === "function" ? (process as NodeProcess) : null;
    for (const each of ["SIGTERM", "SIGINT"]) process_?.on(each, stop);
    const beating = setInterval(() => void this.#beat(), HEARTBEAT_MS);
    try {
      await this.#claimAll(concurrency, name, stopping.signal);
      await this.#end(graceSeconds);
    } finally {
      clearInterval(beating);
      for (const each of ["SIGTERM", "SIGINT"]) process_?.off(each, stop);
      signal?.removeEventListener("abort", stop);
      this.#stopping = null;
    }
  }

  async #claimAll(concurrency: number, name: string | undefined, stopping: AbortSignal): Promise<void> {
    for (let failures = 0; !stopping.aborted; ) {
      if (this.#runs.size >= concurrency) {
        await Promise.race([...this.#runs.values()].map((run) => run.ended));
        continue;
      }
      const body = {
        workers: [...this.#handlers.keys()],
        capacity: Math.min(100, concurrency - this.#runs.size),
        wait: CLAIM_SECONDS,
        ...(name === undefined ? {} : { name }),
      };
      try {
        const { data } = await answerOf(this.#api.POST("/v1/ava/runs/claim", { body, signal: stopping }));
        failures = 0;
        for (const claimed of data) this.#start(claimed);
      } catch (error) {
        if (stopping.aborted) return;
        if (error instanceof AvaError && [400, 401, 403, 404, 422].includes(error.status)) throw error;
        failures += 1;
        await sleep(pauseMs(Math.min(failures + 1, 7)), stopping);
      }
    }
  }

  #start(claimed: Claimed): void {
    const handler = this.#handlers.get(claimed.job.worker_id as string);
    if (handler === undefined) return;
    const run = new Run(this.#api, claimed, handler);
    this.#runs.set(claimed.run, run);
    void run.ended.then(() => this.#runs.delete(claimed.run));
  }

  /** Lets the runs end, and stops those that have not when the grace is over. */
  async #end(graceSeconds: number): Promise<void> {
    const ended = Promise.all([...this.#runs.values()].map((run) => run.ended));
    await Promise.race([ended, sleep(graceSeconds * 1000)]);
    for (const run of this.#runs.values()) run.stop("shutdown");
    await Promise.race([ended, sleep(LEFT_BEHIND_MS)]);
    await Promise.all([...this.#runs.values()].map((run) => run.giveBack()));
  }

  async #beat(): Promise<void> {
    const runs = [...this.#runs.keys()];
    for (let first = 0; first < runs.length; first += 1000) {
      const body = { runs: runs.slice(first, first + 1000) };
      try {
        const { data } = await answerOf(this.#api.POST("/v1/ava/runs/heartbeat", { body }));
        for (const each of data.stop as string[]) this.#runs.get(each)?.stop("stop");
        for (const each of data.lost as string[]) this.#runs.get(each)?.stop("lost");
      } catch {
        // The next one is 4 s later.
      }
    }
  }
}

/** One run: its handler, and what it writes. */
class Run {
  readonly ended: Promise<void>;
  readonly #controller = new AbortController();
  readonly #api: Api;
  readonly #run: string;
  #lines: { seq: number; level: Level; msg: string; ts: string }[] = [];
  #seq = 0;
  #progress: { fraction: number; message: string } | null = null;
  #flushing: Promise<void> | null = null;
  #hasEnded = false;
  #timeoutSeconds = 0;

  constructor(api: Api, claimed: Claimed, handler: Handler<never>) {
    this.#api = api;
    this.#run = claimed.run;
    this.ended = this.#call(claimed, handler);
  }

  stop(why: RunStopped["why"]): void {
    if (why === "lost") this.#hasEnded = true;
    if (!this.#controller.signal.aborted) this.#controller.abort(new RunStopped(why));
  }

  /** Gives the job back, whatever its handler does. */
  async giveBack(): Promise<void> {
    await this.#end({ retry_later: 0, reason: "the worker shut down" });
  }

  async #call(claimed: Claimed, handler: Handler<never>): Promise<void> {
    const job = claimed.job as Env["job"];
    // Both moments are the server's, so its clock need not be this one.
    const limit = Date.parse(claimed.timeout_at) - Date.parse(job.started_at ?? claimed.timeout_at);
    this.#timeoutSeconds = limit / 1000;
    const timer = setTimeout(() => this.stop("timeout"), Math.min(limit, 2 ** 31 - 1));
    try {
      // The call is later than the constructor, so that `ended` exists for whoever waits for it.
      await Promise.resolve();
      const output = await handler(claimed.input as never, this.#env(claimed, job));
      await this.#end(this.#stopEnding() ?? { output: (output ?? null) as never });
    } catch (error) {
      await this.#end(this.#stopEnding() ?? this.#endingOf(error));
    } finally {
      clearTimeout(timer);
    }
  }

  /** Returns the end of a run that was stopped; null if it was not. */
  #stopEnding(): Ending | null {
    const reason: unknown = this.#controller.signal.reason;
    if (!(reason instanceof RunStopped)) return null;
    if (reason.why === "shutdown") return { retry_later: 0, reason: "the worker shut down" };
    return { error: `Timeout: exceeded ${this.#timeoutSeconds} s` };
  }

  #endingOf(error: unknown): Ending {
    if (error instanceof RetryLater) return { retry_later: error.seconds, reason: error.message.slice(0, 1000) };
    const isError = error instanceof Error;
    if (isError && error.stack) this.#log("error", [error.stack]);
    const kind = isError && /^[A-Za-z_][A-Za-z0-9_.]{0,99}$/.test(error.name) ? error.name : "Error";
    const reason = (isError ? error.message : String(error)).slice(0, 5000);
    return { error: `${kind}: ${reason || "(no message)"}`, give_up: error instanceof GiveUp };
  }

  #env(claimed: Claimed, job: Env["job"]): Env {
    const level = (name: Level) => (...parts: unknown[]): void => this.#log(name, parts);
    return {
      job,
      config: claimed.config as Record<string, string>,
      attempt: job.attempt,
      signal: this.#controller.signal,
      log: { info: level("info"), warn: level("warn"), error: level("error") },
      progress: (fraction, message = "") => {
        this.#progress = { fraction: Math.min(1, Math.max(0, fraction)), message: message.slice(0, 1000) };
        this.#flushSoon();
      },
    };
  }

  #log(level: Level, parts: unknown[]): void {
    const msg = parts.map((part) => (typeof part === "string" ? part : (JSON.stringify(part) ?? String(part)))).join(" ");
    this.#lines.push({ seq: this.#seq++, level, msg: msg.slice(0, 16_384), ts: new Date().toISOString() });
    this.#flushSoon();
  }

  #flushSoon(): void {
    this.#flushing ??= sleep(FLUSH_MS)
      .then(() => this.#flush())
      .finally(() => {
        this.#flushing = null;
        if (this.#lines.length > 0 && !this.#hasEnded) this.#flushSoon();
      });
  }

  /** Sends what waits. What could not be sent waits for the next time; the server ignores what it has already. */
  async #flush(): Promise<void> {
    const params = { path: { run: this.#run } };
    const lines = this.#lines.slice(0, MAX_LINES);
    const progress = this.#progress;
    try {
      if (lines.length > 0) {
        const { data } = await answerOf(this.#api.POST("/v1/ava/runs/{run}/lines", { params, body: { lines } }));
        this.#lines.splice(0, lines.length);
        if (data.stop) this.stop("stop");
      }
      if (progress !== null) {
        const { data } = await answerOf(this.#api.POST("/v1/ava/runs/{run}/progress", { params, body: progress }));
        if (this.#progress === progress) this.#progress = null;
        if (data.stop) this.stop("stop");
      }
    } catch (error) {
      if (isRefused(error)) this.#lines.splice(0, lines.length);
      if (error instanceof AvaError && [404, 409].includes(error.status)) this.stop("lost");
    }
  }

  /** Sends the end until the server has it, or says that the run is lost. */
  async #end(ending: Ending): Promise<void> {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    await this.#flushing;
    for (let attempt = 0; this.#lines.length > 0 && attempt < 20; attempt += 1) await this.#flush();
    for (let attempt = 0; ; attempt += 1) {
      try {
        await answerOf(this.#api.POST("/v1/ava/runs/{run}/end", { params: { path: { run: this.#run } }, body: ending }));
        return;
      } catch (error) {
        if (error instanceof AvaError && [404, 409].includes(error.status)) return;
        // What cannot be stored, such as an output that is too large, fails the run.
        if (isRefused(error)) {
          if (ending.error !== undefined && ending.error !== null) return;
          ending = { error: `OutputError: ${(error as AvaError).message}`.slice(0, 5000) };
        } else await sleep(pauseMs(Math.min(attempt, 7)));
      }
    }
  }
}

/** Returns true if the same call will be refused again. */
function isRefused(error: unknown): boolean {
  return error instanceof AvaError && error.status >= 400 && error.status < 500 && error.status !== 429;
}
