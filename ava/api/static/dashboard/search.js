// Reads searches: an id opens its job, and words become the filters of the list of jobs.

import { get } from "./api.js";
import { h } from "./dom.js";
import { notify } from "./parts.js";
import { REASONS } from "./wait_reasons.js";

const NAMES = {
  error: "filter[error]", user: "filter[triggered_by]", by: "filter[triggered_by]", worker: "filter[worker_id]",
  status: "filter[status]", trigger: "filter[trigger]", priority: "filter[priority]", id: "filter[id]", waits: "filter[waits_for]",
};
/** What people call the values of a filter, by what the API calls them. */
const VALUES = {
  "filter[status]": { queued: ["waiting", "pending"], running: ["active", "started"], completed: ["success", "succeeded", "done", "ok"], failed: ["error", "failure"], cancelled: ["canceled", "revoked"] },
  "filter[trigger]": { manual: ["api"], scheduled: ["schedule", "cron"], webhook: ["hook"], event: [] },
  "filter[waits_for]": Object.fromEntries(Object.keys(REASONS).map((reason) => [reason, []])),
  "filter[priority]": Object.fromEntries(Array.from({ length: 10 }, (_, place) => [String(place + 1), []])),
};
/** Ids that are made here have 26 digits; those of workers and users are any name. */
const MADE = "[0-7][0-9a-hjkmnp-tv-z]{25}";
const IDS = [
  [/^wkr_[a-z0-9_]+$/, "filter[worker_id]"], [/^usr_[a-z0-9_]+$/, "filter[triggered_by]"],
  [new RegExp(`^(?:sch|key)_${MADE}$`), "filter[triggered_by]"], [new RegExp(`^err_${MADE}$`), "filter[error_id]"],
];
const WORD = new RegExp(`(?:(${[...Object.keys(NAMES), "tag"].join("|")}):\\s*|input\\.([^\\s:="]+)[:=])?(?:"([^"]*)"|(\\S+))`, "gi");
// Letters without a leading `job_` or `…` are a word, not an id.
const ID = /^(?:job_…?|…|(?=.*\d))[0-9a-hjkmnp-tv-z]{4,26}$/i;
export const HINT = "A job id or at least 4 of its characters, a part of an error, or error: user: worker: tag: input.path: status: waits: priority:";
/** The filters that a text means: `{ "filter[error]": "timeout" }`. Words without a name are a part of the error. */
export function readSearch(text) {
  const found = {};
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
    else if (key) found[key] = valueOf(key, value);
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

/** What the API calls a value. Throws an error that names the values that there are. */
function valueOf(key, value) {
  if (key === "filter[worker_id]" && !value.startsWith("wkr_")) return `wkr_${value}`;
  const values = VALUES[key];
  if (!values) return value;
  const wanted = value.toLowerCase();
  const found = Object.keys(values).find((each) => each === wanted || values[each].includes(wanted));
  if (!found) throw new Error(`Unknown ${key.slice(7, -1)} “${value}”: use one of ${Object.keys(values).join(", ")}.`);
  return found;
}

/** Whether digits that may be a part of an id, or of an error such as one of an order's number, are of an error. */
async function isOfError(part, others) {
  const [ids, errors] = await Promise.all(["filter[id]", "filter[error]"].map(async (name) =>
    (await get("/v1/ava/jobs", { query: { ...others, [name]: part, fields: "id", per_page: "1" } })).data.length));
  // Prefer the error for a number, because many ids contain five given digits by chance.
  return errors && (!ids || /^\d+$/.test(part));
}

/**
 * What a text finds: `{ job }`, the id of the only job that it names, else the `filters` of the list of jobs.
 * @param {string} text
 */
export async function find(text) {
  const filters = readSearch(text);
  const { "filter[id]": part, ...others } = filters;
  if (part && /^[0-9a-z]+$/i.test(part) && part.length < 26 && await isOfError(part, others)) return { filters: { ...others, "filter[error]": part } };
  if (part && !Object.keys(others).length) {
    const { data } = await get("/v1/ava/jobs", { query: { ...filters, fields: "id", per_page: "2" } });
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

// For a frame that is still drawn without components.

/** The box, for the head of every page. `/` moves the focus there. */
export function searchBox() {
  const input = h("input", { type: "search", name: "search", placeholder: "Find jobs", "aria-label": "Find jobs", title: HINT, autocomplete: "off", spellcheck: "false" });
  return h("form", { class: "find", role: "search", "aria-label": "Find jobs", onsubmit: (event) => {
    event.preventDefault();
    search(input.value).catch((error) => notify(error.message, "bad"));
  } }, input);
}
