// The forms that create and change a webhook.

import { call, post } from "./api.js";
import { h } from "./dom.js";
import { ask, field } from "./parts.js";

/** The types of events. */
export const EVENTS = [
  "ava.job.completed", "ava.job.failed", "ava.job.cancelled", "ava.job.started", "ava.job.queued",
  "ava.schedule.disabled",
  "ava.error.opened",
  "ava.error.regressed",
];

const secret = (required, hint) => field("Secret", h("input", { name: "secret", type: "password", required, minlength: "16", maxlength: "256", autocomplete: "new-password" }), hint);

const fields = (url, chosen, rootsOnly) => [
  field("URL", h("input", { name: "url", type: "url", required: true, placeholder: "https://example.com/hooks", value: url })),
  h("fieldset", { class: "events" }, h("legend", {}, "Events"),
    EVENTS.map((event) => h("label", { class: "row check" }, h("input", { type: "checkbox", name: event, checked: chosen.includes(event) }), event))),
  h("label", { class: "row check" }, h("input", { type: "checkbox", name: "roots_only", checked: rootsOnly }), "No events of child jobs"),
];
const eventsOf = (values) => EVENTS.filter((event) => values[event]);

export function create(refresh) {
  ask({
    title: "New webhook", action: "Create",
    fields: [...fields(null, EVENTS.slice(0, 3), false), secret(true, "Signs every request; 16 to 256 characters. It is never shown again")],
    submit: async (values) => {
      await post("/v1/webhooks", { url: values.url, secret: values.secret, events: eventsOf(values), roots_only: Boolean(values.roots_only) });
      refresh();
    },
  });
}

export function edit(webhook, path, refresh) {
  ask({
    title: "Change this webhook", action: "Save",
    fields: [...fields(webhook.url, webhook.events, webhook.roots_only), secret(false, "Leave empty to keep the current secret; for 24 hours a new one signs in addition to it")],
    submit: async (values) => {
      await call("PATCH", path, { body: { url: values.url, events: eventsOf(values), roots_only: Boolean(values.roots_only), ...(values.secret ? { secret: values.secret } : {}) } });
      refresh();
    },
  });
}
