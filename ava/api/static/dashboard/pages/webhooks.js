// Webhooks: the endpoints and their deliveries.

import { get, post, session } from "../api.js";
import { deliveryTable, SENT } from "../delivery_table.js";
import { h, Keyed, put, say } from "../dom.js";
import { number, short } from "../format.js";
import { ask, button, empty, heading, notify, pill, repeat } from "../parts.js";
import { pauseParts } from "../pauses.js";
import { create, edit, EVENTS } from "../webhook_forms.js";

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
  const deliveries = deliveryTable({ kind: SENT, path, types: EVENTS, signal, newest: (found) => say(health, healthOf(current, found)) });
  const pause = pauseParts(path, { name: webhook.url, changed: refresh, text: "No events are sent to it. Pending deliveries wait until it is resumed." });
  const actions = session.mayWrite ? [
    button("Test", async () => {
      await post(`${path}/test`);
      notify("Test event queued.");
      deliveries.reads.now();
    }),
    pause.button,
    button("Edit", () => edit(current, path, refresh)),
    deliveries.many,
    button("Delete", () => remove(webhook, path, deliveries.reads, refresh), { kind: "danger" }),
  ] : [];
  const element = h("section", { class: "card endpoint", "aria-label": `Webhook ${webhook.url}, ${short(webhook.id)}`, "data-webhook": webhook.id },
    h("header", {}, h("h2", {}, url, " ", state.element), h("div", { class: "row" }, actions)),
    events, pause.line, health, deliveries.elements);
  return {
    element,
    close: () => deliveries.reads.end(),
    update(next) {
      current = next;
      say(url, next.url);
      const status = next.paused ? "paused" : next.status;
      state.update(status);
      element.dataset.health = status;
      pause.update(next.paused);
      say(events, `${next.events.join(", ")}${next.roots_only ? ", not of child jobs" : ""}`);
    },
  };
}

/** What an endpoint's status and its newest deliveries mean. */
function healthOf(webhook, deliveries) {
  const ended = deliveries.filter((delivery) => delivery.status !== "pending");
  const delivered = ended.filter((delivery) => delivery.status === "delivered").length;
  const ratio = ended.length ? `${Math.round((100 * delivered) / ended.length)} % of the last ${number(ended.length)} deliveries succeeded.` : "";
  if (webhook.paused) return `No events are sent to it while it is paused. ${ratio}`;
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
