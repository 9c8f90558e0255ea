// Build the fragment of an address: `#/jobs/job_…?tab=log`.

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
