// Jobs: a list that keeps up to date. The address holds the API's filters, so that a view can be shared.

import { get, session } from "../api.js";
import { bulkActions, RunningOperations, Selection } from "../bulk.js";
import { h, Keyed, put, say } from "../dom.js";
import { full, number, short, span, toLocal } from "../format.js";
import { empty, field, heading, options, pill, repeat, titles, when } from "../parts.js";
import { runButton } from "../trigger.js";

const FINAL = ["completed", "failed", "cancelled"];
const STATUSES = ["queued", "running", ...FINAL];
const TRIGGERS = ["manual", "scheduled", "webhook", "event"];
const PER_PAGE = "25";
/** What the rows show; inputs and outputs are not read. */
const FIELDS = "id,worker_id,status,trigger,priority,triggered_by,created_at,started_at,completed_at,duration_ms,error,scheduled_at,attempt,max_attempts,cancel_requested_at,tags";
const KEPT_COLUMNS = "ava.jobs.columns";
/** The columns: their name in the address, their title, their width, and whether they are shown at first. */
const COLUMNS = [
  ["status", "Status", "7rem", true], ["job", "Job", "minmax(9rem, 1.6fr)", true], ["worker", "Worker", "minmax(8rem, 1.2fr)", true],
  ["priority", "Priority", "4rem", true], ["trigger", "Trigger", "5.5rem", true], ["user", "User", "minmax(7rem, 1fr)", false],
  ["created", "Created", "8rem", true], ["waited", "Waited", "5.5rem", false], ["duration", "Duration", "5.5rem", true],
  ["ended", "Ended", "8rem", false], ["attempt", "Attempt", "4.5rem", false], ["tags", "Tags", "minmax(7rem, 1fr)", false],
];
const FILTERS = ["filter[status]", "filter[worker_id]", "filter[trigger]", "filter[created_after]", "filter[created_before]"];

const selection = new Selection();

export function open(main, { signal, query }) {
  selection.begin(query);
  const columns = shownColumns(query);
  const asked = Object.fromEntries([...query].filter(([name]) => name !== "columns"));
  const words = [...query].filter(([name]) => name.startsWith("filter[")).map(([, value]) => value);
  document.title = `${["Jobs", ...words].join(", ")} · AVA Jobs`;
  const body = h("div", { class: "rows", role: "rowgroup" });
  const rows = new Keyed(body, (job) => job.id, (job) => row(job, columns, selection.chosen, () => actions.update()));
  const none = empty("No jobs match this filter. ", h("a", { href: "#/jobs" }, "Clear the filter"));
  const until = h("span", {});
  const unreached = empty("No job of those that were looked at matches", until, "; go on with Older.");
  const first = empty("No jobs yet. ", session.mayWrite ? "Create one above, or with " : "Programs create them, and so does ", h("code", {}, "ava jobs trigger"), ".");
  const isFiltered = words.length > 0 || query.has("cursor");
  const pager = h("nav", { class: "row between pager", "aria-label": "Pages of the list" });
  const operations = new RunningOperations(signal, () => refresh());
  const actions = bulkActions(selection, query, { refresh: () => refresh(), started: (operation) => operations.add(operation) });
  const table = h("div", { class: "table jobs", role: "table", "aria-label": "Jobs" },
    titles(["", ...columns.map(([, title]) => title)], "Select"),
    body);
  put(main,
    heading("Jobs", columnMenu(query, columns), runButton()),
    filters(query),
    actions.element,
    operations.element,
    table, none, unreached, first, pager);
  table.style.setProperty("--columns", ["1.2rem", ...columns.map(([, , width]) => width)].join(" "));
  const showEmpty = (shown) => [none, unreached, first].forEach((each) => (each.hidden = each !== shown));
  showEmpty(null);

  // A search looks at up to 20,000 jobs each time.
  const isSearched = [...query.keys()].some((name) => /^filter\[(error|error_id|triggered_by|priority|id|tag\..+|input\..+)\]$/.test(name));
  const refresh = repeat(signal, isSearched ? 10 : 2, async () => {
    const found = await get("/v1/ava/jobs", { query: { per_page: PER_PAGE, fields: FIELDS, ...asked }, signal, isRepeated: true });
    selection.refresh(found.data);
    rows.show(found.data);
    showEmpty(found.data.length ? null : found.pagination.has_more ? unreached : isFiltered ? none : first);
    const lookedUntil = found.pagination.looked_until;
    say(until, lookedUntil ? `, back to ${full(lookedUntil)}` : "");
    actions.update();
    showPager(pager, query, found.pagination);
  });
}

const address = (query, changes) => {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) value ? next.set(name, value) : next.delete(name);
  return `#/jobs${next.size ? `?${next}` : ""}`;
};

function filters(query) {
  const form = h("form", { class: "filters", role: "search", "aria-label": "Filter jobs" });
  const change = (name, value) => (location.hash = address(query, { [name]: value, cursor: "", page: "" }));
  const select = (label, name, choices) => {
    const control = h("select", { name, onchange: (event) => change(name, event.target.value) },
      options([["", "Any"], ...choices.map((choice) => [choice])], query.get(name) ?? ""));
    return [field(label, control), control];
  };
  const workers = h("datalist", { id: "workers" });
  const worker = field("Worker", h("input", { name: "filter[worker_id]", list: "workers", value: query.get("filter[worker_id]") ?? "", placeholder: "Any", autocomplete: "off", spellcheck: "false",
    onchange: (event) => change("filter[worker_id]", event.target.value.trim()), onfocus: () => fillWorkers(workers) }));
  const time = (label, name) => {
    const control = h("input", { type: "datetime-local", name, value: toLocal(query.get(name)),
      onchange: (event) => change(name, event.target.value ? new Date(event.target.value).toISOString() : "") });
    return field(label, control);
  };
  put(form,
    select("Status", "filter[status]", STATUSES)[0], worker, select("Trigger", "filter[trigger]", TRIGGERS)[0],
    time("Created after", "filter[created_after]"), time("Created before", "filter[created_before]"),
    workers, others(query),
    query.size ? h("a", { class: "clear", href: "#/jobs" }, "Clear") : null);
  form.addEventListener("submit", (event) => event.preventDefault());
  return form;
}

/** The filters of the search box, each with a link that removes it. */
function others(query) {
  const found = [...query].filter(([name]) => name.startsWith("filter[") && !FILTERS.includes(name));
  return found.map(([name, value]) => h("a", { class: "tag", href: address(query, { [name]: "", cursor: "", page: "" }), title: "Remove this filter" },
    `${name.slice(7, -1)}: ${value} ×`));
}

/** Offer every worker by its id and name, whatever their number. */
async function fillWorkers(list) {
  if (list.childElementCount) return;
  let cursor = "";
  do {
    const { data, pagination } = await get("/v1/ava/workers", { query: { per_page: "100", cursor } });
    list.append(...data.map((worker) => h("option", { value: worker.id, label: worker.name })));
    cursor = pagination.next_cursor;
  } while (cursor);
}

/** The columns that the address names, else those that were chosen last. */
function shownColumns(query) {
  const names = (query.get("columns") ?? localStorage.getItem(KEPT_COLUMNS))?.split(",");
  const found = COLUMNS.filter(([name, , , isShown]) => (names ? names.includes(name) : isShown));
  return found.length ? found : COLUMNS.filter(([, , , isShown]) => isShown);
}

function columnMenu(query, shown) {
  const box = ([name, title]) => h("label", { class: "row check" },
    h("input", { type: "checkbox", checked: shown.some(([other]) => other === name), onchange: (event) => {
      const names = COLUMNS.map(([each]) => each).filter((each) => (each === name ? event.target.checked : shown.some(([other]) => other === each)));
      localStorage.setItem(KEPT_COLUMNS, names.join(","));
      location.hash = address(query, { columns: names.join(",") });
    } }), title);
  return h("details", { class: "menu" }, h("summary", {}, "Columns"), h("div", {}, COLUMNS.map(box)));
}

function row(job, columns, selected, changed) {
  const status = pill();
  const created = when(job.created_at);
  const ended = when(job.completed_at);
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
      const asked = next.status === "running" && next.cancel_requested_at;
      status.update(asked ? "cancelling" : next.status === "queued" && next.scheduled_at && new Date(next.scheduled_at) > new Date() ? "scheduled" : next.status);
      box.checked = selected.has(next.id);
      say(duration, next.duration_ms !== null ? span(next.duration_ms) : next.started_at ? span(Date.now() - new Date(next.started_at)) : "–");
      say(waited, next.started_at ? span(Math.max(0, new Date(next.started_at) - new Date(next.scheduled_at ?? next.created_at))) : "–");
      say(attempt, `${next.attempt} of ${next.max_attempts}`);
      ended.update(next.completed_at);
      say(error, next.error ?? "");
    },
  };
}

function showPager(pager, query, pagination) {
  const total = pagination.total >= 1000 ? "1,000 or more" : number(pagination.total);
  const key = JSON.stringify([total, pagination.next_cursor, query.get("cursor")]);
  if (pager.dataset.key === key) return;
  pager.dataset.key = key;
  put(pager, h("span", {}, `${total} ${total === "1" ? "job" : "jobs"}`),
    h("span", { class: "row" },
      query.get("cursor") ? h("a", { href: address(query, { cursor: "" }) }, "Newest") : null,
      pagination.next_cursor ? h("a", { href: address(query, { cursor: pagination.next_cursor, page: "" }) }, "Older") : null));
}
