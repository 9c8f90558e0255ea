// The address: `#/jobs/job_…?tab=log`. Pages keep in its query what a copied link shows again.

import { useCallback, useEffect, useReducer } from "./preact.js";

const CHANGED = "address-changed";

/**
 * Split an address's fragment into the page's name, the rest of the path, and the query.
 * @param {string} hash
 */
export function parseAddress(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodePart);
  return { name, rest, query: new URLSearchParams(query) };
}

/** A hand-written address may hold a `%` that encodes nothing. */
function decodePart(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Return an address with some parameters of its query changed; null and "" remove one.
 * @param {string} hash
 * @param {Record<string, string | number | boolean | null | undefined>} changes
 */
export function changeQuery(hash, changes) {
  const [path, query = ""] = (hash || "#/").split("?");
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "" || value === false) next.delete(name);
    else next.set(name, String(value));
  }
  return next.size ? `${path}?${next}` : path;
}

/**
 * Return the current address with some parameters changed, for a link.
 * @param {Parameters<typeof changeQuery>[1]} changes
 */
export const addressWith = (changes) => changeQuery(location.hash, changes);

/**
 * Return the query of the address, and the function that changes it. `isReplaced` adds no entry to the history: for a
 * field that changes with each key.
 * @returns {[URLSearchParams, (changes: Parameters<typeof changeQuery>[1], options?: { isReplaced?: boolean }) => void]}
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
