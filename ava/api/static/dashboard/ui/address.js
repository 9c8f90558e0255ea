// The address: `#/jobs/job_…?tab=log`. Its query stores the state that a copied link restores.

import { changeQuery, parseAddress } from "./hash.js";
import { useCallback, useEffect, useReducer } from "./preact.js";

const CHANGED = "address-changed";

/**
 * Return the current address with some parameters changed, for a link.
 * @param {Parameters<typeof changeQuery>[1]} changes
 */
export const addressWith = (changes) => changeQuery(location.hash, changes);

/**
 * Return the query of the address, and the function that changes it. `isReplaced` adds no entry to
 * the history: for a field that changes with each key.
 * @returns {[URLSearchParams, (changes: Parameters<typeof changeQuery>[1],
 *   options?: { isReplaced?: boolean }) => void]}
 */
export function useQuery() {
  const [, redraw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    addEventListener("hashchange", redraw);
    addEventListener(CHANGED, redraw);
    return () => {
      removeEventListener("hashchange", redraw);
      removeEventListener(CHANGED, redraw);
    };
  }, []);
  const change = useCallback((changes, { isReplaced = false } = {}) => {
    const next = addressWith(changes);
    if (next === location.hash) return;
    if (!isReplaced) {
      location.hash = next;
      return;
    }
    history.replaceState(null, "", `${location.pathname}${location.search}${next}`);
    dispatchEvent(new Event(CHANGED));
  }, []);
  return [parseAddress(location.hash).query, change];
}
