// Subscriptions: which events start which jobs, with a tester that shows while you type whether an event matches.

import { call, get, post, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { short } from "../format.js";
import { ask, button, card, empty, field, heading, json, options, pill, repeat, titles, when } from "../parts.js";
import { pauseParts } from "../pauses.js";
import { allWorkers } from "../worker_list.js";

const SAMPLE = { type: "order.paid", data: { number: 7, total: 250 } };
const PATTERN = { data: { total: [{ numeric: [">", 100] }] } };
const TEMPLATE = { number: { $get: "data.number" } };
/** Milliseconds after the last key until the tester asks. */
const QUIET = 250;
const pretty = (value) => JSON.stringify(value, null, 2);
const area = (name, value) => h("textarea", { name, rows: "6", class: "mono", spellcheck: "false" }, value);

export function open(main, { signal }) {
  const body = h("div", { role: "rowgroup", class: "rows" });
  const none = empty("No subscriptions yet. ", session.mayWrite ? "Create one to start jobs from events." : "A subscription starts a job for each matching event.");
  none.hidden = true;
  const refresh = () => turn();
  const rows = new Keyed(body, (found) => found.id, (found) => row(found, refresh));
  const events = h("div", { role: "rowgroup", class: "rows" });
  const shownEvents = new Keyed(events, (event) => event.id, eventRow);
  put(main, heading("Subscriptions", h("a", { href: "#/hooks" }, "Hooks"), session.mayWrite ? button("New subscription", () => create(refresh), { kind: "primary" }) : null),
    h("div", { class: "table subscriptions", role: "table", "aria-label": "Subscriptions" }, titles(["Events", "Worker", "Name", "State", "Changed", ""]), body), none,
    tester(signal),
    card("Received events", {}, h("div", { class: "table incoming", role: "table", "aria-label": "Events" }, titles(["Type", "Source", "Jobs", "Created"]), events)));

  const turn = repeat(signal, 3, async () => {
    const [found, recent] = await Promise.all([
      get("/v1/ava/subscriptions", { query: { per_page: "100" }, signal }), get("/v1/ava/events", { query: { per_page: "10" }, signal }),
    ]);
    rows.show(found.data);
    none.hidden = found.data.length > 0;
    shownEvents.show(recent.data);
  });
}

function row(found, refresh) {
  const path = `/v1/ava/subscriptions/${encodeURIComponent(found.id)}`;
  const state = pill();
  const type = h("span", { role: "cell", "data-label": "Events", class: "mono" });
  const worker = h("a", {});
  const name = h("span", { role: "cell", "data-label": "Name" });
  const changed = when(found.updated_at);
  const rule = h("div", { class: "exchange" });
  const pause = pauseParts(path, { name: `subscription to ${found.event_type}`, changed: refresh, text: `Events of type ${found.event_type} start no jobs of ${found.worker_id}, also after it is resumed.` });
  const remove = button("Delete", () => ask({
    title: "Delete this subscription?", action: "Delete subscription", kind: "danger", text: `Events of type ${found.event_type} start no more jobs of ${found.worker_id}.`,
    submit: async () => {
      await call("DELETE", path);
      refresh();
    },
  }), { kind: "danger" });
  const element = h("div", { role: "row", "data-subscription": found.id },
    type, h("span", { role: "cell", "data-label": "Worker" }, worker), name,
    h("span", { role: "cell", "data-label": "State" }, state.element), h("span", { role: "cell", "data-label": "Changed" }, changed.element),
    h("span", { role: "cell" }, session.mayWrite ? [pause.button, " ", remove] : null),
    h("span", { role: "cell", class: "whole" }, pause.line, h("details", {}, h("summary", {}, "Pattern and template"), rule)));
  return {
    element,
    update(next) {
      say(type, next.event_type);
      worker.href = `#/workers/${next.worker_id}`;
      say(worker, next.worker_id);
      say(name, next.name ?? "–");
      state.update(next.paused ? "paused" : "active");
      pause.update(next.paused);
      changed.update(next.updated_at);
      put(rule, h("section", {}, h("h3", {}, "Pattern"), json(next.match)), h("section", {}, h("h3", {}, "Template"), json(next.input)));
    },
  };
}

function eventRow(event) {
  const jobs = h("span", { role: "cell", "data-label": "Jobs", class: "mono" });
  const element = h("div", { role: "row", "data-event": event.id },
    h("span", { role: "cell", "data-label": "Type", class: "mono", title: event.id }, event.type), h("span", { role: "cell", "data-label": "Source" }, event.source), jobs,
    h("span", { role: "cell", "data-label": "Created" }, when(event.created_at).element));
  const links = (ids) => ids.slice(0, 5).flatMap((id) => [h("a", { href: `#/jobs/${id}`, title: id }, short(id)), " "]);
  const update = (next) => {
    const woken = next.woken_job_ids.length ? ["woke ", links(next.woken_job_ids)] : [];
    put(jobs, next.job_ids.length || woken.length ? [links(next.job_ids), woken] : "–");
  };
  return { element, update };
}

/** The values of the fields that hold JSON; throws with the field's name if one is none. */
function parsed(values) {
  const found = {};
  for (const [name, text] of Object.entries(values)) {
    if (!text.trim()) continue;
    try {
      found[name] = JSON.parse(text);
    } catch (error) {
      throw new Error(`${name}: ${error.message}`, { cause: error });
    }
  }
  return found;
}

/** Says, a moment after each key, whether an event matches, and what its job gets. */
function tester(signal) {
  const event = area("event", pretty(SAMPLE));
  const match = area("match", pretty(PATTERN));
  const input = area("input", pretty(TEMPLATE));
  const verdict = h("p", { role: "status", "data-tester": "" });
  const made = h("div", {});
  let timer;
  const ask = async () => {
    try {
      const { data } = await post("/v1/ava/subscriptions/test", parsed({ event: event.value, match: match.value, input: input.value }), { signal });
      say(verdict, data.matches ? data.reason ?? "The event matches. The job's input:" : `The event does not match. ${data.reason}`);
      put(made, data.input === null ? null : json(data.input));
    } catch (error) {
      if (signal.aborted) return;
      say(verdict, error.message);
      put(made);
    }
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(ask, QUIET);
  };
  for (const control of [event, match, input]) control.addEventListener("input", wait);
  wait();
  return card("Try a pattern", {}, h("div", { class: "exchange" },
    h("section", {}, field("Event", event)), h("section", {}, field("Pattern", match), field("Template", input))), verdict, made);
}

async function create(refresh) {
  const workers = await allWorkers();
  ask({
    title: "New subscription", action: "Create",
    fields: [
      field("Events", h("input", { name: "type", required: true, maxlength: "200", placeholder: "github.pull_request.*" }), "An event type; a trailing .* matches all longer types"),
      field("Worker", h("select", { name: "worker", required: true }, options(workers.map((worker) => [worker.id, worker.name]), ""))),
      field("Name", h("input", { name: "name", maxlength: "200" })),
      field("Pattern", area("match", ""), "Empty: every event of the type matches"),
      field("Template", area("input", ""), "Empty: the input is the whole event"),
    ],
    submit: async ({ type, worker, name, match, input }) => {
      await post("/v1/ava/subscriptions", { event_type: type, worker_id: worker, ...(name ? { name } : {}), ...parsed({ match, input }) });
      refresh();
    },
  });
}
