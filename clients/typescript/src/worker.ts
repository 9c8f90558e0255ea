import { Calls, isTransient, pauseMs, sleep, type ClientOptions } from "./calls.js";
import { ApiError, GiveUp, RetryLater, RunStopped } from "./errors.js";
import type { Job } from "./jobs.js";
import type { components } from "./openapi.js";
import type { Received, Sent } from "./wire.js";

type Claimed = Received<components["schemas"]["ClaimedRunRecord"]>;
type Ending = Sent<components["schemas"]["EndBody"]>;
type Level = "info" | "warn" | "error";
type Line = { seq: number; level: Level; msg: string; ts: string };

/** The run, for its handler. */
export interface Env {
  readonly job: Job;
  /** The configuration of the worker. */
  readonly config: Readonly<Record<string, string>>;
  /** The number of the attempt, from 1. */
  readonly attempt: number;
  /** Aborted when the run must stop; its reason is a `RunStopped`. Pass it on to `fetch` and the like. */
  readonly signal: AbortSignal;
  /** Writes lines to the job's log. */
  readonly log: Readonly<Record<Level, (...parts: unknown[]) => void>>;
  /** Reports the progress, from 0 to 1. */
  progress(fraction: number, message?: string): void;
}

export type Handler<Input> = (input: Input, env: Env) => unknown;

export interface RunOptions {
  /** Max concurrent runs; 1 by default. */
  concurrency?: number;
  /** The name of this process, for people. */
  name?: string;
  /** Stops the worker when it is aborted. */
  signal?: AbortSignal;
  /** Seconds for runs to end after a stop, before they are stopped and requeued; 30 by default. */
  graceSeconds?: number;
  /** Whether SIGTERM and SIGINT stop the worker; true by default if there are signals. A second one ends the grace. */
  handlesSignals?: boolean;
  /** Called when claims begin to fail; they are retried until they succeed. By default `console.error` prints it. */
  onProblem?: (error: ApiError) => void;
}

interface NodeProcess {
  on(signal: string, listener: () => void): void;
  off(signal: string, listener: () => void): void;
}

const PROTOCOL = { "AVA-Runs-Protocol": "1" };
const CLAIM_SECONDS = 30;
const HEARTBEAT_MS = 4_000;
const FLUSH_MS = 100;
/** Lines and characters of one call; the API takes 1,000 lines and 1 MiB. */
const MAX_LINES = 500;
const MAX_CHARACTERS = 128 * 1024;
const MAX_LINE_CHARACTERS = 16 * 1024;
/** Time for a stopped handler to return; then its run is requeued without it. */
const LEFT_BEHIND_MS = 5_000;

/** Claims the runs of workers with the runtime `pull`, with a key of the role `worker`, and calls their handlers. */
export class PullWorker {
  readonly #handlers = new Map<string, Handler<never>>();
  readonly #runs = new Map<string, Run>();
  readonly #calls: Calls;
  #stopping: AbortController | null = null;
  /** Wakes the claiming loop, when a run has ended or the worker stops. */
  #wake: () => void = () => undefined;

  constructor(options: Omit<ClientOptions, "retries">) {
    // The loop and the runs repeat their calls themselves.
    this.#calls = new Calls({ ...options, retries: 0 }, PROTOCOL);
  }

  /** Registers the handler of a worker, by its slug. */
  handle<Input = Record<string, unknown>>(slug: string, handler: Handler<Input>): void {
    this.#handlers.set(`wkr_${slug}`, handler as Handler<never>);
  }

  /** Stops claiming runs. Claimed runs may end within the grace period; then they are stopped. */
  stop(): void {
    this.#stopping?.abort();
    this.#wake();
  }

  /**
   * Claims runs and calls their handlers, until `stop` is called, the signal is aborted, or the process gets SIGTERM or
   * SIGINT. Resolves when every run has ended.
   */
  async run(options: RunOptions = {}): Promise<void> {
    const { concurrency = 1, signal, graceSeconds = 30, handlesSignals = true } = options;
    if (this.#handlers.size === 0) throw new Error("Register a handler with `handle` first.");
    if (this.#stopping !== null) throw new Error("The worker is already running.");
    const stopping = (this.#stopping = new AbortController());
    const hurry = new AbortController();
    const stop = (): void => this.stop();
    const stopBySignal = (): void => (stopping.signal.aborted ? hurry.abort() : this.stop());
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    const process = (globalThis as { process?: Partial<NodeProcess> }).process;
    const process_ = handlesSignals && typeof process?.on === "function" ? (process as NodeProcess) : null;
    for (const each of ["SIGTERM", "SIGINT"]) process_?.on(each, stopBySignal);
    const beating = setInterval(() => void this.#beat(), HEARTBEAT_MS);
    try {
      try {
        await this.#claimAll(concurrency, options, stopping.signal);
      } finally {
        await this.#end(graceSeconds, hurry.signal);
      }
    } finally {
      clearInterval(beating);
      for (const each of ["SIGTERM", "SIGINT"]) process_?.off(each, stopBySignal);
      signal?.removeEventListener("abort", stop);
      this.#stopping = null;
    }
  }

  async #claimAll(concurrency: number, { name, onProblem }: RunOptions, stopping: AbortSignal): Promise<void> {
    let claimed: Claimed[] = [];
    for (let failures = 0; !stopping.aborted; ) {
      if (this.#runs.size >= concurrency) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      const body = {
        workers: [...this.#handlers.keys()],
        capacity: Math.min(100, concurrency - this.#runs.size),
        wait: CLAIM_SECONDS,
        ...(name === undefined ? {} : { name }),
      };
      try {
        if (claimed.length === 0) {
          claimed = await this.#calls.data("post", "/v1/ava/runs/claim", [], { body, signal: stopping });
        }
        if (claimed.length > 0) await this.#begin(claimed);
        claimed = [];
        failures = 0;
      } catch (error) {
        if (stopping.aborted) return;
        if (!mayPass(error)) throw error;
        if (failures === 0) (onProblem ?? report)(error);
        await sleep(pauseMs(Math.min(++failures, 7), error.retryAfterSeconds), stopping);
      }
    }
  }

  /** Starts claimed runs once the server knows that they begin, so that it counts the loss of each. */
  async #begin(claimed: Claimed[]): Promise<void> {
    const { stop, lost } = await this.#heartbeat(claimed.map(({ run }) => run));
    for (const each of claimed) if (!lost.includes(each.run)) this.#start(each);
    for (const each of stop) this.#runs.get(each)?.stop("stop");
  }

  #start(claimed: Claimed): void {
    const handler = this.#handlers.get((claimed.job as unknown as Job).workerId);
    if (handler === undefined) return;
    const run = new Run(this.#calls, claimed, handler);
    this.#runs.set(claimed.run, run);
    void run.ended.then(() => {
      this.#runs.delete(claimed.run);
      this.#wake();
    });
  }

  /** Waits for the runs to end within the grace period or until `hurry`, then stops and requeues the others. */
  async #end(graceSeconds: number, hurry: AbortSignal): Promise<void> {
    const over = new AbortController();
    const hasEnded = Promise.all([...this.#runs.values()].map((run) => run.ended)).then(() => over.abort());
    hurry.addEventListener("abort", () => over.abort());
    // A timer that goes on keeps the process alive.
    if (this.#runs.size > 0) await sleep(graceSeconds * 1000, over.signal);
    if (this.#runs.size === 0) return;
    for (const run of this.#runs.values()) run.stop("shutdown");
    const left = new AbortController();
    void hasEnded.then(() => left.abort());
    await sleep(LEFT_BEHIND_MS, left.signal);
    await Promise.all([...this.#runs.values()].map((run) => run.requeue()));
  }

  async #beat(): Promise<void> {
    const runs = [...this.#runs.keys()];
    for (let first = 0; first < runs.length; first += 1000) {
      try {
        const { stop, lost } = await this.#heartbeat(runs.slice(first, first + 1000));
        for (const each of stop) this.#runs.get(each)?.stop("stop");
        for (const each of lost) this.#runs.get(each)?.stop("lost");
      } catch {
        // The next one is 4 s later.
      }
    }
  }

  /** Returns the runs that must stop, and the lost ones. */
  async #heartbeat(runs: string[]): Promise<{ stop: string[]; lost: string[] }> {
    const found = await this.#calls.data("post", "/v1/ava/runs/heartbeat", [], { body: { runs } });
    return { stop: found.stop as string[], lost: found.lost as string[] };
  }
}

/** Returns true if a call that failed so may succeed later. */
function mayPass(error: unknown): error is ApiError {
  return isTransient(error) || (error instanceof ApiError && error.status >= 500);
}

function report(error: ApiError): void {
  console.error(`ava: claiming runs failed, will retry: ${error.message}`);
}

/** One run of a handler, with its log lines, progress and outcome. */
class Run {
  readonly ended: Promise<void>;
  readonly #controller = new AbortController();
  readonly #calls: Calls;
  readonly #run: string;
  #lines: Line[] = [];
  #seq = 0;
  #progress: { fraction: number; message: string } | null = null;
  #flushing: Promise<void> | null = null;
  /** Aborted when the run ends, so that buffered lines are sent immediately. */
  readonly #closing = new AbortController();
  #isLost = false;
  #timeoutSeconds = 0;

  constructor(calls: Calls, claimed: Claimed, handler: Handler<never>) {
    this.#calls = calls;
    this.#run = claimed.run;
    this.ended = this.#call(claimed, handler);
  }

  stop(why: RunStopped["why"]): void {
    if (why === "lost") this.#isLost = true;
    if (!this.#controller.signal.aborted) this.#controller.abort(new RunStopped(why));
  }

  /** Requeues the job, whatever its handler does. */
  async requeue(): Promise<void> {
    await this.#end({ retryLaterSeconds: 0, reason: "the worker shut down" });
  }

  async #call(claimed: Claimed, handler: Handler<never>): Promise<void> {
    const job = claimed.job as unknown as Job;
    // Both times are the server's, so the clocks may differ.
    const limit = Date.parse(claimed.timeoutAt) - Date.parse(job.startedAt ?? claimed.timeoutAt);
    this.#timeoutSeconds = limit / 1000;
    const { signal } = this.#closing;
    void sleep(limit, signal).then(() => signal.aborted || this.stop("timeout"));
    try {
      // Wait for the constructor, so that `ended` exists before the handler is called.
      await Promise.resolve();
      const output = await handler(claimed.input as never, this.#env(claimed, job));
      await this.#end(this.#stopEnding() ?? outputOf(output));
    } catch (error) {
      await this.#end(this.#stopEnding() ?? this.#endingOf(error));
    }
  }

  /** Returns the end of a run that was stopped; null if it was not. */
  #stopEnding(): Ending | null {
    const reason: unknown = this.#controller.signal.reason;
    if (!(reason instanceof RunStopped)) return null;
    if (reason.why === "shutdown") return { retryLaterSeconds: 0, reason: "the worker shut down" };
    return { error: `Timeout: exceeded ${this.#timeoutSeconds} s` };
  }

  #endingOf(error: unknown): Ending {
    if (error instanceof RetryLater) return { retryLaterSeconds: error.seconds, reason: error.message.slice(0, 1000) };
    const isError = error instanceof Error;
    if (isError) this.#log("error", [error]);
    const kind = isError && /^[A-Za-z_][A-Za-z0-9_.]{0,99}$/.test(error.name) ? error.name : "Error";
    const reason = textOf(isError ? error.message : error).slice(0, 5000);
    return { error: `${kind}: ${reason || "(no message)"}`, giveUp: error instanceof GiveUp };
  }

  #env(claimed: Claimed, job: Job): Env {
    const level = (name: Level) => (...parts: unknown[]): void => this.#log(name, parts);
    return {
      job,
      config: claimed.config as Record<string, string>,
      attempt: job.attempt,
      signal: this.#controller.signal,
      log: { info: level("info"), warn: level("warn"), error: level("error") },
      progress: (fraction, message = "") => {
        if (this.#closing.signal.aborted) return;
        this.#progress = { fraction: Math.min(1, Math.max(0, fraction)), message: message.slice(0, 1000) };
        this.#flushSoon();
      },
    };
  }

  #log(level: Level, parts: unknown[]): void {
    if (this.#closing.signal.aborted) return;
    const msg = parts.map(textOf).join(" ").slice(0, MAX_LINE_CHARACTERS);
    this.#lines.push({ seq: this.#seq++, level, msg, ts: new Date().toISOString() });
    this.#flushSoon();
  }

  #flushSoon(): void {
    this.#flushing ??= sleep(FLUSH_MS, this.#closing.signal)
      .then(() => this.#flush())
      .finally(() => {
        this.#flushing = null;
        if (this.#lines.length > 0 || this.#progress !== null) this.#flushSoon();
      });
  }

  /** Sends the buffered lines and progress. The server ignores lines that it has stored. */
  async #flush(): Promise<void> {
    const lines = this.#batch();
    if (lines.length > 0) {
      await this.#send(() => this.#calls.data("post", "/v1/ava/runs/{run}/lines", [this.#run], { body: { lines } }));
      this.#lines.splice(0, lines.length);
    }
    const progress = this.#progress;
    if (progress !== null) {
      await this.#send(() => this.#calls.data("post", "/v1/ava/runs/{run}/progress", [this.#run], { body: progress }));
      if (this.#progress === progress) this.#progress = null;
    }
  }

  #batch(): Line[] {
    let characters = 0;
    const count = this.#lines.slice(0, MAX_LINES).findIndex((line) => (characters += line.msg.length) > MAX_CHARACTERS);
    return this.#lines.slice(0, count < 0 ? MAX_LINES : Math.max(1, count));
  }

  /** Repeats a call until the server accepts or refuses it, or the run is lost. Returns the refusal, or null. */
  async #send(call: () => Promise<object>): Promise<ApiError | null> {
    for (let attempt = 0; !this.#isLost; attempt += 1) {
      try {
        const data = await call();
        if ("stop" in data && data.stop === true) this.stop("stop");
        return null;
      } catch (error) {
        if (error instanceof ApiError && [404, 409].includes(error.status)) this.stop("lost");
        else if (error instanceof ApiError && !mayPass(error)) return error;
        else await sleep(pauseMs(Math.min(attempt, 7), error instanceof ApiError ? error.retryAfterSeconds : null));
      }
    }
    return null;
  }

  /** Sends the outcome, after the lines and the progress. An output that the server refuses fails the run. */
  async #end(ending: Ending): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    while (this.#flushing !== null) await this.#flushing;
    const send = (body: Ending) =>
      this.#send(() => this.#calls.data("post", "/v1/ava/runs/{run}/end", [this.#run], { body }));
    const refused = await send(ending);
    if (refused === null || typeof ending.error === "string") return;
    await send({ error: `OutputError: ${refused.message}`.slice(0, 5000) });
  }
}

/** Returns the end of a run whose handler has returned this. */
function outputOf(output: unknown): Ending {
  try {
    // A value that JSON cannot represent, such as a function, becomes null.
    return JSON.stringify(output) === undefined ? { output: null } : { output: output as never };
  } catch (error) {
    return { error: `OutputError: the output is not JSON: ${textOf(error)}`.slice(0, 5000) };
  }
}

/** Returns a value as a person reads it. */
function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  try {
    return value instanceof Error ? (value.stack ?? String(value)) : (JSON.stringify(value) ?? String(value));
  } catch {
    return Object.prototype.toString.call(value);
  }
}
