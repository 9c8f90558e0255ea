// The workers of the tenant, for forms that choose one.

import { list } from "./api.js";

/** All workers, whatever their number. */
export const allWorkers = async () => (await list("/v1/ava/workers")).entries;

/**
 * Return the workers as options, and `own`, which may be none of them any more.
 * @param {string} [own]
 * @param {(worker: any) => boolean} [isOffered]
 */
export async function workerOptions(own, isOffered = () => true) {
  const workers = await allWorkers();
  const options = workers.filter(isOffered).map(({ id, name }) => [id, `${name} (${id})`]);
  return own && !workers.some(({ id }) => id === own) ? [[own, own], ...options] : options;
}
