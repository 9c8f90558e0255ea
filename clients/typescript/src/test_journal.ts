import { jsonCopy } from "./call_arguments.js";
import type { Decision } from "./env.js";
import {
  keyOf, payloadHash, type ChildState, type Entry, type JournalStore, type NewChild, type SentWait,
} from "./journal.js";
import { matches } from "./patterns.js";
import { errorOf } from "./run.js";

/** A child's outcome or a step's result: a value, an error, or a function that returns or throws it. */
export type Given = unknown;
/** An event that arrives; only its type is required. */
export type GivenEvent = { type: string; data?: unknown; id?: string; subject?: string | null; source?: string };

/** A decision about an approval; null: nobody decides in time. */
export type GivenDecision = boolean | (Partial<Decision> & { approved: boolean }) | null;

/** A child that a handler created in a test. */
export interface CreatedChild extends NewChild {
  id: string;
}

interface TestEntry extends Entry {
  /** The end of a sleep or a timeout, by the clock of the test. */
  until?: number;
  eventId?: string;
}

interface TestEvent extends Record<string, unknown> {
  id: string;
  type: string;
}

/** Returns a given value. Throws a given error. */
export function valueOf(given: Given, ...args: unknown[]): unknown {
  if (given instanceof Error) throw given;
  return typeof given === "function" ? (given as (...args: unknown[]) => unknown)(...args) : given;
}

/** The journal and the children of one job in memory; its clock skips each wait. */
export class TestJournal implements JournalStore {
  readonly jobId: string;
  readonly attempt: number;
  readonly children: CreatedChild[] = [];
  readonly #given: Readonly<Record<string, Given>>;
  readonly #events: TestEvent[];
  readonly #decisions: Readonly<Record<string, GivenDecision>>;
  /** The ids of the events that have arrived. */
  readonly #arrived = new Set<string>();
  readonly #entries = new Map<string, TestEntry>();
  readonly #states = new Map<string, ChildState & { endNo?: number }>();
  readonly #outputs = new Map<string, unknown>();
  #skippedSeconds = 0;
  #endNo = 0;

  constructor(
    jobId: string, attempt: number, children: Readonly<Record<string, Given>>, events: readonly GivenEvent[],
    approvals: Readonly<Record<string, GivenDecision>> = {},
  ) {
    this.#decisions = approvals;
    this.jobId = jobId;
    this.attempt = attempt;
    this.#given = children;
    this.#events = events.map(eventOf);
  }

  /** The results of the steps by name. */
  get steps(): Record<string, unknown> {
    const done = [...this.#entries.values()].filter(({ kind, state }) => kind === "step" && state === "done");
    return Object.fromEntries(done.map(({ name, value }) => [name, value]));
  }

  get #now(): number {
    return performance.now() / 1000 + this.#skippedSeconds;
  }

  async pause(seconds: number): Promise<void> {
    this.#skippedSeconds += seconds;
  }

  async load(): Promise<Entry[]> {
    for (const entry of this.#entries.values()) {
      if (entry.kind === "sleep" && (entry.until ?? 0) <= this.#now) entry.state = "done";
    }
    return [...this.#entries.values()].map((entry) => {
      return structuredClone({ ...entry, child: this.#states.get(entry.child?.id ?? "") ?? null });
    });
  }

  async writeStep(name: string, state: "began" | "done", value: unknown = null): Promise<void> {
    this.#write({ kind: "step", name, state, value, child: null });
  }

  async createChildren(children: NewChild[]): Promise<ChildState[]> {
    return children.map((child) => {
      const state = { id: newId("job"), workerId: child.workerId, status: "queued", error: null };
      this.#states.set(state.id, state);
      this.children.push({ ...child, id: state.id });
      this.#write({ kind: "child", name: child.name, state: "done", value: null, child: state });
      return { ...state };
    });
  }

  async outputs(jobIds: string[]): Promise<Map<string, unknown>> {
    return new Map(jobIds.map((id) => [id, structuredClone(this.#outputs.get(id))]));
  }

  #write(entry: TestEntry): void {
    const key = keyOf(entry.kind, entry.name);
    // A changed entry is the newest one.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  // Waits ------------------------------------------------------------------------------------------------------------

  async end(waits: SentWait[]): Promise<boolean> {
    for (const { name = "", approval } of waits) {
      if (approval === undefined) continue;
      const payload_hash = await payloadHash(approval);
      const known = this.#entries.get(keyOf("approval", name))?.value as { payload_hash?: string } | undefined;
      if (known?.payload_hash === payload_hash) continue;
      const value = { payload_hash, status: "pending", data: null, comment: null, by: [], at: null };
      this.#write({ kind: "approval", name, state: "waits", value, child: null });
    }
    return waits.map((wait) => this.#isSatisfied(wait)).every((each) => !each);
  }

  /** Returns true if a wait is satisfied or timed out, and records it. Otherwise records that it has begun. */
  #isSatisfied(wait: SentWait): boolean {
    const { name = "", seconds, timeoutSeconds = seconds } = wait;
    const kind = kindOf(wait);
    if (kind === "approval") return this.#isDecided(name);
    const until = timeoutSeconds === undefined ? {} : { until: this.#now + timeoutSeconds };
    const begun: TestEntry = { kind, name, state: "waits", value: null, child: null, ...until };
    const entry = this.#entries.get(keyOf(kind, name)) ?? begun;
    const isNamed = kind !== "wait" || wait.any === true || timeoutSeconds !== undefined;
    const found = kind === "event" ? this.#findEvent(wait, entry) : kind === "wait" && this.#hasEnded(wait, entry);
    if (found) entry.state = "done";
    else if ((entry.until ?? Infinity) <= this.#now) entry.state = kind === "sleep" ? "done" : "timed_out";
    // A wait for the first child has an entry once it has a timeout or a result.
    if (isNamed && (entry.state !== "waits" || entry.until !== undefined || kind === "event")) this.#write(entry);
    return entry.state !== "waits";
  }

  #isDecided(name: string): boolean {
    const entry = this.#entries.get(keyOf("approval", name)) as TestEntry;
    const { status } = entry.value as { status: string };
    if (status !== "pending") entry.state = status === "expired" ? "timed_out" : "done";
    return status !== "pending";
  }

  /** Decides the first approval that has a decision. Throws if none has and nothing else can end the wait. */
  #decide(waits: SentWait[]): boolean {
    for (const { name = "", approval } of waits) {
      if (approval === undefined) continue;
      const given = this.#decisions[name];
      if (given === undefined) {
        if (waits.length > 1) continue;
        const key = JSON.stringify(name);
        throw new Error(`Nobody decides ${key}: give run() approvals: {${key}: true}, false, a decision or null.`);
      }
      const entry = this.#entries.get(keyOf("approval", name)) as TestEntry;
      const decision = typeof given === "boolean" || given === null ? { approved: given === true } : given;
      const status = given === null ? "expired" : decision.approved ? "approved" : "denied";
      if (given === null) this.#skippedSeconds += approval.timeoutSeconds ?? 86_400;
      const at = new Date().toISOString();
      entry.value = { ...(entry.value as object), at, ...jsonCopy(decision) as object, status };
      return true;
    }
    return false;
  }

  #hasEnded({ jobs = [], any = false }: SentWait, entry: TestEntry): boolean {
    const states = jobs.map((id) => this.#states.get(id));
    const ended = states.filter((state) => state?.endNo !== undefined);
    if (!any) return ended.length === jobs.length;
    const [first] = ended.sort((one, other) => (one?.endNo ?? 0) - (other?.endNo ?? 0));
    entry.child = first ?? null;
    return first !== undefined;
  }

  #findEvent({ event }: SentWait, entry: TestEntry): boolean {
    const taken = new Set([...this.#entries.values()].map(({ eventId }) => eventId));
    const free = this.#events.filter(({ id }) => this.#arrived.has(id) && !taken.has(id));
    const found = free.find((each) => isWanted(event, each));
    if (found === undefined) return false;
    entry.value = found;
    entry.eventId = found.id;
    return true;
  }

  /** Lets children end, an event arrive or the time pass, so that a wait is satisfied. Throws if nothing ends it. */
  advance(waits: SentWait[]): void {
    const isAny = waits.length > 1 || waits[0]?.any === true;
    const awaited = new Set(waits.flatMap(({ jobs }) => jobs ?? []));
    const unfinished = this.children.filter(({ id }) => awaited.has(id) && this.#states.get(id)?.endNo === undefined);
    const ending = unfinished.filter((child) => namesOf(child).some((name) => Object.hasOwn(this.#given, name)));
    for (const child of isAny ? ending.slice(0, 1) : ending) this.#end(child);
    if (ending.length > 0 && (isAny || ending.length === unfinished.length)) return;
    if (this.#deliverEvents(waits) || this.#decide(waits)) return;
    const times = waits.map((wait) => this.#secondsLeft(wait)).filter((each) => each !== undefined);
    if (times.length > 0) {
      this.#skippedSeconds += Math.max(0, Math.min(...times)) + 1e-6;
      return;
    }
    const [child] = unfinished.filter((each) => !ending.includes(each));
    const name = JSON.stringify(child?.name ?? waits[0]?.name);
    if (child === undefined) {
      throw new Error(`No event arrives for ${name}: give run() events: [{…}], or set a timeout.`);
    }
    const given = `{${name}: its output}`;
    throw new Error(`Nothing ends the child ${name}: give run() children: ${given}, or the wait a timeout.`);
  }

  #secondsLeft(wait: SentWait): number | undefined {
    const until = this.#entries.get(keyOf(kindOf(wait), wait.name ?? ""))?.until;
    return until === undefined ? (wait.seconds ?? wait.timeoutSeconds) : until - this.#now;
  }

  #deliverEvents(waits: SentWait[]): boolean {
    const wanted = waits.filter(({ event }) => event !== undefined);
    for (const event of this.#events) {
      if (wanted.length === 0 || this.#arrived.has(event.id)) continue;
      this.#arrived.add(event.id);
      if (wanted.some((wait) => isWanted(wait.event, event))) return true;
    }
    return false;
  }

  #end(child: CreatedChild): void {
    const name = namesOf(child).find((each) => Object.hasOwn(this.#given, each)) as string;
    const state = this.#states.get(child.id) as ChildState & { endNo?: number };
    this.#endNo += 1;
    state.endNo = this.#endNo;
    try {
      this.#outputs.set(child.id, jsonCopy(valueOf(this.#given[name], child.input)));
      state.status = "completed";
    } catch (error) {
      state.status = "failed";
      state.error = errorOf(error);
    }
  }
}

function kindOf({ seconds, event, approval }: SentWait): string {
  if (approval !== undefined) return "approval";
  return seconds !== undefined ? "sleep" : event !== undefined ? "event" : "wait";
}

function isWanted(wanted: SentWait["event"], event: TestEvent): boolean {
  return wanted?.type === event.type && (wanted.match === undefined || matches(wanted.match, event));
}

function namesOf({ name, workerId }: CreatedChild): string[] {
  // The children of `map` and `triggerMany` share the name before the number.
  return [name, name.replace(/\[\d+\]$|\.\d+$/, ""), workerId, workerId.replace(/^wkr_/, "")];
}

export function newId(prefix: string): string {
  return `${prefix}_${crypto.randomUUID().replaceAll("-", "")}`;
}

/** Returns the record of an event, with the names of the API. */
function eventOf(given: GivenEvent): TestEvent {
  if (typeof given?.type !== "string") throw new TypeError('an event is an object with a "type"');
  const created_at = new Date().toISOString();
  const empty = { source_id: null, source: "test", subject: null, time: null, data: null, headers: null };
  const record = { id: newId("evt"), ...empty, extensions: {}, created_at, ...given };
  return jsonCopy(record) as TestEvent;
}
