import { isTransient, pauseMs, sleep, type Calls } from "./calls.js";
import { DurableCalls } from "./durable.js";
import type { Env, Handler, Level } from "./env.js";
import { ApiError, GiveUp, RetryLater, RunStopped } from "./errors.js";
import { HttpJournal, type JournalRun } from "./http_journal.js";
import type { Job } from "./jobs.js";
import type { components } from "./openapi.js";
import type { Scopes } from "./scopes.js";
import type { Received, Sent } from "./wire.js";

export type Claimed = Received<components["schemas"]["ClaimedRunRecord"]>;
type Ending = Sent<components["schemas"]["EndBody"]>;
type Line = { seq: number; level: Level; msg: string; ts: string };

const FLUSH_MS = 100;
/** Lines and characters of one call; the API takes 1,000 lines and 1 MiB. */
const MAX_LINES = 500;
const MAX_CHARACTERS = 128 * 1024;
const MAX_LINE_CHARACTERS = 16 * 1024;

/** Returns true if a call that failed so may succeed later. */
export function mayPass(error: unknown): error is ApiError {
  return isTransient(error) || (error instanceof ApiError && error.status >= 500);
}

/** Returns true for a refusal because of a quota; a limit of requests per second passes. */
function isQuota(error: ApiError): boolean {
  return error.status === 429 && !error.message.includes("(limit rate_limit");
}

/** One run of a handler, with its log lines, progress and outcome. */
export class Run implements JournalRun {
  readonly ended: Promise<void>;
  readonly #controller = new AbortController();
  readonly #calls: Calls;
  readonly #scopes: Scopes;
  readonly token: string;
  #lines: Line[] = [];
  #seq = 0;
  #progress: { fraction: number; message: string } | null = null;
  #flushing: Promise<void> | null = null;
  /** Aborted when buffered lines are to be sent immediately. */
  #hurry = new AbortController();
  /** Aborted when the run ends. */
  readonly #closing = new AbortController();
  /** Whether lines other than errors, and progress, are dropped, because an earlier run has already sent them. */
  #isReplaying = false;
  #isLost = false;
  #timeoutSeconds = 0;

  constructor(calls: Calls, scopes: Scopes, claimed: Claimed, handler: Handler<never>) {
    this.#calls = calls;
    this.#scopes = scopes;
    this.token = claimed.run;
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
      const ending = await this.#enter(claimed, job, handler);
      if (ending === null) this.#closing.abort();
      else await this.#end(ending);
    } catch (error) {
      await this.#end(this.#stopEnding() ?? this.#endingOf(error));
    }
  }

  /** Enters the handler until it ends or its wait has ended the run. Returns the end; null after a wait. */
  async #enter(claimed: Claimed, job: Job, handler: Handler<never>): Promise<Ending | null> {
    const journal = new HttpJournal(this.#calls, this, job.id, job.attempt);
    let entries = claimed.hasJournal ? await journal.load() : [];
    for (;;) {
      this.#isReplaying = entries.length > 0;
      const calls = new DurableCalls(journal, entries, this.#scopes, () => (this.#isReplaying = false));
      const env = this.#env(claimed, job, calls);
      // A copy, because the handler may change its input and be entered again.
      const result = await calls.enter(() => handler(structuredClone(claimed.input) as never, env));
      const stopped = this.#stopEnding();
      if (result !== null) return stopped ?? outputOf(result.output);
      if (stopped?.error !== undefined) return stopped;
      const next = await calls.suspend();
      if (next === null) return null;
      entries = next;
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async pause(seconds: number): Promise<void> {
    await sleep(seconds * 1000, this.signal);
    this.signal.throwIfAborted();
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
    if (error instanceof Error) this.#log("error", [error]);
    return { error: errorOf(error), giveUp: error instanceof GiveUp };
  }

  #env(claimed: Claimed, job: Job, calls: DurableCalls): Env {
    const level = (name: Level) => (...parts: unknown[]): void => this.#log(name, parts);
    return Object.assign(calls, {
      job,
      config: claimed.config as Record<string, string>,
      attempt: job.attempt,
      signal: this.signal,
      log: { info: level("info"), warn: level("warn"), error: level("error") },
      progress: (fraction: number, message = "") => {
        if (this.#closing.signal.aborted || this.#isReplaying) return;
        this.#progress = { fraction: Math.min(1, Math.max(0, fraction)), message: message.slice(0, 1000) };
        this.#flushSoon();
      },
    });
  }

  #log(level: Level, parts: unknown[]): void {
    if (this.#closing.signal.aborted || (this.#isReplaying && level !== "error")) return;
    const msg = parts.map(textOf).join(" ").slice(0, MAX_LINE_CHARACTERS);
    this.#lines.push({ seq: this.#seq++, level, msg, ts: new Date().toISOString() });
    this.#flushSoon();
  }

  #flushSoon(): void {
    this.#flushing ??= sleep(FLUSH_MS, this.#hurry.signal)
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
      await this.#send(() => this.#calls.data("post", "/v1/ava/runs/{run}/lines", [this.token], { body: { lines } }));
      this.#lines.splice(0, lines.length);
    }
    const progress = this.#progress;
    if (progress !== null) {
      await this.#send(() => this.#calls.data("post", "/v1/ava/runs/{run}/progress", [this.token], { body: progress }));
      if (this.#progress === progress) this.#progress = null;
    }
  }

  #batch(): Line[] {
    let characters = 0;
    const count = this.#lines.slice(0, MAX_LINES).findIndex((line) => (characters += line.msg.length) > MAX_CHARACTERS);
    return this.#lines.slice(0, count < 0 ? MAX_LINES : Math.max(1, count));
  }

  async drain(): Promise<void> {
    this.#hurry.abort();
    while (this.#flushing !== null) await this.#flushing;
    this.#hurry = new AbortController();
  }

  async ask<T extends object>(send: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      if (this.#isLost) throw this.signal.reason;
      try {
        const data = await send();
        if ("stop" in data && data.stop === true) this.stop("stop");
        return data;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (!mayPass(error) || isQuota(error)) {
          await this.#checkRun(error);
          throw error;
        }
        await sleep(pauseMs(Math.min(attempt, 7), error.retryAfterSeconds));
      }
    }
  }

  /** Throws `RunStopped` for a refusal whose reason is that the run must stop or is lost. */
  async #checkRun({ status, code }: ApiError): Promise<void> {
    if (![401, 404, 409].includes(status) || code === "step_interrupted") return;
    const body = { runs: [this.token] };
    const found = await this.#calls.data("post", "/v1/ava/runs/heartbeat", [], { body }).catch(() => null);
    if ((found?.lost as string[] | undefined)?.includes(this.token)) this.stop("lost");
    if ((found?.stop as string[] | undefined)?.includes(this.token)) this.stop("stop");
    this.signal.throwIfAborted();
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
    await this.drain();
    const send = (body: Ending) =>
      this.#send(() => this.#calls.data("post", "/v1/ava/runs/{run}/end", [this.token], { body }));
    const refused = await send(ending);
    if (refused === null || typeof ending.error === "string") return;
    await send({ error: `OutputError: ${refused.message}`.slice(0, 5000) });
  }
}

/** Returns what a handler has thrown as `Kind: reason`. */
export function errorOf(error: unknown): string {
  const isError = error instanceof Error;
  const kind = isError && /^[A-Za-z_][A-Za-z0-9_.]{0,99}$/.test(error.name) ? error.name : "Error";
  const reason = textOf(isError ? error.message : error).slice(0, 5000);
  return `${kind}: ${reason || "(no message)"}`;
}

/** Returns the end of a run whose handler has returned this. */
export function outputOf(output: unknown): Ending {
  try {
    // A value that JSON cannot represent, such as a function, becomes null.
    return JSON.stringify(output) === undefined ? { output: null } : { output: output as never };
  } catch (error) {
    return { error: `OutputError: the output is not JSON: ${textOf(error)}`.slice(0, 5000) };
  }
}

/** Returns a value as a person reads it. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  try {
    return value instanceof Error ? (value.stack ?? String(value)) : (JSON.stringify(value) ?? String(value));
  } catch {
    return Object.prototype.toString.call(value);
  }
}
