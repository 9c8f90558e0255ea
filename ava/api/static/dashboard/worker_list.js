// The workers of the tenant, page by page.

import { get } from "./api.js";

const PER_PAGE = "100";

/** The first workers, of so many pages. `hasMore`: there are others. */
export async function someWorkers(pages, options = {}) {
  const workers = [];
  let cursor = "";
  for (let page = 0; page < pages; page += 1) {
    const { data, pagination } = await get("/v1/ava/workers", { ...options, query: { per_page: PER_PAGE, cursor } });
    workers.push(...data);
    if (!pagination.has_more) return { workers, hasMore: false };
    cursor = pagination.next_cursor;
  }
  return { workers, hasMore: true };
}

/** All workers, whatever their number. */
export const allWorkers = async () => (await someWorkers(Infinity)).workers;
