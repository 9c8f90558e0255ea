import { Calls, pauseMs, sleep, type ClientOptions } from "./calls.js";
import type { Handler } from "./env.js";
import type { ApiError } from "./errors.js";
import type { Job } from "./jobs.js";
import { mayPass, Run, type Claimed } from "./run.js";
import { makeScopes, type Scopes } from "./scopes.js";

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
/** Time for a stopped handler to return; then its run is requeued without it. */
const LEFT_BEHIND_MS = 5_000;

/** Claims the runs of workers with the runtime `pull`, with a key of the role `worker`, and calls their handlers. */
export class PullWorker {
  readonly #handlers = new Map<string, Handler<never>>();
  readonly #runs = new Map<string, Run>();
  readonly #calls: Calls;
  #scopes: Scopes | null = null;
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
    const scopes = (this.#scopes ??= await makeScopes());
    const { stop, lost } = await this.#heartbeat(claimed.map(({ run }) => run));
    for (const each of claimed) if (!lost.includes(each.run)) this.#start(each, scopes);
    for (const each of stop) this.#runs.get(each)?.stop("stop");
  }

  #start(claimed: Claimed, scopes: Scopes): void {
    const handler = this.#handlers.get((claimed.job as unknown as Job).workerId);
    if (handler === undefined) return;
    const run = new Run(this.#calls, scopes, claimed, handler);
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

function report(error: ApiError): void {
  console.error(`ava: claiming runs failed, will retry: ${error.message}`);
}
