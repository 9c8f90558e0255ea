// The forms that create and change a webhook, and that resend deliveries.

import { call, post } from "./api.js";
import { h } from "./dom.js";
import { number, typedMoment } from "./format.js";
import { ask, field, momentField, notify, options } from "./parts.js";

/** The types of events. */
export const EVENTS = [
  "ava.job.completed", "ava.job.failed", "ava.job.cancelled", "ava.job.started", "ava.job.queued",
  "ava.schedule.disabled",
  "ava.error.opened",
  "ava.error.regressed",
];
const DAY = 24 * 3600 * 1000;

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

/** Send many deliveries again. `shown` are the filters of the list, which are chosen at first. */
export function redeliverMany(webhook, path, shown, refresh) {
  ask({
    title: "Send deliveries again?", action: "Send again",
    text: `Each delivery to ${webhook.url} that matches is sent again with the same id and body.`,
    fields: [
      field("State", h("select", { name: "status" }, options([["abandoned", "Abandoned"], ["delivered", "Delivered"]], shown.status))),
      field("Event", h("select", { name: "event" }, options([["", "All"], ...EVENTS.map((event) => [event])], shown.event))),
      momentField("Created since", "since", { at: new Date(Date.now() - DAY).toISOString(), required: true }),
      momentField("Created before", "until", { hint: "Empty: until now" }),
    ],
    submit: async ({ since, until, status, event }) => {
      const { data } = await post(`${path}/deliveries/redeliver`, { since: typedMoment(since), status,
        ...(until ? { until: typedMoment(until) } : {}), ...(event ? { event } : {}) });
      notify(`${number(data.redelivered)} deliveries queued again.`);
      refresh();
    },
  });
}
