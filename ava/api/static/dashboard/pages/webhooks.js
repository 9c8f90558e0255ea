// Webhooks: the endpoints and their deliveries.

import { call, get, post, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { number, short, span } from "../format.js";
import { ask, button, empty, field, heading, notify, pill, repeat, when } from "../parts.js";

const EVENTS = [
  "ava.job.completed", "ava.job.failed", "ava.job.cancelled", "ava.job.started", "ava.job.queued",
  "ava.schedule.disabled",
  "ava.error.opened",
  "ava.error.regressed",
];

export function open(main, { signal }) {
  const list = h("div", {});
  const none = empty("No webhooks yet.");
  none.hidden = true;
  const refresh = () => turn();
  const endpoints = new Keyed(list, (webhook) => webhook.id, (webhook) => endpoint(webhook, signal, refresh));
  put(main, heading("Webhooks", session.mayWrite ? button("New webhook", () => create(refresh), { kind: "primary" }) : null), list, none);

  const turn = repeat(signal, 3, async () => {
    let found;
    try {
      found = await get("/v1/webhooks", { query: { per_page: "50" }, signal });
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

function create(refresh) {
  ask({
    title: "New webhook", action: "Create",
    fields: [
      field("URL", h("input", { name: "url", type: "url", required: true, placeholder: "https://example.com/hooks" })),
      h("fieldset", { class: "events" }, h("legend", {}, "Events"),
        EVENTS.map((event, place) => h("label", { class: "row check" }, h("input", { type: "checkbox", name: event, checked: place < 3 }), event))),
      field("Secret", h("input", { name: "secret", type: "password", required: true, autocomplete: "new-password" }), "Signs every request, 16 to 256 characters; it is never shown again"),
    ],
    submit: async (values) => {
      await post("/v1/webhooks", { url: values.url, secret: values.secret, events: EVENTS.filter((event) => values[event]) });
      refresh();
    },
  });
}

function endpoint(webhook, signal, refresh) {
  const path = `/v1/webhooks/${encodeURIComponent(webhook.id)}`;
  const state = pill();
  const events = h("p", { class: "muted" });
  const body = h("div", { role: "rowgroup", class: "rows" });
  const none = empty("No deliveries yet.");
  const rows = new Keyed(body, (delivery) => delivery.id, (delivery) => deliveryRow(delivery, path));
  const actions = session.mayWrite ? [
    button("Test", async () => {
      await post(`${path}/test`);
      notify("Test event queued.");
      load();
    }),
    button("Delete", () => remove(webhook, path, refresh), { kind: "danger" }),
  ] : [];
  const element = h("section", { class: "card endpoint", "aria-label": `Webhook ${webhook.url}`, "data-webhook": webhook.id },
    h("header", {}, h("h2", {}, webhook.url, " ", state.element), h("div", { class: "row" }, actions)),
    events,
    h("div", { class: "table deliveries", role: "table", "aria-label": "Deliveries" },
      h("div", { role: "rowgroup", class: "head" }, h("div", { role: "row" },
        ["State", "Event", "Job", "Created", "Last request", ""].map((name) => h("span", { role: "columnheader" }, name)))), body), none);
  const load = repeat(signal, 3, async () => {
    if (!element.isConnected && body.childElementCount) return;
    const { data } = await get(`${path}/deliveries`, { query: { per_page: "10" }, signal });
    rows.show(data);
    none.hidden = data.length > 0;
  });
  return {
    element,
    update(next) {
      state.update(next.status);
      say(events, next.events.join(", "));
    },
  };
}

function remove(webhook, path, refresh) {
  ask({
    title: "Delete this webhook?", action: "Delete webhook", kind: "danger", text: `No more events will be sent to ${webhook.url}.`,
    submit: async () => {
      await call("DELETE", path);
      refresh();
    },
  });
}

function deliveryRow(delivery, path) {
  const state = pill();
  const last = h("span", { role: "cell", "data-label": "Last request" });
  const again = session.mayWrite ? button("Redeliver", async () => {
    await post(`${path}/deliveries/${encodeURIComponent(delivery.id)}/redeliver`);
    notify("Delivery queued again.");
  }) : null;
  const element = h("div", { role: "row", "data-delivery": delivery.id },
    h("span", { role: "cell", "data-label": "State" }, state.element),
    h("span", { role: "cell", "data-label": "Event" }, (delivery.event_type ?? delivery.type ?? "").replace(/^ava\./, "")),
    h("span", { role: "cell", "data-label": "Job", class: "mono" }, delivery.job_id ? h("a", { href: `#/jobs/${delivery.job_id}`, title: delivery.job_id }, short(delivery.job_id)) : "–"),
    h("span", { role: "cell", "data-label": "Created" }, when(delivery.created_at).element), last,
    h("span", { role: "cell" }, again));
  return {
    element,
    update(next) {
      state.update(next.status);
      if (again) again.hidden = next.status === "pending";
      say(last, describe(next));
    },
  };
}

function describe(delivery) {
  const attempts = delivery.attempts ?? [];
  const attempt = attempts.at(-1);
  if (!attempt) return "not sent yet";
  const outcome = attempt.error ?? `status ${attempt.status}`;
  return `${attempts.length > 1 ? `${number(attempts.length)} requests, last: ` : ""}${outcome}${attempt.duration_ms === undefined ? "" : `, ${span(attempt.duration_ms)}`}`;
}
