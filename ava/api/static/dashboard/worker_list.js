// The workers of the tenant, for forms that choose one.

import { list } from "./api.js";

/** All workers, whatever their number. */
export const allWorkers = async () => (await list("/v1/ava/workers")).entries;
