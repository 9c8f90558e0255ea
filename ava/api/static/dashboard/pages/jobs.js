// Jobs: a list that keeps up to date. The address holds the API's filters, so that a view can be shared.

import { get, post, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { number, short, span, toLocal } from "../format.js";
import { ask, button, empty, field, heading, notify, options, pill, repeat, when } from "../parts.js";
import { runButton } from "../trigger.js";

const FINAL = ["completed", "failed", "cancelled"];
const STATUSES = ["queued", "running", ...FINAL];
const TRIGGERS = ["manual", "scheduled", "webhook", "event"];
const PER_PAGE = "25";

export function open(main, { signal, query }) {
  const selected = new Map();
  const body = h("div", { class: "rows", role: "rowgroup" });
  const rows = new Keyed(body, (job) => job.id, (job) => row(job, selected, () => actions.update()));
  const none = empty("No jobs match this filter.");
  const pager = h("nav", { class: "row between pager", "aria-label": "Pages of the list" });
  const actions = bulkActions(selected, query, () => refresh());
  put(main,
    heading("Jobs", runButton()),
    filters(query),
    actions.element,
    h("div", { class: "table jobs", role: "table", "aria-label": "Jobs" },
      h("div", { role: "rowgroup", class: "head" }, h("div", { role: "row" },
        ["", "Status", "Job", "Worker", "Priority", "Trigger", "Created", "Duration"].map((name) => h("span", { role: "columnheader" }, name)))),
      body),
    none, pager);
  none.hidden = true;

  const refresh = repeat(signal, 2, async () => {
    const found = await get("/v1/ava/jobs", { query: { per_page: PER_PAGE, ...Object.fromEntries(query) }, signal });
    rows.show(found.data);
    none.hidden = found.data.length > 0;
    const here = new Set(found.data.map((job) => job.id));
    for (const id of selected.keys()) if (!here.has(id)) selected.delete(id);
    for (const job of found.data) if (selected.has(job.id)) selected.set(job.id, job);
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
  const [worker, workerControl] = select("Worker", "filter[worker_id]", []);
  const time = (label, name) => {
    const control = h("input", { type: "datetime-local", name, value: toLocal(query.get(name)),
      onchange: (event) => change(name, event.target.value ? new Date(event.target.value).toISOString() : "") });
    return field(label, control);
  };
  put(form,
    select("Status", "filter[status]", STATUSES)[0], worker, select("Trigger", "filter[trigger]", TRIGGERS)[0],
    time("Created after", "filter[created_after]"), time("Created before", "filter[created_before]"),
    query.size ? h("a", { class: "clear", href: "#/jobs" }, "Clear") : null);
  form.addEventListener("submit", (event) => event.preventDefault());
  get("/v1/ava/workers", { query: { per_page: "100" } }).then(({ data }) => {
    const now = query.get("filter[worker_id]") ?? "";
    const ids = data.map((found) => found.id);
    if (now && !ids.includes(now)) ids.unshift(now);
    put(workerControl, options([["", "Any"], ...ids.map((id) => [id])], now));
  }).catch(() => {});
  return form;
}

function row(job, selected, changed) {
  const status = pill();
  const created = when(job.created_at);
  const duration = h("span", { role: "cell", "data-label": "Duration" });
  const error = h("span", { class: "error" });
  const box = h("input", { type: "checkbox", "aria-label": `Select ${job.id}`, onchange: (event) => {
    event.target.checked ? selected.set(job.id, job) : selected.delete(job.id);
    changed();
  } });
  const element = h("div", { role: "row", "data-job": job.id },
    h("span", { role: "cell", class: "choose" }, box),
    h("span", { role: "cell", "data-label": "Status" }, status.element),
    h("span", { role: "cell", "data-label": "Job", class: "mono" }, h("a", { href: `#/jobs/${job.id}`, title: job.id }, short(job.id)), error),
    h("span", { role: "cell", "data-label": "Worker" }, job.worker_id),
    h("span", { role: "cell", "data-label": "Priority" }, String(job.priority)),
    h("span", { role: "cell", "data-label": "Trigger" }, job.trigger),
    h("span", { role: "cell", "data-label": "Created" }, created.element),
    duration);
  return {
    element,
    update(next) {
      const asked = next.status === "running" && next.cancel_requested_at;
      status.update(asked ? "cancelling" : next.status === "queued" && next.scheduled_at && new Date(next.scheduled_at) > new Date() ? "scheduled" : next.status);
      box.checked = selected.has(next.id);
      say(duration, next.duration_ms !== null ? span(next.duration_ms) : next.started_at ? span(Date.now() - new Date(next.started_at)) : "–");
      say(error, next.error ?? "");
    },
  };
}

function bulkActions(selected, query, refresh) {
  const count = h("span", {});
  const some = (states) => [...selected.values()].filter((job) => states.includes(job.status));
  const all = async (jobs, verb, done) => {
    const results = await Promise.allSettled(jobs.map((job) => post(`/v1/ava/jobs/${job.id}/${verb}`)));
    const refused = results.filter((result) => result.status === "rejected");
    notify(`${number(results.length - refused.length)} ${done}${refused.length ? `; ${refused[0].reason.message}` : ""}`, refused.length ? "bad" : "good");
    selected.clear();
    refresh();
  };
  const cancel = button("Cancel selected", () => all(some(["queued", "running"]), "cancel", "cancelled or cancel requested"));
  const retry = button("Retry selected", () => all(some(FINAL), "retry", "retried"));
  const matching = button("Cancel all that match", () => cancelAll(query, refresh), { kind: "danger" });
  const element = h("div", { class: "row bulk", "aria-label": "Bulk actions" }, count, cancel, retry, matching);
  element.hidden = !session.mayWrite;
  return {
    element,
    update() {
      say(count, selected.size ? `${number(selected.size)} selected` : "None selected");
      cancel.disabled = !some(["queued", "running"]).length;
      retry.disabled = !some(FINAL).length;
    },
  };
}

function cancelAll(query, refresh) {
  const filter = {};
  for (const [name, value] of query) {
    const inner = /^filter\[(\w+)\]$/.exec(name);
    if (inner) filter[inner[1]] = value;
  }
  const words = Object.entries(filter).map(([name, value]) => `${name} ${value}`).join(", ") || "no filter: all jobs of this tenant";
  ask({
    title: "Cancel all that match?", action: "Cancel jobs", kind: "danger",
    text: `Queued and running jobs that match (${words}) will be cancelled. This cannot be undone.`,
    submit: async () => {
      const { data } = await post("/v1/ava/jobs/cancel", { filter });
      notify(`${number(data.cancelled)} cancelled, ${number(data.signalled)} running jobs asked to stop`);
      refresh();
    },
  });
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
