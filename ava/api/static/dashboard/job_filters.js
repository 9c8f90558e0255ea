// The filters of the list of jobs as its address holds them. Pure functions, which touch no page.

import { iso } from "./format.js";
import { REASONS, reasonOf } from "./wait_reasons.js";

export const FINAL = ["completed", "failed", "cancelled"];
export const OPEN = ["queued", "running"];
export const STATUSES = [...OPEN, ...FINAL];
const TRIGGERS = ["manual", "scheduled", "webhook", "event"];
const MINUTE = 60000;
/**
 * The time presets: their value in the address, their title, and their length in minutes.
 * @type {[string, string, number][]}
 */
export const PRESETS = [
  ["15m", "Last 15 minutes", 15],
  ["1h", "Last hour", 60],
  ["24h", "Last 24 hours", 1440],
  ["7d", "Last 7 days", 10080],
  ["30d", "Last 30 days", 43200],
];
/** The parameters of the address that the API does not know. */
const SHOWN_ONLY = ["columns", "density", "times", "last", "job"];
/** The filters that are chips, with their labels. Tabs show the status. */
const LABELS = {
  worker_id: "Worker",
  triggered_by: "User",
  trigger: "Trigger",
  error: "Error",
  error_id: "Error group",
  waits_for: "Waits for",
  priority: "Priority",
  id: "Job",
  parent_id: "Parent",
  tree_id: "Tree",
  root: "Roots",
};
const TIMES = { created: "Created", completed: "Ended" };
/** The filters for which the API reads up to 20,000 jobs, besides tags and values of inputs. */
const SEARCHED = [
  ...["sort", "waits_for", "error", "error_id", "triggered_by", "priority", "id", "parent_id"],
  ...["tree_id", "root", "completed_after", "completed_before"],
];
/** The filters of the list that a bulk operation takes too. */
const BULK = [
  ...["worker_id", "status", "trigger", "priority", "triggered_by", "error", "error_id", "id"],
  ...["created_after", "created_before", "completed_after", "completed_before", "tags", "input"],
];
/** A filter by a tag or by a value of the input, such as `tag.team`. */
const KEYED = /^(tag|input)\.(.+)$/s;

/** Return the name of a filter of the address, such as `worker_id`; "" for another parameter. */
const innerName = (name) => /^filter\[(.+)\]$/s.exec(name)?.[1] ?? "";

/** Return the length of the time preset of an address in milliseconds; null without one. */
export function presetOf(query) {
  const minutes = PRESETS.find(([value]) => value === query.get("last"))?.[2];
  return minutes ? minutes * MINUTE : null;
}

/**
 * Return the query of the API. A time preset begins at a whole minute, so that an unchanged list
 * keeps its address and is not sent again.
 * @param {URLSearchParams} query
 */
export function askedOf(query, now = Date.now()) {
  const asked = Object.fromEntries([...query].filter(([name]) => !SHOWN_ONLY.includes(name)));
  const preset = presetOf(query);
  if (preset) {
    const from = Math.floor(now / MINUTE) * MINUTE - preset;
    asked["filter[created_after]"] = iso(from);
  }
  return asked;
}

/** Return the parameters that select jobs, without order, page and view. */
export const filtersOf = (query) =>
  [...query].filter(([name]) => innerName(name) || name === "last");

/** Return whether the API searches for the jobs, which is slower than a list from an index. */
export const isSearched = (query) =>
  [...query.keys()].some((name) => {
    const inner = innerName(name) || name;
    return SEARCHED.includes(inner) || KEYED.test(inner);
  });

/** Return the chip of a filter, or of a pair of times; null if another control shows the filter. */
function chipOf([name, value], query) {
  const inner = innerName(name);
  const [, group, key] = KEYED.exec(inner) ?? [];
  if (group) return { label: `${group === "tag" ? "Tag" : "Input"} ${key}`, value, names: [name] };
  const [, time, end] = /^(created|completed)_(after|before)$/.exec(inner) ?? [];
  if (time) {
    const [after, before] = ["after", "before"].map((each) => `filter[${time}_${each}]`);
    if (end === "before" && query.has(after)) return null;
    const [from, until] = [query.get(after), query.get(before)];
    return { label: TIMES[time], from, until, names: [after, before] };
  }
  if (!inner || inner === "status") return null;
  const text = inner === "waits_for" ? reasonOf({ waits_for: value }) : value;
  return { label: LABELS[inner] ?? inner, value: text, names: [name] };
}

/**
 * Return the chips of an address: `label`, `value` (or the times `from` and `until`), and the
 * parameters `names` that a chip removes.
 * @param {URLSearchParams} query
 */
export const chipsOf = (query) => [...query].map((entry) => chipOf(entry, query)).filter(Boolean);

/** Return the title of a page with these filters. */
export function titleOf(query) {
  const words = [...query].filter(([name]) => innerName(name)).map(([, value]) => value);
  return `${["Jobs", ...words].join(", ")} · AVA Jobs`;
}

/** Return the filter of the API's query as an operation takes it. */
function operationFilter(asked) {
  const filter = {};
  for (const [name, value] of Object.entries(asked)) {
    const inner = innerName(name);
    const [, group, key] = KEYED.exec(inner) ?? [];
    const whole = { tag: "tags", input: "input" }[group];
    if (whole) filter[whole] = { ...filter[whole], [key]: value };
    else if (inner) filter[inner] = inner === "priority" ? Number(value) : value;
  }
  return filter;
}

/**
 * Return the filter as an operation on jobs with some statuses takes it, and the `reason` why the
 * operation cannot act on it; null if it can.
 * @param {string[]} states
 * @param {URLSearchParams} query
 */
export function bulkFilter(states, query, now = Date.now()) {
  const filter = operationFilter(askedOf(query, now));
  const foreign = Object.keys(filter).find((name) => !BULK.includes(name));
  let reason = null;
  if (!Object.keys(filter).length) reason = "choose a filter first";
  else if (foreign) reason = `not with the filter ${foreign}`;
  else if (filter.status && !states.includes(filter.status)) {
    reason = `only ${states.join(", ")} jobs`;
  }
  return { filter, reason };
}

const pairs = (value) =>
  Object.entries(value)
    .map((pair) => pair.join(":"))
    .join(" ");

/** Return a filter in words, for the question before an operation. */
export const inWords = (filter) =>
  Object.entries(filter)
    .map(([name, value]) => `${name} ${typeof value === "object" ? pairs(value) : value}`)
    .join(", ");

/**
 * Return what a search box offers for a text such as `trigger:`: the texts that continue it, each
 * with its title.
 * @param {string} text
 * @param {{ id: string, name: string }[]} workers
 * @returns {[string, string][]}
 */
export function suggestions(text, workers = []) {
  const [, name = ""] = /^(\w+):/.exec(text) ?? [];
  /** @type {Record<string, [string, string][]>} */
  const values = {
    worker: workers.map(({ id, name: title }) => [id.replace(/^wkr_/, ""), title]),
    status: STATUSES.map((value) => [value, ""]),
    trigger: TRIGGERS.map((value) => [value, ""]),
    waits: Object.entries(REASONS),
    priority: Array.from({ length: 10 }, (_, place) => [String(place + 1), ""]),
  };
  const found = Object.hasOwn(values, name) ? values[name] : [];
  return found.map(([value, title]) => [`${name}:${value}`, title]);
}
