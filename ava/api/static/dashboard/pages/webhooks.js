// Webhooks: endpoints that receive events, and their deliveries.

import { post, saveRecord } from "../api.js";
import { Deliveries, SENT } from "../deliveries.js";
import { healthOf } from "../record_facts.js";
import { column, minor, recordsPage, state, when } from "../records_page.js";
import { addressWith, ask, Button, CheckBox, Empty, html, Input, notify } from "../ui/index.js";

const PATH = "/v1/webhooks";
/** The types of events that a webhook can get. */
const EVENTS = [
  ...["ava.job.completed", "ava.job.failed", "ava.job.cancelled", "ava.job.started"],
  ...["ava.job.queued", "ava.schedule.disabled", "ava.error.opened", "ava.error.regressed"],
];
const stateOf = (webhook) => (webhook.paused ? "paused" : webhook.status);
const eventsOf = ({ events, roots_only: rootsOnly }) =>
  `${events.join(", ")}${rootsOnly ? ", not of child jobs" : ""}`;
const COMMAND = "ava webhooks create https://example.com/hook --event ava.job.failed";

const COLUMNS = [
  column(
    "URL",
    "minmax(14rem, 2fr)",
    (found) => html`
      <a href=${addressWith({ id: found.id })} data-webhook=${found.id}>${found.url}</a>
      <small>${eventsOf(found)}</small>`,
  ),
  state("7rem", stateOf),
  minor("Changed", "8rem", (webhook) => when(webhook.updated_at)),
];

export const open = recordsPage({
  title: "Webhooks",
  path: PATH,
  noun: ["webhook", "webhooks"],
  columns: () => COLUMNS,
  empty: html`<${Empty} title="No webhooks yet." command=${COMMAND}>
    A webhook sends a request when a job ends.
  <//>`,
  create: (done) => openForm(null, done),
  describe: (webhook) => ({
    title: webhook.url,
    state: stateOf(webhook),
    pause: "No events are sent to it. Pending deliveries wait until it is resumed.",
    remove: `No more events will be sent to ${webhook.url}.`,
  }),
  actions: (webhook, changed, path) => html`
    <${Button} onclick=${() => test(path)}>Test<//>
    <${Button} onclick=${() => openForm(webhook, changed)}>Edit<//>
  `,
  content: (webhook, _, path) => html`
    <p>${eventsOf(webhook)}</p>
    <${Deliveries} kind=${SENT} path=${path} types=${EVENTS}
      summary=${(newest) => healthOf(webhook, newest)} />
  `,
});

async function test(path) {
  await post(`${path}/test`);
  notify("Test event queued.");
}

const HINTS = {
  create: "Signs every request; 16 to 256 characters. It is never shown again",
  change: "Empty: keep the current one; for 24 hours a new one signs in addition to it",
};

/** The form of a new webhook (null), or of one that exists. `done` gets the saved webhook. */
function openForm(webhook, done) {
  const { url, events: chosen, roots_only: rootsOnly } = webhook ?? { events: EVENTS.slice(0, 3) };
  const event = (name) =>
    html`<${CheckBox} key=${name} label=${name} name=${name}
      defaultChecked=${chosen.includes(name)} />`;
  ask({
    title: webhook ? "Change this webhook" : "New webhook",
    action: webhook ? "Save" : "Create",
    body: html`
      <${Input} label="URL" name="url" value=${url} type="url" required
        placeholder="https://example.com/hooks" />
      <fieldset class="events"><legend>Events</legend>${EVENTS.map(event)}</fieldset>
      <${CheckBox} label="No events of child jobs" name="roots_only"
        defaultChecked=${rootsOnly} />
      <${Input} label="Secret" name="secret" hint=${webhook ? HINTS.change : HINTS.create}
        required=${!webhook} type="password" minlength="16" maxlength="256"
        autocomplete="new-password" />
    `,
    async submit(values) {
      const body = {
        url: values.url,
        events: EVENTS.filter((name) => values[name]),
        roots_only: Boolean(values.roots_only),
        ...(values.secret && { secret: values.secret }),
      };
      done(await saveRecord(PATH, webhook, body));
    },
  });
}
