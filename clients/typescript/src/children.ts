import { ChildFailed } from "./errors.js";
import type { ChildState } from "./journal.js";

/** A job that a handler created. */
export class Child<Output = unknown> {
  readonly id: string;
  readonly workerId: string;
  /** Its name in the journal. */
  readonly name: string;
  #state: ChildState;
  #output: { value: Output | null } | null = null;

  constructor(name: string, state: ChildState) {
    this.name = name;
    this.id = state.id;
    this.workerId = state.workerId;
    this.#state = state;
  }

  /** The status, as of the run's start or its last wait for it. */
  get status(): string {
    return this.#state.status;
  }

  /** Why it failed, or why the system cancelled it. */
  get error(): string | null {
    return this.#state.error;
  }

  /** The output, once `env.wait` or `env.waitAny` has returned it; null before, and unless it has completed. */
  get output(): Output | null {
    return this.#output?.value ?? null;
  }

  get isUnfinished(): boolean {
    return this.status === "queued" || this.status === "running";
  }

  /** The error that a wait for it throws; null if it has completed or is unfinished. */
  get failure(): ChildFailed | null {
    if (this.isUnfinished || this.status === "completed") return null;
    return new ChildFailed(`${this.workerId} (${this.id}): ${this.error ?? this.status}`, this);
  }

  toJSON(): object {
    return { id: this.id, worker_id: this.workerId, status: this.status, error: this.error };
  }

  /** @internal */
  get isLoaded(): boolean {
    return this.status !== "completed" || this.#output !== null;
  }

  /** @internal */
  update(state: ChildState): void {
    this.#state = state;
  }

  /** @internal */
  setOutput(value: unknown): void {
    this.#output = { value: (value ?? null) as Output | null };
  }
}

export type OutputOf<C> = C extends Child<infer Output> ? Output : never;
export type OutputsOf<C extends readonly Child[]> = { -readonly [Key in keyof C]: OutputOf<C[Key]> };
