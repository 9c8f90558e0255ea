import type { Child, OutputOf, OutputsOf } from "./children.js";
import type { Event } from "./methods.js";
import type { Job } from "./jobs.js";

export interface StepOptions {
  key?: string;
  /** Its earlier names. */
  was?: readonly string[];
  /** `at_most`: a step whose result was not recorded is not repeated; `StepInterrupted` is thrown. */
  once?: "at_least" | "at_most";
}
export interface ChildOptions {
  key?: string;
  /** Its earlier names. */
  was?: readonly string[];
  priority?: number;
  /** Whether it survives a cancel of this job. */
  detached?: boolean;
}
export interface MapOptions {
  key?: string;
  /** Max unfinished children. */
  maxConcurrency?: number;
  /** Returns the errors of children in place of their outputs. */
  returnExceptions?: boolean;
}
export interface ChildWaitOptions {
  /** Seconds, after which `WaitTimeout` is thrown. */
  timeoutSeconds?: number;
  key?: string;
  /** Returns the errors of children in place of their outputs. */
  returnExceptions?: boolean;
}
export interface EventWaitOptions {
  /** A pattern, as in subscriptions. */
  match?: object;
  /** Seconds, after which `WaitTimeout` is thrown. */
  timeoutSeconds?: number;
  key?: string;
}
export interface ApprovalOptions {
  /** The content that persons decide about, any JSON value. */
  payload?: unknown;
  /** The JSON Schema of the answer. */
  schema?: object;
  /** The roles that may decide; `tenant-admin` by default. */
  roles?: readonly string[];
  /** If given, only these users decide, whatever their role. */
  users?: readonly string[];
  /** False: the persons who caused the job may decide too. */
  notBy?: boolean;
  /** Number of different persons who must approve. */
  count?: number;
  /** Seconds until it is denied; a day by default. */
  timeoutSeconds?: number;
  /** `fail`: `WaitTimeout` is thrown after the timeout. */
  onTimeout?: "deny" | "fail";
  remindSeconds?: number;
  /** Further roles that may decide from the reminder on. */
  escalateRoles?: readonly string[];
  key?: string;
  /** Its earlier names. */
  was?: readonly string[];
}
/** The result of `env.approve`. */
export interface Decision {
  approved: boolean;
  /** The answer, as `schema` describes it. */
  data: unknown;
  comment: string | null;
  /** The deciders. */
  by: { id: string | null; kind: string; via: string | null; label: string | null }[];
  at: string | null;
}
/** A function, or a call such as `env.wait(…)`. */
export type Branch<T> = (() => T | PromiseLike<T>) | PromiseLike<T>;

/** The calls of a handler that its job's journal records. Each begins once it is awaited. */
export interface Durable {
  /** Calls `fn`, stores its result, and returns it; a re-entered handler gets the stored result. */
  step<T>(name: string, fn: () => T | PromiseLike<T>, options?: StepOptions): Promise<T>;
  /** The idempotency key of the running step: `<job id>:<name>`. */
  readonly stepKey: string;
  /** Creates a child job. Its name in the journal is `key`, by default its worker's id. */
  trigger<Output = unknown>(worker: string, input?: object, options?: ChildOptions): Promise<Child<Output>>;
  /** Creates a child for each input, named `key.0`, `key.1` …, without waiting. */
  triggerMany<Output = unknown>(
    worker: string, inputs: Iterable<object>, options?: ChildOptions,
  ): Promise<Child<Output>[]>;
  /** Creates a child for each item, named `key[0]`, `key[1]` …, waits for all, and returns their outputs. */
  map<Output = unknown>(worker: string, items: Iterable<object>, options?: MapOptions): Promise<Output[]>;
  /** Waits until children have ended, and returns their outputs. Throws `ChildFailed`, `WaitTimeout`. */
  wait<C extends Child>(child: C, options?: ChildWaitOptions): Promise<OutputOf<C>>;
  wait<const C extends readonly Child[]>(children: C, options?: ChildWaitOptions): Promise<OutputsOf<C>>;
  /** Waits until a child has ended, with any outcome, and returns it. */
  waitAny<C extends Child>(children: readonly C[], options?: Omit<ChildWaitOptions, "returnExceptions">): Promise<C>;
  /** Returns the first event of the type since the job's creation that matches and that no other wait has returned. */
  waitEvent(type: string, options?: EventWaitOptions): Promise<Event>;
  /** Asks persons for a decision, which holds in every attempt for the same title, payload and schema. */
  approve(name: string, title: string, options?: ApprovalOptions): Promise<Decision>;
  /** Sleeps; from one second on, without a run. */
  sleep(seconds: number, options?: { key?: string }): Promise<void>;
  /** Runs branches that may wait at the same time. Returns their results. */
  gather<const B extends readonly Branch<unknown>[]>(
    branches: B, options?: { returnExceptions?: boolean },
  ): Promise<{ -readonly [Key in keyof B]: B[Key] extends () => infer R ? Awaited<R> : Awaited<B[Key]> }>;
}

/** The run, for its handler. */
export interface Env extends Durable {
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

export type Level = "info" | "warn" | "error";
export type Handler<Input> = (input: Input, env: Env) => unknown;
