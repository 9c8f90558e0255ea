// The sidebar's counts of records that need attention, refreshed every 15 seconds.

import { get } from "../api.js";
import { useEffect, useState } from "../ui/index.js";
import { countsOf } from "./count_model.js";

const SECONDS = 15;
const CHANGED = "counts-changed";

/** Read the counts now. */
export const readCounts = () => dispatchEvent(new Event(CHANGED));

/** Return the counts by page. None is shown while they cannot be read: the page itself says so. */
export function useCounts() {
  const [counts, setCounts] = useState(/** @type {Record<string, any>} */ ({}));
  useEffect(() => {
    const leaving = new AbortController();
    const { signal } = leaving;
    let timer;
    const read = async () => {
      clearTimeout(timer);
      if (!document.hidden) {
        const paused = { query: { "filter[paused]": "true" }, signal };
        const mine = { query: { "filter[mine]": "true", per_page: "1" }, signal };
        const active = { query: { "filter[state]": "active", per_page: "1" }, signal };
        const found = await Promise.all([
          get("/v1/ava/overview", { signal }),
          get("/v1/ava/queues", paused),
          get("/v1/ava/approvals", mine),
          get("/v1/ava/containments", active),
        ]).then(countsOf, () => ({}));
        if (!signal.aborted) setCounts(found);
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
