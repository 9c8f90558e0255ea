import { Suspended, WaitInTask } from "./errors.js";
import type { SentWait } from "./journal.js";

/** A part of a handler that waits independently: the handler itself, or a branch of `env.gather`. */
export class Part {
  /** Its waits once it is suspended; null before. */
  waits: SentWait[] | null = null;
  /** Whether the handler is entered again immediately. */
  isRestarted = false;
  /** Calls under way. */
  active = 0;
  /** So far: gathers, and other waits. */
  gathers = 0;
  waitNo = 0;
  /** The gather that it waits in. */
  inner: Gather | null = null;

  constructor(
    /** Prefix of its gathers' names in the journal. */
    readonly prefix = "",
    /** The wait where an earlier run of the attempt abandoned it. */
    readonly leftAt: number | null = null,
  ) {}

  /** Throws `Suspended` again if it waits. */
  check(): void {
    if (this.waits !== null) throw new Suspended(describe(this.waits));
  }

  /** Counts a wait. Throws `Suspended` if an earlier run abandoned the branch at it. */
  beginWait(): void {
    this.waitNo += 1;
    if (this.leftAt !== null && this.waitNo >= this.leftAt) {
      this.isRestarted = true;
      this.suspend([]);
    }
  }

  suspend(waits: SentWait[]): never {
    if (this.active > 1) {
      throw new WaitInTask(
        "A wait ends the run while other calls of the handler work: make branches that wait with env.gather.",
      );
    }
    this.waits = waits;
    throw new Suspended(describe(waits));
  }
}

/**
 * The branches of one `env.gather`. If one throws, the waiting ones are abandoned, in later runs of the attempt too:
 * otherwise a branch would continue although the handler has handled the error.
 */
export class Gather {
  constructor(
    readonly name: string,
    /** The number of the next journal entry about abandoned branches. */
    readonly version: number,
    readonly branches: Part[],
  ) {}

  /** The indices of the waiting branches, each with the number of its wait. */
  get left(): Record<string, number> {
    const waiting = this.branches.map((part, n): [Part, number] => [part, n]).filter(([part]) => part.waits !== null);
    return Object.fromEntries(waiting.map(([part, n]) => [n, part.waitNo + (part.inner === null ? 0 : 1)]));
  }

  /** The gathers whose abandoned branches are recorded: this one, and those inside its waiting branches. */
  get all(): Gather[] {
    const inner = this.branches.flatMap(({ waits, inner }) => (waits === null || inner === null ? [] : inner.all));
    return [this, ...inner];
  }
}

/** Returns waits of which one must be satisfied as the log shows them: `one of 2 jobs, at most 60 s`. */
export function describe(waits: SentWait[]): string {
  const jobs = new Set(waits.flatMap((wait) => wait.jobs ?? [])).size;
  const events = waits.filter(({ event }) => event !== undefined).length;
  const times = waits.flatMap(({ seconds, timeoutSeconds }) => [seconds, timeoutSeconds]);
  const seconds = Math.min(...times.filter((each) => each !== undefined));
  const isAny = waits.length > 1 || waits[0]?.any === true;
  const parts: string[] = [];
  if (jobs > 0) parts.push(jobs === 1 ? "1 job" : `${isAny ? "one of " : ""}${jobs} jobs`);
  if (events > 0) parts.push(events === 1 ? "an event" : `one of ${events} events`);
  const decisions = waits.filter(({ approval }) => approval !== undefined).length;
  if (decisions > 0) parts.push(decisions === 1 ? "a decision" : `one of ${decisions} decisions`);
  if (Number.isFinite(seconds)) parts.push(`${parts.length > 0 ? "at most " : ""}${seconds} s`);
  return parts.join(", ");
}
