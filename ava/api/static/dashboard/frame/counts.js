// The sidebar's counts of records that need attention, refreshed every 15 seconds.

import { get } from "../api.js";
import { useEffect, useState } from "../ui/index.js";
import { countsOf } from "./count_model.js";

const SECONDS = 15;

/** Return the counts by page. None is shown while they cannot be read: the page itself says so. */
export function useCounts() {
  const [counts, setCounts] = useState({});
  useEffect(() => {
    const leaving = new AbortController();
    const { signal } = leaving;
    let timer;
    const read = async () => {
      clearTimeout(timer);
      if (!document.hidden) {
        const paused = { query: { "filter[paused]": "true" }, signal };
        const found = await Promise.all([
          get("/v1/ava/overview", { signal }),
          get("/v1/ava/queues", paused),
        ]).catch(() => null);
        if (!signal.aborted) setCounts(found ? countsOf(found[0].data, found[1].data.queues) : {});
      }
      if (!signal.aborted) timer = setTimeout(read, SECONDS * 1000);
    };
    document.addEventListener("visibilitychange", read, { signal });
    read();
    return () => {
      leaving.abort();
      clearTimeout(timer);
    };
  }, []);
  return counts;
}
