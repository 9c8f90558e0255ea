// The workers of the tenant, page by page.

import { list } from "./api.js";

/** The first workers, of so many pages. `hasMore`: there are others. */
export async function someWorkers(pages, options = {}) {
  const { entries, hasMore } = await list("/v1/ava/workers", { ...options, pages });
  return { workers: entries, hasMore };
}

/** All workers, whatever their number. */
export const allWorkers = async () => (await someWorkers(Infinity)).workers;
