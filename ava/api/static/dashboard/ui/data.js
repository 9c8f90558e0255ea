// Hooks for components: API records, polled while the page is visible, the session and the clock.

import { get, Unreachable, url } from "../api.js";
import { feed } from "../freshness.js";
import { session } from "../session.js";
import { useCallback, useEffect, useRef, useState } from "./preact.js";

/** Seconds after which a call that has not ended counts as failed, as in a network that was cut. */
const LATE_SECONDS = 8;
/** Seconds after which a single read that failed is tried again. */
const RETRY_SECONDS = 5;

/**
 * Run `read` now, and every `every` seconds while the page is visible, until `signal` aborts; null:
 * once, and again only after a failure. While it fails, a banner says so and how old the page is.
 * `failed` is told of each error. Returns the function that reads now.
 * @param {AbortSignal} signal
 * @param {number | null} every
 * @param {() => Promise<void>} read
 * @param {(error: any) => void} [failed]
 */
function repeatRead(signal, every, read, failed = () => {}) {
  const state = feed(signal);
  let timer;
  let newest = 0;
  let isFailing = false;
  const turn = async () => {
    clearTimeout(timer);
    const own = ++newest;
    // Of several calls that are under way only the newest may fail the page.
    const fail = (error) => {
      if (own !== newest || signal.aborted) return;
      isFailing = true;
      state.bad(error);
      failed(error);
    };
    if (!document.hidden) {
      const late = `The API has not responded for ${LATE_SECONDS} s.`;
      const alarm = setTimeout(() => fail(new Unreachable(late)), LATE_SECONDS * 1000);
      try {
        await read();
        isFailing = false;
        if (!signal.aborted) state.good();
      } catch (error) {
        // The API answers 401 to a session that has ended: the page becomes the form to sign in.
        if (error.status !== 401 && error.name !== "AbortError") fail(error);
      } finally {
        clearTimeout(alarm);
      }
    }
    if (signal.aborted || own !== newest) return;
    const seconds = isFailing ? 2 * (every ?? RETRY_SECONDS) : every;
    if (seconds !== null) timer = setTimeout(turn, seconds * 1000);
  };
  const wake = () => document.hidden || (every === null && !isFailing) || turn();
  document.addEventListener("visibilitychange", wake, { signal });
  window.addEventListener("online", wake, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
  return turn;
}

/**
 * Read a path of the API: once, or again every `every` seconds. The last data stays while it is
 * read again, and while another `query` of the same path is read. A null path, or `skip`, reads
 * nothing.
 * @param {string | null} path
 * @param {{ query?: Record<string, any>, every?: number | null, isRepeated?: boolean,
 *   skip?: boolean }} [options]
 * @returns {{ data: any, pagination: any, error: any, isLoading: boolean,
 *   reload: () => Promise<void> }}
 */
export function useApi(path, { query, every = null, isRepeated = false, skip = false } = {}) {
  const address = path && !skip ? url(path, query) : null;
  const [state, setState] = useState({ path, address, answer: null, error: null });
  const turn = useRef(async () => {});
  useEffect(() => {
    turn.current = async () => {};
    if (address === null) return undefined;
    const leaving = new AbortController();
    const { signal } = leaving;
    const read = async () => {
      const answer = await get(address, { signal, isRepeated });
      if (!signal.aborted) setState({ path, address, answer, error: null });
    };
    const fail = (error) =>
      setState((old) => ({ path, address, answer: old.path === path ? old.answer : null, error }));
    turn.current = repeatRead(signal, every, read, fail);
    return () => leaving.abort();
  }, [address, every]);
  const reload = useCallback(() => turn.current(), []);
  // Do not show another record's data as this one's.
  const answer = state.path === path ? state.answer : null;
  const isCurrent = state.address === address;
  return {
    data: answer?.data ?? null,
    pagination: answer?.pagination ?? null,
    error: isCurrent ? state.error : null,
    isLoading: address !== null && !(isCurrent && (state.answer || state.error)),
    reload,
  };
}

/**
 * Return what `read(signal)` returned or threw last: it is called at first and whenever one of
 * `keys` changes, after `pause` milliseconds without a further change.
 * @param {(signal: AbortSignal) => Promise<any>} read
 * @param {any[]} keys
 * @returns {{ value: any, error: any }}
 */
export function useRead(read, keys, pause = 0) {
  const [found, setFound] = useState({ value: null, error: null });
  useEffect(() => {
    const leaving = new AbortController();
    const { signal } = leaving;
    const take = (value) => signal.aborted || setFound({ value, error: null });
    const fail = (error) => signal.aborted || setFound({ value: null, error });
    const timer = setTimeout(() => read(signal).then(take, fail), pause);
    return () => {
      clearTimeout(timer);
      leaving.abort();
    };
  }, keys);
  return found;
}

/**
 * Return whose session it is: `{ user, role, tenant, isOperator }`. A change of it draws the page
 * anew.
 */
export const useSession = () => session.get();

/** Return whether the role may trigger, cancel and retry; the API refuses it to others. */
export const mayWrite = () => session.mayWrite;

const clocks = new Set();
setInterval(() => {
  if (!document.hidden) for (const tick of clocks) tick();
}, 1000);

/**
 * Return what `compute` returns, and draw again when that has changed with the time: it is computed
 * every second.
 * @template {string | number} T
 * @param {() => T} compute
 * @returns {T}
 */
export function useClock(compute) {
  const [, setShown] = useState(compute());
  const latest = useRef(compute);
  latest.current = compute;
  useEffect(() => {
    const tick = () => setShown(latest.current());
    clocks.add(tick);
    return () => clocks.delete(tick);
  }, []);
  return compute();
}
