import type { Part } from "./branches.js";

/** What a piece of a handler's code belongs to. */
export interface Scope {
  /** The run's calls. */
  readonly owner: object;
  readonly part: Part;
  /** The step whose function executes it; null outside of steps. */
  readonly step: string | null;
}

/** Node's `AsyncLocalStorage`, which Deno and Bun have too. */
export interface Scopes {
  run<T>(scope: Scope, act: () => T): T;
  getStore(): Scope | undefined;
}

/** Imported when a handler may run, because browsers, which only call the API, do not have it. */
export async function makeScopes(): Promise<Scopes> {
  const module = "node:async_hooks";
  const { AsyncLocalStorage } = (await import(module)) as { AsyncLocalStorage: new () => Scopes };
  return new AsyncLocalStorage();
}
