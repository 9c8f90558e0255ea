// Validates the arguments of a handler's calls.
import { Child } from "./children.js";
import { StepError, WaitTimeout } from "./errors.js";
import type { Entry, NewChild } from "./journal.js";

/** A wait for children that the journal names. */
export interface WaitEntry {
  name: string;
  found: Entry | undefined;
  /** The child that this run has chosen as the first to end. */
  first: Child | undefined;
}

/** 366 days. */
const MAX_WAIT_SECONDS = 31_622_400;

export const quoted = (name: string): string => JSON.stringify(name);
export const idsOf = (children: readonly Child[]): string[] => [...new Set(children.map(({ id }) => id))];
export const timeoutOf = (timeoutSeconds?: number): { timeoutSeconds?: number } =>
  timeoutSeconds === undefined ? {} : { timeoutSeconds };

export function idOf(worker: string): string {
  if (typeof worker !== "string") throw new TypeError("a worker is named by its id or its slug");
  return worker.startsWith("wkr_") ? worker : `wkr_${worker}`;
}

export function newChild(name: string, workerId: string, input: object, priority?: number, detached = false): NewChild {
  // A copy, because a repeated request must be the same.
  const copy = jsonCopy(input) as Record<string, unknown>;
  return { name, workerId, input: copy, detached, ...(priority === undefined ? {} : { priority }) };
}

export function childrenOf(children: readonly Child[]): readonly Child[] {
  if (!Array.isArray(children) || !children.every((each) => each instanceof Child)) {
    throw new TypeError("a wait takes the children that env.trigger returned; await env.trigger first");
  }
  return children;
}

export function checkSeconds(name: string, seconds: number): void {
  if (typeof seconds !== "number" || !(seconds >= 0 && seconds <= MAX_WAIT_SECONDS)) {
    throw new TypeError(`${name} must be a number of seconds from 0 to ${MAX_WAIT_SECONDS}`);
  }
}

export function timeoutError(sentence: string, timeoutSeconds: number | undefined): WaitTimeout {
  const when = timeoutSeconds === undefined ? "in time" : `within ${timeoutSeconds} s`;
  return new WaitTimeout(`${sentence} ${when}.`);
}

/** Returns a value as JSON stores it. */
export const jsonCopy = (value: unknown): unknown => JSON.parse(JSON.stringify(value) ?? "null");

/** Returns the result of a step as JSON stores it. Throws `StepError`. */
export function jsonOf(name: string, value: unknown): unknown {
  try {
    return jsonCopy(value);
  } catch (error) {
    const sentence = `JSON cannot represent the return value of step ${quoted(name)}: ${String(error)}`;
    throw new StepError(sentence, { cause: error });
  }
}

export const lateWait = ({ name }: WaitEntry, timeoutSeconds?: number): WaitTimeout =>
  timeoutError(`The wait ${quoted(name)} did not end`, timeoutSeconds);
