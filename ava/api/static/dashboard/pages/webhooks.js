// Webhooks: the endpoints and their deliveries.

import { call, get, post, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { ago, bytes, number, short, span } from "../format.js";
import { ask, button, empty, field, heading, json, notify, options, pill, RecordReads, repeat, titles, when } from "../parts.js";
import { create, edit, EVENTS, redeliverMany } from "../webhook_forms.js";

/** The deliveries of which the ratio is taken, and those that are shown. */
const COUNTED = "50";
const SHOWN = 10;
const STATES = [["", "All"], ["pending", "Pending"], ["delivered", "Delivered"], ["abandoned", "Abandoned"]];

export function open(main, { signal }) {
  const list = h("div", {});
  const none = empty("No webhooks yet. ", session.mayWrite ? "Create one to get a request when a job ends." : "A webhook sends a request when a job ends.");
  none.hidden = true;
  const refresh = () => turn();
  const endpoints = new Keyed(list, (webhook) => webhook.id, (webhook) => endpoint(webhook, signal, refresh));
  put(main, heading("Webhooks", h("a", { href: "#/hooks" }, "Hooks (in)"), session.mayWrite ? button("New webhook", () => create(refresh), { kind: "primary" }) : null), list, none);

  const turn = repeat(signal, 3, async () => {
    let found;
    try {
      // A tenant has at most 100.
      found = await get("/v1/webhooks", { query: { per_page: "100" }, signal });
    } catch (error) {
      if (error.status !== 404) throw error;
      say(none, "This server does not support webhooks.");
      none.hidden = false;
      return;
    }
    endpoints.show(found.data);
    none.hidden = found.data.length > 0;
  });
}

function endpoint(webhook, signal, refresh) {
  const path = `/v1/webhooks/${encodeURIComponent(webhook.id)}`;
  const state = pill();
  const url = h("span", {}, webhook.url);
  const events = h("p", { class: "muted" });
  const health = h("p", { class: "health" });
  let current = webhook;
  const shown = h("select", { name: "status", onchange: () => load() }, options(STATES, ""));
  const event = h("select", { onchange: () => load() }, options([["", "All"], ...EVENTS.map((name) => [name])], ""));
  const pause = button("Pause", () => enable(false));
  const resume = button("Resume", () => enable(true), { kind: "primary" });
  const enable = async (enabled) => {
    await call("PATCH", path, { body: { enabled } });
    refresh();
  };
  const body = h("div", { role: "rowgroup", class: "rows" });
  const none = empty("No deliveries yet. ", session.mayWrite ? "Test sends an event now." : null);
  const rows = new Keyed(body, (delivery) => delivery.id, (delivery) => deliveryRow(delivery, path));
  const actions = session.mayWrite ? [
    button("Test", async () => {
      await post(`${path}/test`);
      notify("Test event queued.");
      load();
    }),
    pause, resume,
    button("Edit", () => edit(current, path, refresh)),
    button("Redeliver …", () => redeliverMany(current, path, { status: shown.value, event: event.value }, () => load())),
    button("Delete", () => remove(webhook, path, reads, refresh), { kind: "danger" }),
  ] : [];
  const element = h("section", { class: "card endpoint", "aria-label": `Webhook ${webhook.url}, ${short(webhook.id)}`, "data-webhook": webhook.id },
    h("header", {}, h("h2", {}, url, " ", state.element), h("div", { class: "row" }, actions)),
    events, health, h("div", { class: "row end" }, field("Deliveries", shown), field("Event", event)),
    h("div", { class: "table deliveries", role: "table", "aria-label": "Deliveries" },
      titles(["State", "Event", "Job", "Created", "Last request", ""]), body), none);
  const reads = new RecordReads(signal, (whileShown) => repeat(whileShown, 3, async () => {
    const { data } = await get(`${path}/deliveries`, { query: { per_page: COUNTED }, signal: whileShown }).catch(unlessDeleted);
    if (!data) return;
    const filter = { "filter[status]": shown.value, "filter[event]": event.value };
    const found = shown.value || event.value ? (await get(`${path}/deliveries`, { query: { per_page: String(SHOWN), ...filter }, signal: whileShown }).catch(unlessDeleted)).data ?? [] : data;
    say(health, healthOf(current, data));
    rows.show(found.slice(0, SHOWN));
    none.hidden = found.length > 0;
  }));
  const load = () => reads.now();
  return {
    element,
    close: () => reads.end(),
    update(next) {
      current = next;
      say(url, next.url);
      state.update(next.status);
      element.dataset.health = next.status;
      pause.hidden = next.status === "disabled";
      resume.hidden = !pause.hidden;
      say(events, `${next.events.join(", ")}${next.roots_only ? ", not of child jobs" : ""}`);
    },
  };
}

/** A webhook that was deleted in another tab is no error: the list leaves it out the next time. */
function unlessDeleted(error) {
  if (error.status !== 404) throw error;
  return {};
}

/** What an endpoint's status and its newest deliveries mean. */
function healthOf(webhook, deliveries) {
  const ended = deliveries.filter((delivery) => delivery.status !== "pending");
  const delivered = ended.filter((delivery) => delivery.status === "delivered").length;
  const ratio = ended.length ? `${Math.round((100 * delivered) / ended.length)} % of the last ${number(ended.length)} deliveries succeeded.` : "";
  if (webhook.disabled_reason === "gone") return `The endpoint responded 410 (Gone), so no events are sent to it. ${ratio}`;
  if (webhook.status === "disabled") return `Paused: no events are sent to it. ${ratio}`;
  if (webhook.status === "degraded") return `A delivery was abandoned, and none has succeeded since; events are still sent. ${ratio}`;
  return ratio;
}

function remove(webhook, path, reads, refresh) {
  ask({
    title: "Delete this webhook?", action: "Delete webhook", kind: "danger", text: `No more events will be sent to ${webhook.url}.`,
    submit: async () => {
      await reads.delete(path);
      refresh();
    },
  });
}

function deliveryRow(delivery, path) {
  const state = pill();
  const said = h("span", {});
  const answers = h("div", {});
  const sent = h("div", {}, h("p", { class: "muted" }, "Loading the request …"));
  const more = h("details", { hidden: true, ontoggle: () => more.open && loadBody() }, h("summary", {}, "Request and responses"),
    h("div", { class: "exchange" }, h("section", {}, h("h3", {}, "Request"), sent), h("section", {}, h("h3", {}, "Responses"), answers)));
  let isLoaded = false;
  const loadBody = async () => {
    if (isLoaded) return;
    isLoaded = true;
    try {
      const { data } = await get(`${path}/deliveries/${encodeURIComponent(delivery.id)}/body`);
      put(sent, data.body === null ? h("p", { class: "muted" }, "Your role may not see the body.") : bodyOf(data));
    } catch (error) {
      isLoaded = false;
      put(sent, h("p", { role: "alert" }, error.message));
    }
  };
  const last = h("span", { role: "cell", "data-label": "Last request" }, said);
  const again = session.mayWrite ? button("Redeliver", async () => {
    await post(`${path}/deliveries/${encodeURIComponent(delivery.id)}/redeliver`);
    notify("Delivery queued again.");
  }) : null;
  const element = h("div", { role: "row", "data-delivery": delivery.id },
    h("span", { role: "cell", "data-label": "State" }, state.element),
    h("span", { role: "cell", "data-label": "Event" }, (delivery.event_type ?? delivery.type ?? "").replace(/^ava\./, "")),
    h("span", { role: "cell", "data-label": "Job", class: "mono" }, delivery.job_id ? h("a", { href: `#/jobs/${delivery.job_id}`, title: delivery.job_id }, short(delivery.job_id)) : "–"),
    h("span", { role: "cell", "data-label": "Created" }, when(delivery.created_at).element), last,
    h("span", { role: "cell" }, again), h("span", { role: "cell", class: "whole" }, more));
  return {
    element,
    update(next) {
      state.update(next.status);
      if (again) again.hidden = next.status === "pending";
      say(said, describe(next));
      more.hidden = next.attempts.length === 0;
      put(answers, next.attempts.map((attempt) => h("p", {}, h("span", { class: "muted" }, `${attempt.number}. `), attempt.error ?? `status ${attempt.status}`, " ",
        when(attempt.at).element, attempt.answer ? h("pre", {}, attempt.answer) : null)));
    },
  };
}

/** What was sent, as JSON if all of it is here. */
function bodyOf({ body, body_bytes: size }) {
  try {
    return json(JSON.parse(body));
  } catch {
    return [h("p", { class: "muted" }, `The beginning of ${bytes(size)}`), h("pre", { class: "json", tabindex: "0" }, body)];
  }
}

const nextRequest = (at) => (new Date(at) <= new Date() ? "due now" : `next request ${ago(at)}`);

function describe(delivery) {
  const attempts = delivery.attempts ?? [];
  const attempt = attempts.at(-1);
  const next = delivery.status === "pending" && delivery.next_attempt_at ? nextRequest(delivery.next_attempt_at) : "";
  if (!attempt) return next || "not sent yet";
  const outcome = attempt.error ?? `status ${attempt.status}`;
  return `${attempts.length > 1 ? `${number(attempts.length)} requests, last: ` : ""}${outcome}${attempt.duration_ms === undefined ? "" : `, ${span(attempt.duration_ms)}`}${next ? `; ${next}` : ""}`;
}
