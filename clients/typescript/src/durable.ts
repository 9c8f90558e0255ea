import { describe, Gather, Part } from "./branches.js";
import {
  checkSeconds, childrenOf, idOf, idsOf, jsonCopy, jsonOf, lateWait, newChild, quoted, timeoutError, timeoutOf, type WaitEntry,
} from "./call_arguments.js";
import { Child } from "./children.js";
import type {
  ApprovalOptions, Branch, ChildOptions, ChildWaitOptions, Decision, Durable, EventWaitOptions, MapOptions, StepOptions,
} from "./env.js";
import { CallNotAwaited, StepError, StepInterrupted, Suspended, SuspensionSwallowed } from "./errors.js";
import type { Event } from "./methods.js";
import {
  joinedNames, JournalEntries, nameOfWait, payloadHash, type Entry, type JournalStore, type SentWait,
} from "./journal.js";
import { LazyCall } from "./lazy_call.js";
import type { Scopes } from "./scopes.js";
import { fromWire } from "./wire.js";

/** Shorter sleeps stay in the process. */
const MIN_SLEEP_SECONDS = 1;
/** Max children per request. */
const CHILDREN_PER_CALL = 100;

/** The value of an approval in the journal, with the names of the API. */
interface JournalledApproval {
  payload_hash: string;
  status: string;
  data: unknown;
  comment: string | null;
  by: Decision["by"];
  at: string | null;
}

function decisionOf({ status, data, comment, by, at }: JournalledApproval): Decision {
  const deciders = by.map(({ id, kind, via, label }) => ({ id, kind, via, label }));
  return { approved: status === "approved", data, comment, by: deciders, at: status === "expired" ? null : at };
}

/** The calls of one entry of a handler. */
export class DurableCalls implements Durable {
  readonly #store: JournalStore;
  readonly #entries: JournalEntries;
  readonly #scopes: Scopes;
  readonly #children = new Map<string, Child>();
  readonly #waits = new Map<string, WaitEntry>();
  readonly #root = new Part();
  /** Calls that were made but not awaited. */
  readonly #unawaited = new Map<LazyCall<unknown>, string>();
  /** Whether the handler has been left; code that it did not await may still make calls. */
  #hasLeft = false;
  /** Whether the service has ended the run with a wait. */
  #hasEnded = false;

  constructor(store: JournalStore, entries: Entry[], scopes: Scopes, onCaughtUp: () => void = () => undefined) {
    this.#store = store;
    this.#scopes = scopes;
    this.#entries = new JournalEntries(entries, onCaughtUp);
    this.#updateChildren(entries);
  }

  /** Calls a handler. Returns its result, or null if it waits. Throws its error, or `SuspensionSwallowed`. */
  async enter(handler: () => unknown): Promise<{ output: unknown } | null> {
    let output: unknown;
    try {
      output = await this.#scopes.run({ owner: this, part: this.#root, step: null }, async () => handler());
    } catch (error) {
      if (this.#root.waits === null) throw this.#explained(error);
      if (error instanceof Suspended) return null;
      throw new SuspensionSwallowed({ cause: error });
    } finally {
      this.#hasLeft = true;
    }
    if (this.#root.waits !== null) throw new SuspensionSwallowed();
    const [call] = this.#unawaited.values();
    if (call !== undefined) throw new CallNotAwaited(`${call} did nothing: write await before it`);
    return { output };
  }

  /** Ends the run once `enter` has returned null. Returns null, or the journal if the handler is entered again. */
  async suspend(): Promise<Entry[] | null> {
    if (this.#hasEnded) return null;
    if (!this.#root.isRestarted && (await this.#store.end(this.waits))) return null;
    return this.#store.load();
  }

  get waits(): SentWait[] {
    return this.#root.waits ?? [];
  }

  // Steps ------------------------------------------------------------------------------------------------------------

  readonly step = <T>(name: string, fn: () => T | PromiseLike<T>, options: StepOptions = {}): Promise<T> =>
    this.#call(`env.step(${quoted(name)})`, (part) => this.#step(part, name, fn, options));

  async #step<T>(part: Part, name: string, fn: () => T | PromiseLike<T>, options: StepOptions): Promise<T> {
    const { key, was, once = "at_least" } = options;
    if (once !== "at_least" && once !== "at_most") throw new TypeError('once must be "at_least" or "at_most"');
    const whole = key === undefined ? name : `${name}/${key}`;
    const found = this.#entries.find("step", whole, was);
    if (found?.state === "done") return found.value as T;
    if (found !== undefined) {
      throw new StepInterrupted(`The step ${quoted(whole)} had begun in an earlier run; check whether it took effect.`);
    }
    if (once === "at_most") await this.#writeStep(whole, "began");
    const value = await this.#scopes.run({ owner: this, part, step: whole }, async () => this.execute(whole, name, fn));
    const result = jsonOf(whole, value);
    await this.#writeStep(whole, "done", result);
    return result as T;
  }

  /** Calls the function of a step; tests replace it. */
  protected execute(_whole: string, _name: string, fn: () => unknown): unknown {
    return fn();
  }

  async #writeStep(name: string, state: "began" | "done", value?: unknown): Promise<void> {
    this.#entries.catchUp();
    await this.#store.writeStep(name, state, value);
  }

  get stepKey(): string {
    const { step } = this.#scope;
    if (step === null) throw new StepError("env.stepKey is for the function of a step: call env.step(name, function)");
    return `${this.#store.jobId}:${step}`;
  }

  // Children ---------------------------------------------------------------------------------------------------------

  readonly trigger = <Output = unknown>(
    worker: string, input: object = {}, options: ChildOptions = {},
  ): Promise<Child<Output>> =>
    this.#call(`env.trigger(${quoted(worker)})`, async () => {
      const workerId = idOf(worker);
      const was = options.was ?? [];
      const [child] = await this.#make([{ name: options.key ?? workerId, input, was }], workerId, options);
      return child as Child<Output>;
    });

  readonly triggerMany = <Output = unknown>(
    worker: string, inputs: Iterable<object>, options: ChildOptions = {},
  ): Promise<Child<Output>[]> =>
    this.#call(`env.triggerMany(${quoted(worker)})`, async () => {
      const workerId = idOf(worker);
      const base = options.key ?? workerId;
      const wanted = Array.from(inputs, (input, n) => {
        return { name: `${base}.${n}`, input, was: (options.was ?? []).map((earlier) => `${earlier}.${n}`) };
      });
      return (await this.#make(wanted, workerId, options)) as Child<Output>[];
    });

  readonly map = <Output = unknown>(
    worker: string, items: Iterable<object>, options: MapOptions = {},
  ): Promise<Output[]> =>
    this.#call(`env.map(${quoted(worker)})`, async (part) => {
      part.beginWait();
      const { key, maxConcurrency = Number.POSITIVE_INFINITY, returnExceptions = false } = options;
      if (!(maxConcurrency >= 1)) throw new TypeError("maxConcurrency must be a number from 1");
      const workerId = idOf(worker);
      const wanted = Array.from(items, (input, n) => ({ name: `${key ?? workerId}[${n}]`, input, was: [] }));
      const children = (await this.#make(wanted, workerId, {}, maxConcurrency)) as Child<Output>[];
      const unfinished = children.filter((child) => child.isUnfinished).map(({ id }) => id);
      const hasAll = children.length === wanted.length;
      if (unfinished.length > 0) this.#suspend(part, { jobs: unfinished, ...(hasAll ? {} : { any: true }) });
      return (await this.#outputs(children, returnExceptions)) as Output[];
    });

  /** Returns the children with the names; creates missing ones while fewer than `maxUnfinished` are unfinished. */
  async #make(
    wanted: { name: string; input: object; was: readonly string[] }[],
    workerId: string,
    { priority, detached }: ChildOptions,
    maxUnfinished = Number.POSITIVE_INFINITY,
  ): Promise<Child[]> {
    const found = wanted.map(({ name, was }) => this.#child(this.#entries.find("child", name, was)));
    const unfinished = found.filter((child) => child?.isUnfinished === true).length;
    const missing = wanted
      .map(({ name, input }, n) => ({ n, new: newChild(name, workerId, input, priority, detached) }))
      .filter(({ n }) => found[n] === undefined)
      .slice(0, Math.max(0, maxUnfinished - unfinished));
    for (let first = 0; first < missing.length; first += CHILDREN_PER_CALL) {
      const batch = missing.slice(first, first + CHILDREN_PER_CALL);
      this.#entries.catchUp();
      const states = await this.#store.createChildren(batch.map((each) => each.new));
      for (const [index, state] of states.entries()) {
        const { n, new: made } = batch[index] as (typeof batch)[number];
        found[n] = new Child(made.name, state);
        this.#children.set(state.id, found[n]);
      }
    }
    return found.filter((child) => child !== undefined);
  }

  #child(entry: Entry | undefined): Child | undefined {
    return this.#children.get(entry?.child?.id ?? "");
  }

  #updateChildren(entries: Entry[]): void {
    for (const { kind, name, child } of entries) {
      if (kind !== "child" || child === null) continue;
      const known = this.#children.get(child.id);
      if (known === undefined) this.#children.set(child.id, new Child(name, child));
      else known.update(child);
    }
  }

  async #outputs(children: readonly Child[], returnExceptions: boolean): Promise<unknown[]> {
    for (const { failure } of children) if (failure !== null && !returnExceptions) throw failure;
    const missing = children.filter((child) => !child.isLoaded);
    if (missing.length > 0) {
      const outputs = await this.#store.outputs([...new Set(missing.map(({ id }) => id))]);
      for (const child of missing) child.setOutput(outputs.get(child.id));
    }
    return children.map((child) => child.failure ?? child.output);
  }

  // Waits ------------------------------------------------------------------------------------------------------------

  readonly wait = ((awaited: Child | readonly Child[], options: ChildWaitOptions = {}) =>
    this.#call("env.wait(…)", async (part) => {
      const outputs = await this.#waitForAll(part, childrenOf(awaited instanceof Child ? [awaited] : awaited), options);
      return awaited instanceof Child ? outputs[0] : outputs;
    })) as Durable["wait"];

  async #waitForAll(part: Part, children: readonly Child[], options: ChildWaitOptions): Promise<unknown[]> {
    const { timeoutSeconds, key, returnExceptions = false } = options;
    part.beginWait();
    const isNamed = timeoutSeconds !== undefined || key !== undefined;
    const entry = isNamed ? await this.#waitEntry(children, options, false) : null;
    if (entry?.found?.state === "timed_out") throw lateWait(entry, timeoutSeconds);
    const named = entry === null ? {} : { name: entry.name, ...timeoutOf(timeoutSeconds) };
    const unfinished = children.filter((child) => child.isUnfinished).map(({ id }) => id);
    if (unfinished.length > 0) this.#suspend(part, { ...named, jobs: [...new Set(unfinished)] });
    if (entry?.found?.state === "waits") await this.#decide({ ...named, jobs: idsOf(children) });
    return this.#outputs(children, returnExceptions);
  }

  readonly waitAny = <C extends Child>(
    children: readonly C[], options: Omit<ChildWaitOptions, "returnExceptions"> = {},
  ): Promise<C> =>
    this.#call("env.waitAny(…)", async (part) => {
      part.beginWait();
      if (childrenOf(children).length === 0) throw new TypeError("env.waitAny needs a child");
      const entry = await this.#waitEntry(children, options, true);
      const first = (entry.first ??= await this.#first(part, children, entry, options));
      await this.#outputs([first], true);
      return first as C;
    });

  async #first(part: Part, children: readonly Child[], entry: WaitEntry, options: ChildWaitOptions): Promise<Child> {
    const { timeoutSeconds } = options;
    const known = this.#child(entry.found);
    if (known !== undefined) return known;
    if (entry.found?.state === "timed_out") throw lateWait(entry, timeoutSeconds);
    const wait = { name: entry.name, jobs: idsOf(children), any: true, ...timeoutOf(timeoutSeconds) };
    const ended = children.filter((child) => !child.isUnfinished);
    if (ended[0] === undefined) this.#suspend(part, wait);
    // The service knows which one ended first.
    await this.#decide(wait);
    return this.#child(this.#entries.get("wait", entry.name)) ?? ended[0];
  }

  async #waitEntry(children: readonly Child[], options: ChildWaitOptions, isAny: boolean): Promise<WaitEntry> {
    const { timeoutSeconds, key } = options;
    if (timeoutSeconds !== undefined) checkSeconds("timeoutSeconds", timeoutSeconds);
    const name = key ?? (await nameOfWait(children.map((child) => child.name), isAny));
    // Without a timeout, the same children may be awaited again, with the same first child.
    const isCached = timeoutSeconds === undefined && key === undefined;
    const known = isCached ? this.#waits.get(name) : undefined;
    if (known !== undefined) return known;
    const entry = { name, found: this.#entries.find("wait", name), first: undefined };
    if (isCached) this.#waits.set(name, entry);
    return entry;
  }

  readonly waitEvent = (type: string, options: EventWaitOptions = {}): Promise<Event> =>
    this.#call(`env.waitEvent(${quoted(type)})`, async (part) => {
      part.beginWait();
      const { match, timeoutSeconds, key } = options;
      if (timeoutSeconds !== undefined) checkSeconds("timeoutSeconds", timeoutSeconds);
      const name = key ?? type;
      const found = this.#entries.find("event", name);
      if (found?.state === "done") return fromWire<Event>(found.value);
      if (found?.state === "timed_out") throw timeoutError(`The event ${quoted(name)} did not arrive`, timeoutSeconds);
      const event = { type, ...(match === undefined ? {} : { match }) };
      return this.#suspend(part, { name, event, ...timeoutOf(timeoutSeconds) });
    });

  readonly approve = (name: string, title: string, options: ApprovalOptions = {}): Promise<Decision> =>
    this.#call(`env.approve(${quoted(name)})`, async (part) => {
      part.beginWait();
      const { key, was, payload, schema = null, ...rest } = options;
      const approval = { title, payload: jsonCopy(payload), schema: jsonCopy(schema) as object | null, ...rest };
      const found = this.#entries.find("approval", key === undefined ? name : `${name}/${key}`, was);
      const wait = { name: found?.name ?? (key === undefined ? name : `${name}/${key}`), approval };
      let value = found?.value as JournalledApproval | undefined;
      if (value?.payload_hash !== (await payloadHash(approval)) || value.status === "pending") {
        return this.#suspend(part, wait);
      }
      if (found?.state === "waits") {
        await this.#decide(wait);
        value = this.#entries.get("approval", wait.name)?.value as JournalledApproval;
      }
      if (value.status === "expired" && rest.onTimeout === "fail") {
        throw timeoutError(`The approval ${quoted(wait.name)} was not decided`, rest.timeoutSeconds);
      }
      return decisionOf(value);
    });

  readonly sleep = (seconds: number, { key }: { key?: string } = {}): Promise<void> =>
    this.#call(`env.sleep(${seconds})`, async (part) => {
      part.beginWait();
      checkSeconds("seconds", seconds);
      if (seconds < MIN_SLEEP_SECONDS) return this.#store.pause(seconds);
      const name = key ?? "sleep";
      if (this.#entries.find("sleep", name)?.state !== "done") this.#suspend(part, { name, seconds });
    });

  #suspend(part: Part, wait: SentWait): never {
    if (part === this.#root) this.#entries.catchUp();
    return part.suspend([wait]);
  }

  /** Lets the service record the outcome of a wait that is satisfied, so that later runs get the same one. */
  async #decide(wait: SentWait): Promise<void> {
    this.#entries.catchUp();
    if (await this.#store.end([wait])) {
      this.#hasEnded = true;
      this.#root.waits = [wait];
      throw new Suspended(describe([wait]));
    }
    const entries = await this.#store.load();
    this.#entries.replace(entries);
    this.#updateChildren(entries);
  }

  // Branches ---------------------------------------------------------------------------------------------------------

  readonly gather = ((branches: readonly Branch<unknown>[], { returnExceptions = false } = {}) => {
    // A promise may be rejected before the gather awaits it, which would end the process.
    for (const each of branches) if (each instanceof Promise) each.catch(() => undefined);
    return this.#call("env.gather(…)", (part) => this.#gather(part, [...branches], returnExceptions));
  }) as Durable["gather"];

  async #gather(part: Part, branches: Branch<unknown>[], returnExceptions: boolean): Promise<unknown[]> {
    const { gather, left } = await this.#beginGather(part, branches.length);
    const results = branches.map((branch, n) => this.#enterBranch(gather.branches[n] as Part, branch));
    const ends = await Promise.allSettled(results);
    // A promise that began before the gather has suspended the part itself.
    part.check();
    for (const [n, end] of ends.entries()) {
      const isWaiting = gather.branches[n]?.waits !== null;
      const isLeft = end.status === "rejected" && end.reason instanceof Suspended;
      if (isWaiting && !isLeft) throw new SuspensionSwallowed();
      if (end.status === "fulfilled" || isWaiting || returnExceptions) continue;
      if (JSON.stringify(gather.left) !== JSON.stringify(left)) await this.#writeLeft(gather.all);
      throw end.reason;
    }
    const waiting = gather.branches.filter(({ waits }) => waits !== null);
    if (waiting.length > 0) await this.#suspendGather(part, gather, waiting, left);
    return ends.map((end) => (end.status === "fulfilled" ? end.value : end.reason));
  }

  async #suspendGather(part: Part, gather: Gather, waiting: Part[], left: Record<string, number>): Promise<never> {
    part.inner = gather;
    part.isRestarted = waiting.some(({ isRestarted }) => isRestarted);
    if (Object.keys(left).length > 0 && part.leftAt === null) {
      // The journal stores no errors of steps, and this one did not recur: the branches may continue.
      await this.#writeStep(this.#nameOf(gather.name, gather.version), "done", {});
      part.isRestarted = true;
    }
    if (part === this.#root) this.#entries.catchUp();
    return part.suspend(waiting.flatMap(({ waits }) => waits ?? []));
  }

  /** Begins a gather. Returns it, and the waits where an earlier run abandoned branches. */
  async #beginGather(part: Part, count: number): Promise<{ gather: Gather; left: Record<string, number> }> {
    part.gathers += 1;
    const name = await joinedNames([`${part.prefix}gather ${part.gathers}`]);
    let left: Record<string, number> = {};
    let version = 1;
    for (let found; (found = this.#entries.find("step", this.#nameOf(name, version))) !== undefined; version += 1) {
      left = found.value as Record<string, number>;
    }
    const parts = Array.from({ length: count }, (_, n) => new Part(`${name}.${n} `, left[n] ?? null));
    return { gather: new Gather(name, version, parts), left };
  }

  /** Returns the name of an entry about abandoned branches. A recorded value stays, so each change is a new entry. */
  #nameOf(gather: string, version: number): string {
    return `${gather}, attempt ${this.#store.attempt}, ${version}`;
  }

  async #writeLeft(gathers: Gather[]): Promise<void> {
    for (const each of gathers) await this.#writeStep(this.#nameOf(each.name, each.version), "done", each.left);
  }

  #enterBranch(part: Part, branch: Branch<unknown>): Promise<unknown> {
    return this.#scopes.run({ owner: this, part, step: null }, async () => {
      return typeof branch === "function" ? branch() : branch instanceof LazyCall ? branch.begin(part) : branch;
    });
  }

  // Calls ------------------------------------------------------------------------------------------------------------

  get #scope(): { part: Part; step: string | null } {
    const scope = this.#scopes.getStore();
    return scope?.owner === this ? scope : { part: this.#root, step: null };
  }

  #call<T>(text: string, act: (part: Part) => Promise<T>): LazyCall<T> {
    const { part: own, step } = this.#scope;
    const call: LazyCall<T> = new LazyCall(own, async (part) => {
      this.#unawaited.delete(call);
      // An error that nobody awaits would end the process.
      if (this.#hasLeft) return new Promise(() => undefined);
      if (step !== null) {
        throw new StepError(`The step ${quoted(step)} calls the journal; it contains no other step, child or wait.`);
      }
      this.#root.check();
      part.check();
      part.active += 1;
      try {
        return await act(part);
      } finally {
        part.active -= 1;
      }
    });
    this.#unawaited.set(call, text);
    return call;
  }

  /** Returns a handler's error with the first unawaited call, because it may be the cause. */
  #explained(error: unknown): unknown {
    const [call] = this.#unawaited.values();
    const isOpen = call !== undefined && error instanceof Error && !("cause" in error);
    if (isOpen) error.cause = new CallNotAwaited(`${call} was not awaited, so it did nothing`);
    return error;
  }
}
