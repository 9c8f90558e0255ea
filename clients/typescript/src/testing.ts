import { describe } from "./branches.js";
import { jsonCopy } from "./call_arguments.js";
import { DurableCalls } from "./durable.js";
import type { Handler, Level } from "./env.js";
import { GiveUp, RetryLater } from "./errors.js";
import type { Job } from "./jobs.js";
import type { Entry, JournalStore, SentWait } from "./journal.js";
import { errorOf, outputOf, textOf } from "./run.js";
import { makeScopes, type Scopes } from "./scopes.js";
import { newId, TestJournal, valueOf, type CreatedChild, type Given, type GivenDecision, type GivenEvent } from "./test_journal.js";

export type { CreatedChild, Given, GivenDecision, GivenEvent } from "./test_journal.js";

export interface TestOptions {
  config?: Record<string, string>;
  /** The number of the attempt; 1 by default. */
  attempt?: number;
  /** The id of the worker. */
  workerId?: string;
  /** Results of steps by name; their functions are not called. Each is a value, an error, or a function. */
  steps?: Record<string, Given>;
  /** Outcomes of children by name or worker. Each is a value, an error, or a function of the input. */
  children?: Record<string, Given>;
  /** Events that arrive once the handler waits for them, in this order. */
  events?: readonly GivenEvent[];
  /** The decisions about approvals by name; null: nobody decides in time. */
  approvals?: Readonly<Record<string, GivenDecision>>;
  /** `env.signal`, which a test may abort. */
  signal?: AbortSignal;
}

/** The outcome of one attempt. */
export interface TestResult {
  /** `queued`: the handler has thrown `RetryLater`. */
  status: "completed" | "failed" | "queued";
  output: unknown;
  /** `Kind: reason` if it failed, and what the handler has thrown. */
  error: string | null;
  exception: unknown;
  /** True if a further attempt may help. */
  isRetried: boolean;
  logs: { level: Level; msg: string }[];
  progress: { fraction: number; message: string }[];
  /** The results of its steps by name. */
  steps: Record<string, unknown>;
  /** The children that it created, in order. */
  children: CreatedChild[];
  /** Its wait at each suspension, as the log shows it. */
  waits: string[];
}

/** Calls in which tests give the results of steps. */
class GivenCalls extends DurableCalls {
  readonly #given: Record<string, Given>;

  constructor(
    store: JournalStore, entries: Entry[], scopes: Scopes, onCaughtUp: () => void, given: Record<string, Given>,
  ) {
    super(store, entries, scopes, onCaughtUp);
    this.#given = given;
  }

  protected override execute(whole: string, name: string, fn: () => unknown): unknown {
    const found = [whole, name].find((each) => Object.hasOwn(this.#given, each));
    return found === undefined ? fn() : valueOf(this.#given[found]);
  }
}

/**
 * Runs one attempt of a handler in this process, without a server. A handler that waits is entered again from its top
 * until it ends; waits take no time.
 */
export async function run<Input>(
  handler: Handler<Input>, input: Input, options: TestOptions = {},
): Promise<TestResult> {
  const { attempt = 1, workerId = "wkr_test", steps = {}, children = {}, events = [], approvals = {} } = options;
  const job = { id: newId("job"), workerId, status: "running", attempt, input } as unknown as Job;
  const journal = new TestJournal(job.id, attempt, children, events, approvals);
  const result: TestResult = {
    status: "completed", output: null, error: null, exception: null, isRetried: false,
    logs: [], progress: [], steps: {}, children: journal.children, waits: [],
  };
  const scopes = await makeScopes();
  const signal = options.signal ?? new AbortController().signal;
  for (let entries: Entry[] = []; ; ) {
    let isReplaying = entries.length > 0;
    const calls = new GivenCalls(journal, entries, scopes, () => (isReplaying = false), steps);
    const level = (name: Level) => (...parts: unknown[]): void => {
      if (!isReplaying || name === "error") result.logs.push({ level: name, msg: parts.map(textOf).join(" ") });
    };
    const env = Object.assign(calls, {
      job, config: options.config ?? {}, attempt, signal,
      log: { info: level("info"), warn: level("warn"), error: level("error") },
      progress: (fraction: number, message = ""): void => {
        if (!isReplaying) result.progress.push({ fraction, message });
      },
    });
    const copy = jsonCopy(input ?? {}) as Input;
    const next = await enter(calls, () => handler(copy, env), result);
    result.steps = journal.steps;
    if (next === null) return result;
    entries = next.entries ?? (await passWait(journal, next.waits, result));
  }
}

/** Enters a handler. Returns its waits and the entries of the next run, if it is entered again; null after its end. */
async function enter(
  calls: DurableCalls, handler: () => unknown, result: TestResult,
): Promise<{ waits: SentWait[]; entries: Entry[] | null } | null> {
  try {
    const found = await calls.enter(handler);
    if (found === null) return { waits: calls.waits, entries: await calls.suspend() };
    const { error, output } = outputOf(found.output);
    Object.assign(result, error === undefined ? { output: jsonCopy(output) } : { status: "failed", error });
  } catch (error) {
    result.exception = error;
    result.status = error instanceof RetryLater ? "queued" : "failed";
    result.error = errorOf(error);
    result.isRetried = !(error instanceof GiveUp);
  }
  return null;
}

function passWait(journal: TestJournal, waits: SentWait[], result: TestResult): Promise<Entry[]> {
  result.waits.push(describe(waits));
  journal.advance(waits);
  return journal.load();
}
