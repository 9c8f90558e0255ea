// The search box: an id opens its job, and words become the filters of the list of jobs.

import { get } from "./api.js";
import { h } from "./dom.js";
import { notify } from "./parts.js";

const NAMES = {
  error: "filter[error]", user: "filter[triggered_by]", by: "filter[triggered_by]", worker: "filter[worker_id]",
  status: "filter[status]", trigger: "filter[trigger]", priority: "filter[priority]", id: "filter[id]",
};
const PREFIXES = { wkr: "filter[worker_id]", usr: "filter[triggered_by]", sch: "filter[triggered_by]", key: "filter[triggered_by]" };
// Without `job_` or `…` before them, letters alone are a word.
const ID = /^(?:job_…?|…|(?=.*\d))[0-9a-hjkmnp-tv-z]{4,26}$/i;
const HINT = "A job's id or at least 4 digits of it, a part of an error, or error: user: worker: tag: input.path: status: priority:";

/** The filters that a text means: `{ "filter[error]": "timeout" }`. Words without a name are a part of the error. */
export function readSearch(text) {
  const found = {};
  const words = [];
  let isError = false;
  for (const [, name, path, quoted, plain] of text.matchAll(/(?:([a-z]+):|input\.([^\s:="]+)[:=])?(?:"([^"]*)"|(\S+))/gi)) {
    const value = quoted ?? plain;
    const tag = name?.toLowerCase() === "tag" ? /^([^=:]+)[=:](.+)$/.exec(value) : null;
    const key = NAMES[name?.toLowerCase()];
    if (path) found[`filter[input.${path}]`] = value;
    // What follows without a name is of the error too: `error:no such channel`.
    else if (key === "filter[error]") {
      words.push(value);
      isError = true;
    } else if (tag) found[`filter[tag.${tag[1]}]`] = tag[2];
    else if (key) found[key] = key === "filter[worker_id]" && !value.startsWith("wkr_") ? `wkr_${value}` : value;
    else if (name) words.push(`${name}:${value}`);
    else if (PREFIXES[value.slice(0, 3)] && value[3] === "_") found[PREFIXES[value.slice(0, 3)]] = value;
    else words.push(value);
  }
  if (!isError && words.length === 1 && ID.test(words[0])) found["filter[id]"] = words[0];
  else if (words.length) found["filter[error]"] = words.join(" ");
  return found;
}

async function search(text) {
  const filters = readSearch(text);
  if (!Object.keys(filters).length) return;
  if (filters["filter[id]"] && Object.keys(filters).length === 1) {
    const { data } = await get("/v1/ava/jobs", { query: { ...filters, fields: "id", per_page: "2" } });
    if (data.length === 1) {
      location.hash = `#/jobs/${data[0].id}`;
      return;
    }
  }
  location.hash = `#/jobs?${new URLSearchParams(filters)}`;
}

/** The box, for the head of every page. `/` moves the focus there. */
export function searchBox() {
  const input = h("input", { type: "search", name: "search", placeholder: "Find jobs", "aria-label": "Find jobs", title: HINT, autocomplete: "off", spellcheck: "false" });
  const form = h("form", { class: "find", role: "search", "aria-label": "Find jobs", onsubmit: async (event) => {
    event.preventDefault();
    try {
      await search(input.value);
    } catch (error) {
      notify(error.message, "bad");
    }
  } }, input);
  return form;
}
