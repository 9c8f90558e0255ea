// The sidebar's counts of records that need attention, refreshed every 15 seconds.

import { get } from "../api.js";
import { useEffect, useState } from "../ui/index.js";
import { countsOf, SOURCES } from "./count_model.js";

const SECONDS = 15;
const CHANGED = "counts-changed";

/** Read the counts now. */
export const readCounts = () => dispatchEvent(new Event(CHANGED));

/** Return the counts by page. One that cannot be read is not shown: the page itself says so. */
export function useCounts() {
  const [counts, setCounts] = useState(/** @type {Record<string, any>} */ ({}));
  useEffect(() => {
    const leaving = new AbortController();
    const { signal } = leaving;
    let timer;
    const read = async () => {
      clearTimeout(timer);
      if (!document.hidden) {
        const found = await Promise.all(
          SOURCES.map(([name, query]) =>
            get(`/v1/ava/${name}`, { query, signal }).catch(() => null),
          ),
        );
        if (!signal.aborted) setCounts(countsOf(found));
      }
      if (!signal.aborted) timer = setTimeout(read, SECONDS * 1000);
    };
    document.addEventListener("visibilitychange", read, { signal });
    addEventListener(CHANGED, read, { signal });
    read();
    return () => {
      leaving.abort();
      clearTimeout(timer);
    };
  }, []);
  return counts;
}
