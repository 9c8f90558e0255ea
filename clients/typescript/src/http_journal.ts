import type { Calls } from "./calls.js";
import { ApiError, ChildRefused, StepError, StepInterrupted, TooManyWaiting } from "./errors.js";
import type { ChildState, Entry, JournalStore, NewChild, SentWait } from "./journal.js";

/** What the journal of a claimed run needs of it. */
export interface JournalRun {
  readonly token: string;
  readonly signal: AbortSignal;
  /** Repeats a call until the server accepts or refuses it. Throws `ApiError`, or `RunStopped` if the run is lost. */
  ask<T extends object>(send: () => Promise<T>): Promise<T>;
  /** Sends the buffered lines and progress. */
  drain(): Promise<void>;
  pause(seconds: number): Promise<void>;
}

/** Outputs of one call. */
const OUTPUTS_PER_CALL = 1000;

/** The journal of a run over HTTP. */
export class HttpJournal implements JournalStore {
  readonly #calls: Calls;
  readonly #run: JournalRun;

  constructor(
    calls: Calls,
    run: JournalRun,
    readonly jobId: string,
    readonly attempt: number,
  ) {
    this.#calls = calls;
    this.#run = run;
  }

  async load(): Promise<Entry[]> {
    const found: Entry[] = [];
    for (let query: object | null = {}; query !== null; ) {
      const place: object = query;
      const send = () => this.#calls.page("get", "/v1/ava/runs/{run}/journal", [this.#run.token], { query: place });
      const { data, pagination } = await this.#run.ask(send);
      found.push(...(data as Entry[]));
      query = pagination?.hasMore === true ? { cursor: pagination.nextCursor } : null;
    }
    return found;
  }

  async writeStep(name: string, state: "began" | "done", value?: unknown): Promise<void> {
    const body = { name, state, ...(state === "done" ? { value } : {}) };
    const send = () => this.#calls.data("post", "/v1/ava/runs/{run}/steps", [this.#run.token], { body: body as never });
    await this.#run.ask(send).catch((error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === "step_interrupted") throw new StepInterrupted(error.message, { cause: error });
      throw new StepError(`The step ${JSON.stringify(name)} was not recorded: ${error.message}`, { cause: error });
    });
  }

  async createChildren(children: NewChild[]): Promise<ChildState[]> {
    const body = { children };
    const request = { body: body as never };
    const send = () => this.#calls.data("post", "/v1/ava/runs/{run}/children", [this.#run.token], request);
    return this.#run.ask(send).catch((error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
      throw new ChildRefused(error.message, { cause: error });
    }) as Promise<ChildState[]>;
  }

  async outputs(jobIds: string[]): Promise<Map<string, unknown>> {
    const found = new Map<string, unknown>();
    // A response ends early at its max size.
    for (let rest = jobIds; rest.length > 0; rest = rest.filter((id) => !found.has(id))) {
      const body = { jobs: rest.slice(0, OUTPUTS_PER_CALL) };
      const send = () => this.#calls.data("post", "/v1/ava/runs/{run}/outputs", [this.#run.token], { body });
      for (const child of await this.#run.ask(send)) found.set(child.id as string, child.output);
    }
    return found;
  }

  async end(waits: SentWait[]): Promise<boolean> {
    await this.#run.drain();
    const body = { waits };
    const send = () => this.#calls.data("post", "/v1/ava/runs/{run}/end", [this.#run.token], { body: body as never });
    const data: { suspended?: boolean } = await this.#run.ask(send).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 429) throw error;
      throw new TooManyWaiting(error.message, { cause: error });
    });
    return data.suspended === true;
  }

  pause(seconds: number): Promise<void> {
    return this.#run.pause(seconds);
  }
}
