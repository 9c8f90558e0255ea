// Jobs: a list that keeps up to date. The address holds the API's filters and the view, so that both can be shared.

import { get, session } from "../api.js";
import { bulkActions, RunningOperations, Selection } from "../bulk.js";
import { h, Keyed, put, say } from "../dom.js";
import { full, number, ran, short, span, toTyped, typedMoment, zone } from "../format.js";
import { address, askedOf, sortField, viewMenu, viewOf, widths } from "../job_view.js";
import { empty, field, heading, options, pill, repeat, titles, when } from "../parts.js";
import { runButton } from "../trigger.js";
import { REASONS, reasonOf, stateOf } from "../wait_reasons.js";
import { allWorkers } from "../worker_list.js";

const FINAL = ["completed", "failed", "cancelled"];
const STATUSES = ["queued", "running", ...FINAL];
const TRIGGERS = ["manual", "scheduled", "webhook", "event"];
const PER_PAGE = "25";
/** What the rows show; inputs and outputs are not read. */
const FIELDS = "id,worker_id,status,trigger,priority,triggered_by,created_at,started_at,completed_at,duration_ms,error,scheduled_at,attempt,max_attempts,cancel_requested_at,tags,waits_for";
const FILTERS = ["filter[status]", "filter[waits_for]", "filter[worker_id]", "filter[trigger]", "filter[created_after]", "filter[created_before]"];

const selection = new Selection();

export function open(main, { signal, query: first }) {
  let query = first;
  const menu = viewMenu(() => query);
  const form = filters(() => query);
  const bulk = h("div", {});
  const table = h("div", { class: "table jobs", role: "table", "aria-label": "Jobs" });
  const none = empty("No jobs match this filter. ", h("a", { href: "#/jobs" }, "Clear the filter"));
  const until = h("span", {});
  const unreached = empty("None of the searched jobs match", until, "; continue with Older.");
  const noneYet = empty("No jobs yet. ", session.mayWrite ? "Create one above, or with " : "Programs create them, and so does ", h("code", {}, "ava jobs trigger"), ".");
  const pager = h("nav", { class: "row between pager", "aria-label": "Pages of the list" });
  let refresh = () => {};
  const operations = new RunningOperations(signal, () => refresh());
  put(main, heading("Jobs", menu.element, runButton()), form.element, bulk, operations.element, table, none, unreached, noneYet, pager);
  const showEmpty = (shown) => [none, unreached, noneYet].forEach((each) => (each.hidden = each !== shown));

  let rows;
  let actions;
  let drawn;
  const drawTable = () => {
    const view = viewOf(query);
    const key = JSON.stringify(view);
    if (key === drawn) return;
    drawn = key;
    const body = h("div", { class: "rows", role: "rowgroup" });
    rows = new Keyed(body, (job) => job.id, (job) => row(job, view, selection.chosen, () => actions.update()));
    put(table, titles(["", ...view.columns.map(([, title]) => title)], "Select"), body);
    table.style.setProperty("--columns", widths(view));
    table.dataset.density = view.density;
  };

  // A changed address changes the rows; the controls stay, and keep the focus.
  let reading = new AbortController();
  const change = (next) => {
    query = next;
    reading.abort();
    reading = new AbortController();
    const current = AbortSignal.any([signal, reading.signal]);
    selection.begin(query);
    menu.show(query);
    form.show(query);
    drawTable();
    showEmpty(null);
    actions = bulkActions(selection, query, { refresh: () => refresh(), started: (operation) => operations.add(operation) });
    put(bulk, actions.element);
    const words = [...query].filter(([name]) => name.startsWith("filter[")).map(([, value]) => value);
    document.title = `${["Jobs", ...words].join(", ")} · AVA Jobs`;
    const isFiltered = words.length > 0 || query.has("cursor") || query.has("page");
    // Each search reads up to 20,000 jobs.
    const isSearched = [...query.keys()].some((name) => /^(sort|filter\[(waits_for|error|error_id|triggered_by|priority|id|completed_.+|tag\..+|input\..+)\])$/.test(name));
    refresh = repeat(current, isSearched ? 10 : 2, async () => {
      const found = await get("/v1/ava/jobs", { query: { per_page: PER_PAGE, fields: FIELDS, ...askedOf(query) }, signal: current, isRepeated: true });
      selection.refresh(found.data);
      rows.show(found.data);
      showEmpty(found.data.length ? null : found.pagination.has_more ? unreached : isFiltered ? none : noneYet);
      const scannedUntil = found.pagination.scanned_until;
      say(until, scannedUntil ? `, back to ${full(scannedUntil)}` : "");
      actions.update();
      showPager(pager, query, found.pagination);
    });
    if (document.activeElement === document.body) main.focus({ preventScroll: true });
  };
  change(query);
  return { change };
}

/** The controls of the filters. They stay while the address changes; `show` sets what they hold. */
function filters(queryNow) {
  const go = (changes) => (location.hash = address(queryNow(), changes));
  const change = (name, value) => go({ [name]: value, cursor: "", page: "" });
  const select = (label, name, choices) => {
    const control = h("select", { name, onchange: () => change(name, control.value) }, options([["", "Any"], ...choices], ""));
    return { element: field(label, control), show: (query) => (control.value = query.get(name) ?? "") };
  };
  const workers = h("datalist", { id: "workers" });
  const worker = h("input", { name: "filter[worker_id]", list: "workers", placeholder: "Any", autocomplete: "off", spellcheck: "false",
    onchange: () => change("filter[worker_id]", worker.value.trim()), onfocus: () => fillWorkers(workers) });
  const time = (label, name) => {
    const control = h("input", { type: "datetime-local", name, title: `In ${zone.fullName}`, onchange: () => change(name, typedMoment(control.value) ?? "") });
    return { element: field(label, control), show: (query) => {
      const value = toTyped(query.get(name));
      if (control.value !== value) control.value = value;
    } };
  };
  const controls = [
    select("Status", "filter[status]", STATUSES.map((status) => [status])),
    select("Waits for", "filter[waits_for]", Object.entries(REASONS)),
    { element: field("Worker", worker), show: (query) => (worker.value = query.get("filter[worker_id]") ?? "") },
    select("Trigger", "filter[trigger]", TRIGGERS.map((trigger) => [trigger])),
    time("Created after", "filter[created_after]"), time("Created before", "filter[created_before]"), sortField(go),
  ];
  const more = h("div", { class: "row" });
  const element = h("form", { class: "filters", role: "search", "aria-label": "Filter jobs" }, controls.map((each) => each.element), workers, more);
  element.addEventListener("submit", (event) => event.preventDefault());
  return {
    element,
    show(query) {
      controls.forEach((each) => each.show(query));
      put(more, others(query), query.size ? h("a", { class: "clear", href: "#/jobs" }, "Clear") : null);
    },
  };
}

/** The filters of the search box and of charts, each with a link that removes it. */
function others(query) {
  const found = [...query].filter(([name]) => name.startsWith("filter[") && !FILTERS.includes(name));
  return found.map(([name, value]) => h("a", { class: "tag", href: address(query, { [name]: "", cursor: "", page: "" }), title: "Remove this filter" },
    `${name.slice(7, -1).replace("completed_", "ended ")}: ${value} ×`));
}

/** Offer every worker by its id and name, whatever their number. */
async function fillWorkers(list) {
  if (list.childElementCount) return;
  list.append(...(await allWorkers()).map((worker) => h("option", { value: worker.id, label: worker.name })));
}

function row(job, { columns, isExact }, selected, changed) {
  const status = pill();
  const created = when(job.created_at, isExact);
  const ended = when(job.completed_at, isExact);
  const duration = h("span", {});
  const waited = h("span", {});
  const attempt = h("span", {});
  const error = h("span", { class: "error" });
  const box = h("input", { type: "checkbox", "aria-label": `Select ${job.id}`, onchange: (event) => {
    event.target.checked ? selected.set(job.id, job) : selected.delete(job.id);
    changed();
  } });
  const cells = {
    status: status.element,
    job: [h("a", { href: `#/jobs/${job.id}`, title: job.id, class: "mono" }, short(job.id)), error],
    worker: job.worker_id,
    priority: String(job.priority),
    trigger: job.trigger,
    user: job.triggered_by,
    created: created.element,
    waited,
    duration,
    ended: ended.element,
    attempt,
    tags: h("span", { class: "tags" }, Object.entries(job.tags).map(([key, value]) => h("span", { class: "tag" }, `${key}=${value}`))),
  };
  const element = h("div", { role: "row", "data-job": job.id },
    h("span", { role: "cell", class: "choose" }, box),
    columns.map(([name, title]) => h("span", { role: "cell", "data-label": title }, cells[name])));
  return {
    element,
    update(next) {
      status.update(stateOf(next));
      status.element.title = next.waits_for ? `Waits for ${reasonOf(next)}` : "";
      box.checked = selected.has(next.id);
      say(duration, next.duration_ms !== null ? ran(next) : next.started_at ? span(Date.now() - new Date(next.started_at)) : "–");
      say(waited, next.started_at ? span(Math.max(0, new Date(next.started_at) - new Date(next.scheduled_at ?? next.created_at))) : "–");
      say(attempt, `${next.attempt} of ${next.max_attempts}`);
      ended.update(next.completed_at);
      say(error, next.error ?? "");
    },
  };
}

function showPager(pager, query, pagination) {
  const total = pagination.total >= 1000 ? "1,000 or more" : number(pagination.total);
  const key = JSON.stringify([total, pagination, String(query)]);
  if (pager.dataset.key === key) return;
  pager.dataset.key = key;
  const { page, has_more: hasMore, next_cursor: cursor } = pagination;
  // A sorted list has pages by number.
  const further = cursor ? h("a", { href: address(query, { cursor, page: "" }) }, "Older")
    : hasMore ? h("a", { href: address(query, { page: String(page + 1) }) }, "Next") : null;
  const back = query.get("cursor") ? h("a", { href: address(query, { cursor: "" }) }, "Newest")
    : page > 1 ? h("a", { href: address(query, { page: "" }) }, "First") : null;
  put(pager, h("span", {}, `${total} ${total === "1" ? "job" : "jobs"}`), h("span", { class: "row" }, back, further));
}
