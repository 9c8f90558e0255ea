import { DuplicateName } from "./errors.js";

export interface ChildState {
  id: string;
  workerId: string;
  status: string;
  error: string | null;
}

/** An entry of a job's journal, as its run reads it. */
export interface Entry {
  kind: string;
  name: string;
  state: string;
  value: unknown;
  child: ChildState | null;
}

export interface NewChild {
  name: string;
  workerId: string;
  input: Record<string, unknown>;
  priority?: number;
  detached?: boolean;
}

/** The request for a decision. */
export interface SentApproval {
  title: string;
  payload: unknown;
  schema: object | null;
  timeoutSeconds?: number;
  onTimeout?: "deny" | "fail";
}

/** A wait of a handler: for children, an event, a decision or a time. */
export interface SentWait {
  name?: string;
  jobs?: string[];
  /** Whether the first child to end satisfies it. */
  any?: boolean;
  event?: { type: string; match?: object };
  approval?: SentApproval;
  seconds?: number;
  timeoutSeconds?: number;
}

/** Stores a run's journal, and creates its job's children: over HTTP, or in a test's memory. */
export interface JournalStore {
  readonly jobId: string;
  readonly attempt: number;
  /** Returns all entries, oldest first. */
  load(): Promise<Entry[]>;
  /** Records that a step begins, or its result. Throws `StepError`, `StepInterrupted`. */
  writeStep(name: string, state: "began" | "done", value?: unknown): Promise<void>;
  /** Creates children, all or none. Throws `ChildRefused`. */
  createChildren(children: NewChild[]): Promise<ChildState[]>;
  /** Returns the outputs of completed children by id. */
  outputs(jobIds: string[]): Promise<Map<string, unknown>>;
  /** Ends the run with waits. Returns false if one is satisfied: the journal has the outcome, and the run continues. */
  end(waits: SentWait[]): Promise<boolean>;
  /** Waits a short time within the process. */
  pause(seconds: number): Promise<void>;
}

/** Max characters of a name. */
const MAX_NAME = 200;
export const keyOf = (kind: string, name: string): string => `${kind} ${name}`;

/** A journal's entries for one run: by name, each name used once. */
export class JournalEntries {
  #found = new Map<string, Entry>();
  #last: Entry | undefined;
  readonly #used = new Set<string>();
  readonly #onCaughtUp: () => void;

  /** `onCaughtUp` is called when the run gets the last entry, or writes its first. */
  constructor(entries: Entry[], onCaughtUp: () => void) {
    this.#onCaughtUp = onCaughtUp;
    this.replace(entries);
  }

  /** Replaces the entries; the used names stay. */
  replace(entries: Entry[]): void {
    this.#found = new Map(entries.map((entry) => [keyOf(entry.kind, entry.name), entry]));
    this.#last = entries.at(-1);
  }

  get(kind: string, name: string): Entry | undefined {
    return this.#found.get(keyOf(kind, name));
  }

  /** Returns the entry with the name, or with an earlier name. Throws `DuplicateName`. */
  find(kind: string, name: string, was: readonly string[] = []): Entry | undefined {
    if (typeof was === "string") throw new TypeError("`was` takes a list of earlier names");
    this.#use(kind, name);
    let found = this.get(kind, name);
    for (const earlier of was) {
      if (found === undefined && (found = this.get(kind, earlier)) !== undefined) this.#use(kind, earlier);
    }
    if (found !== undefined && found === this.#last) this.#onCaughtUp();
    return found;
  }

  /** Ends the replay of earlier runs, because the run writes an entry or waits. */
  catchUp(): void {
    this.#onCaughtUp();
  }

  #use(kind: string, name: string): void {
    if (typeof name !== "string" || name.length === 0 || [...name].length > MAX_NAME || /[\0\p{Cs}]/u.test(name)) {
      throw new TypeError(`a name in the journal must be a string of 1 to ${MAX_NAME} characters without NUL`);
    }
    const key = keyOf(kind, name);
    if (this.#used.has(key)) {
      const sentence = `Two calls of this run have the name ${JSON.stringify(name)}`;
      throw new DuplicateName(`${sentence}; give one call another key.`);
    }
    this.#used.add(key);
  }
}

/** Returns the name of a wait for children with these names, if the handler gives none. */
export async function nameOfWait(names: string[], isAny: boolean): Promise<string> {
  return (isAny ? "any of " : "") + (await joinedNames(names));
}

/** Returns the hash of an approval's content: SHA-256 of its canonical JSON (RFC 8785). */
export async function payloadHash({ title, payload, schema }: SentApproval): Promise<string> {
  return sha256(canonical({ title, payload, schema }));
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${entries.map(([name, each]) => `${JSON.stringify(name)}:${canonical(each)}`).join(",")}}`;
}

/** Joins names, or returns their hash if they are too long. */
export async function joinedNames(names: string[]): Promise<string> {
  const text = names.join(", ");
  const { length } = [...text];
  if (length > 0 && length <= MAX_NAME / 2) return text;
  return sha256(text);
}

async function sha256(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return `sha256:${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
