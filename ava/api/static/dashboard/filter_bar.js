// The filters of the list of jobs: tabs by status, a search that adds chips, the time, the order.

import { full, titled, toTyped, typedMoment, zone } from "./format.js";
import * as filters from "./job_filters.js";
import { SORTS } from "./job_view.js";
import { find, HINT } from "./search.js";
import { Chip, Choice, Field, html, Menu, notify, Tabs } from "./ui/index.js";
import { useApi, useRef, useState } from "./ui/index.js";
import { allWorkers } from "./worker_list.js";

/** Up to here the API counts the jobs of a list. */
const MAX_COUNTED = 1000;
/** Seconds between two counts; each search reads up to 20,000 jobs. */
const COUNT_SECONDS = 10;
const SEARCH_SECONDS = 60;
const [AFTER, BEFORE] = ["filter[created_after]", "filter[created_before]"];
/** What the menu of filters begins to write, by its label. */
const BEGINNINGS = {
  Worker: "worker:",
  Tag: "tag:",
  User: "user:",
  Error: "error:",
  Trigger: "trigger:",
  "Waits for": "waits:",
  Priority: "priority:",
  "Input field": "input.",
};
const TIMES = [
  ["", "Any time"],
  ...filters.PRESETS.map(([value, title]) => [value, title]),
  ["custom", "Custom …"],
];

const counted = (total) => (total >= MAX_COUNTED ? "1k+" : total);

/** The tabs of the statuses, each with the number of jobs that the other filters leave. */
export function StatusTabs({ query, go }) {
  const asked = { ...filters.askedOf(query), sort: "", cursor: "", page: "" };
  const every = filters.isSearched(query) ? SEARCH_SECONDS : COUNT_SECONDS;
  // The statuses are constant, so the hooks are always the same.
  const totals = filters.STATUSES.map((status) => {
    const one = { ...asked, fields: "id", per_page: "1", "filter[status]": status };
    return useApi("/v1/ava/jobs", { query: one, every }).pagination?.total;
  });
  const sum = totals.reduce((one, other) => one + other, 0);
  const tab = (status, place) => [status, titled(status), counted(totals[place])];
  const tabs = filters.STATUSES.map(tab);
  const items = [["", "All", Number.isNaN(sum) ? null : counted(sum)], ...tabs];
  return html`<${Tabs} label="Status" items=${items} current=${query.get("filter[status]") ?? ""}
    onSelect=${(status) => go({ "filter[status]": status })} />`;
}

/** The box that adds filters, with a menu of the names that it understands. */
function Search({ go }) {
  const [text, setText] = useState("");
  const [workers, setWorkers] = useState(null);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const change = (next) => {
    setText(next);
    if (!next.startsWith("worker:") || workers) return;
    setWorkers([]);
    allWorkers().then(setWorkers, () => setWorkers(null));
  };
  const submit = async (event) => {
    event.preventDefault();
    try {
      const { job, filters: found } = await find(text);
      setText("");
      go(job ? { job } : found);
    } catch (error) {
      notify(error.message, "bad");
    }
  };
  const begin = (beginning) => {
    change(beginning);
    box.current.focus();
  };
  const items = Object.entries(BEGINNINGS).map(([label, beginning]) => ({
    label,
    action: () => begin(beginning),
  }));
  const option = ([value, label]) => html`<option key=${value} value=${value}>${label}</option>`;
  return html`<form class="row" role="search" aria-label="Filter jobs" onsubmit=${submit}>
    <input type="search" name="find" ref=${box} value=${text} list="found" title=${HINT}
      placeholder="Add a filter: error message, worker:, tag:" aria-label="Add a filter"
      autocomplete="off" spellcheck="false" oninput=${(event) => change(event.target.value)} />
    <datalist id="found">${filters.suggestions(text, workers ?? []).map(option)}</datalist>
    <${Menu} label="Filter" icon="filter" items=${items} />
  </form>`;
}

/** The time of creation: a preset, or two typed times. */
function Time({ query, go }) {
  const [isOpen, setOpen] = useState(false);
  const isTyped = isOpen || query.has(AFTER) || query.has(BEFORE);
  const choose = (value) => {
    setOpen(value === "custom");
    if (value !== "custom") go({ last: value, [AFTER]: "", [BEFORE]: "" });
  };
  const type = (name, text) => go({ [name]: typedMoment(text) ?? "", last: "" });
  const typed = (label, name) => html`<${Field} label=${label}>
    <input type="datetime-local" name=${name} title=${`In ${zone.fullName}`}
      value=${toTyped(query.get(name))}
      onchange=${(event) => type(name, event.target.value)} /><//>`;
  const chosen = isTyped ? "custom" : (query.get("last") ?? "");
  return html`<${Choice} label="Created" name="last" value=${chosen} options=${TIMES}
      onchange=${choose} />
    ${isTyped && html`${typed("From", AFTER)}${typed("Until", BEFORE)}`}`;
}

/** The text of a chip: its value, or its span of time. */
function textOf({ value, from, until }) {
  const parts = [from && `from ${full(from)}`, until && `until ${full(until)}`];
  return value ?? parts.filter(Boolean).join(" ");
}

/** All filters besides the status. `go` changes the address, and begins at the first page. */
export function FilterBar({ query, go }) {
  const chip = (
    each,
  ) => html`<${Chip} key=${each.names[0]} label=${each.label} value=${textOf(each)}
    onRemove=${() => go(Object.fromEntries(each.names.map((name) => [name, ""])))} />`;
  // Creation times have separate controls.
  const chips = filters.chipsOf(query).filter(({ names }) => names[0] !== AFTER);
  return html`<div class="filters">
    <${Search} go=${go} />
    ${chips.length > 0 && html`<div class="row chips">${chips.map(chip)}</div>`}
    <${Time} query=${query} go=${go} />
    <${Choice} label="Order" name="sort"
      title="Other orders sort the matches among the newest 20,000 jobs"
      value=${query.get("sort") ?? ""} options=${SORTS} onchange=${(sort) => go({ sort })} />
    ${filters.filtersOf(query).length > 0 && html`<a class="clear" href="#/jobs">Clear</a>`}
  </div>`;
}
