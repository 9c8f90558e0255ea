// Reads searches: an id opens its job, and words become the filters of the list of jobs.

import { get } from "./api.js";
import { REASONS } from "./wait_reasons.js";

const NAMES = {
  error: "filter[error]",
  user: "filter[triggered_by]",
  by: "filter[triggered_by]",
  worker: "filter[worker_id]",
  status: "filter[status]",
  trigger: "filter[trigger]",
  priority: "filter[priority]",
  id: "filter[id]",
  waits: "filter[waits_for]",
};
/** What people call the values of a filter, by what the API calls them. */
const VALUES = {
  "filter[status]": {
    queued: ["waiting", "pending"],
    running: ["active", "started"],
    completed: ["success", "succeeded", "done", "ok"],
    failed: ["error", "failure"],
    cancelled: ["canceled", "revoked"],
  },
  "filter[trigger]": {
    manual: ["api"],
    scheduled: ["schedule", "cron"],
    webhook: ["hook"],
    event: [],
  },
  "filter[waits_for]": Object.fromEntries(Object.keys(REASONS).map((reason) => [reason, []])),
  "filter[priority]": Object.fromEntries(
    Array.from({ length: 10 }, (_, place) => [String(place + 1), []]),
  ),
};
/** Ids that are made here have 26 digits; those of workers and users are any name. */
const MADE = "[0-7][0-9a-hjkmnp-tv-z]{25}";
/** @type {[RegExp, string][]} */
const IDS = [
  [/^wkr_[a-z0-9_]+$/, "filter[worker_id]"],
  [/^usr_[a-z0-9_]+$/, "filter[triggered_by]"],
  [new RegExp(`^(?:sch|key)_${MADE}$`), "filter[triggered_by]"],
  [new RegExp(`^err_${MADE}$`), "filter[error_id]"],
];
const NAMED = `(${[...Object.keys(NAMES), "tag"].join("|")}):\\s*|input\\.([^\\s:="]+)[:=]`;
const WORD = new RegExp(`(?:${NAMED})?(?:"([^"]*)"|(\\S+))`, "gi");
// Letters without a leading `job_` or `…` are a word, not an id.
const ID = /^(?:job_…?|…|(?=.*\d))[0-9a-hjkmnp-tv-z]{4,26}$/i;
export const HINT =
  "A job id or at least 4 of its characters, a part of an error, or " +
  "error: user: worker: tag: input.path: status: waits: priority:";

/**
 * Return the filters that a text means: `{ "filter[error]": "timeout" }`. Words without a name are
 * a part of the error.
 * @param {string} text
 * @returns {Record<string, string>}
 */
export function readSearch(text) {
  const found = /** @type {Record<string, string>} */ ({});
  const words = [];
  let isError = false;
  for (const [, name, path, quoted, plain] of text.matchAll(WORD)) {
    const value = quoted ?? plain;
    const tag = name?.toLowerCase() === "tag" ? /^([^=:]+)[=:](.+)$/.exec(value) : null;
    const key = NAMES[name?.toLowerCase()];
    const id = name || quoted !== undefined ? null : IDS.find(([form]) => form.test(value));
    if (path) found[`filter[input.${path}]`] = value;
    // Following words without a name also belong to the error: `error:no such channel`.
    else if (key === "filter[error]") {
      words.push(value);
      isError = true;
    } else if (tag) found[`filter[tag.${tag[1]}]`] = tag[2];
    else if (key) found[key] = knownValue(key, value);
    else if (name) words.push(`${name}:${value}`);
    else if (id) found[id[1]] = value;
    else {
      words.push(value);
      isError ||= quoted !== undefined;
    }
  }
  if (!isError && words.length === 1 && ID.test(words[0])) found["filter[id]"] = words[0];
  else if (words.length) found["filter[error]"] = words.join(" ");
  return found;
}

/** Return what the API calls a value. Throws an error that names the values that there are. */
function knownValue(key, value) {
  if (key === "filter[worker_id]" && !value.startsWith("wkr_")) return `wkr_${value}`;
  const values = VALUES[key];
  if (!values) return value;
  const wanted = value.toLowerCase();
  const found = Object.keys(values).find(
    (each) => each === wanted || values[each].includes(wanted),
  );
  if (found) return found;
  const known = Object.keys(values).join(", ");
  throw new Error(`Unknown ${key.slice(7, -1)} “${value}”: use one of ${known}.`);
}

/** Return whether digits that may be a part of an id are a part of an error instead. */
async function isOfError(part, others) {
  const count = async (name) => {
    const query = { ...others, [name]: part, fields: "id", per_page: "1" };
    return (await get("/v1/ava/jobs", { query })).data.length;
  };
  const [ids, errors] = await Promise.all([count("filter[id]"), count("filter[error]")]);
  // Prefer the error for a number, because many ids contain five given digits by chance.
  return errors && (!ids || /^\d+$/.test(part));
}

/**
 * Return what a text finds: `{ job }`, the id of the only job that it names, else the `filters` of
 * the list of jobs.
 * @param {string} text
 * @returns {Promise<{ job?: string, filters?: Record<string, string> }>}
 */
export async function find(text) {
  const filters = readSearch(text);
  const { "filter[id]": part, ...others } = filters;
  const isDoubtful = part && /^[0-9a-z]+$/i.test(part) && part.length < 26;
  if (isDoubtful && (await isOfError(part, others))) {
    return { filters: { ...others, "filter[error]": part } };
  }
  if (part && !Object.keys(others).length) {
    const query = { ...filters, fields: "id", per_page: "2" };
    const { data } = await get("/v1/ava/jobs", { query });
    if (data.length === 1) return { job: data[0].id };
  }
  return { filters };
}

/** Open what a text finds: the page of a job, or the list of jobs with its filters. */
export async function search(text) {
  const { job, filters } = await find(text);
  if (job) location.hash = `#/jobs/${job}`;
  else if (Object.keys(filters).length) location.hash = `#/jobs?${new URLSearchParams(filters)}`;
}
