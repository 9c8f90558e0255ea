// The forms of hooks: create one with the provider's instructions, set its secret or URL, test it.

import { call, post } from "./api.js";
import { counted } from "./format.js";
import { ask, Choice, Copy, html, Input, notify, TextArea } from "./ui/index.js";
import { allWorkers } from "./worker_list.js";

const NAME = "[a-z0-9][a-z0-9_.\\-]*";
const PROVIDERS = [
  ["github", "GitHub"],
  ["stripe", "Stripe"],
  ["slack", "Slack"],
  ["standard", "Standard Webhooks"],
  ["shopify", "Shopify"],
  ["none", "None (only the secret URL)"],
];
/** What the user does at the provider, where the address is known. */
const STEPS = {
  github: [
    "In the repository open Settings, Webhooks, Add webhook.",
    "Payload URL: the hook's URL. Content type: application/json. Secret: the secret below.",
    "GitHub sends a ping, which starts no job.",
  ],
  stripe: [
    "In Stripe's dashboard open Developers, Webhooks, Add destination.",
    "Endpoint URL: the hook's URL.",
    "Reveal the signing secret (whsec_…), and set it here with Secret …; until then deliveries " +
      "are refused.",
  ],
  slack: [
    "At api.slack.com open your app, Basic Information; copy the Signing Secret, and set it here " +
      "with Secret …",
    "Open Event Subscriptions, and enter the hook's URL as Request URL.",
  ],
  standard: ["Give the sender the URL and the secret below."],
  shopify: [
    "In Shopify's admin open Settings, Notifications, Webhooks; create a webhook in JSON format " +
      "with the hook's URL.",
    "Shopify shows the secret below the list; set it here with Secret …",
  ],
  none: ["Give the sender the URL. Keep it secret: it is the only proof of the sender."],
};
const LIVES = [
  ["0", "Immediately"],
  ["3600", "In an hour"],
  ["86400", "In a day"],
];
const MODES = [
  ["signed", "Signed"],
  ["tampered", "Changed after signing"],
  ["unsigned", "Unsigned"],
];

/** What is shown once, with a button that copies it. */
function Once({ label, text }) {
  return html`<div class="row end">
    <${Input} label=${label} name=${label} readonly value=${text} class="mono"
      hint="It is shown only once." />
    <${Copy} text=${text} label=${`Copy the ${label.toLowerCase()}`} />
  </div>`;
}

function showOnce(title, hook) {
  ask({
    title,
    action: "Done",
    body: html`
      <${Once} label="URL" text=${hook.url} />
      ${hook.secret && html`<${Once} label="Secret" text=${hook.secret} />`}
      <ol class="steps">
        ${(STEPS[hook.provider] ?? []).map((step) => html`<li key=${step}>${step}</li>`)}
      </ol>
    `,
  });
}

/** The form of a new hook; `done` gets the hook. */
export async function create(done) {
  const workers = await allWorkers();
  const jobs = workers.map(({ id, name }) => [id, `Jobs of ${name}`]);
  const results = [["", "Events, for the subscriptions"], ...jobs];
  ask({
    title: "New hook",
    action: "Create",
    body: html`
      <${Input} label="Name" name="name" required pattern=${NAME} maxlength="60"
        placeholder="pulls" hint="a-z, 0-9, _, . and -" />
      <${Choice} label="Provider" name="provider" value="github" options=${PROVIDERS} />
      <${Choice} label="A delivery becomes" name="worker_id" value="" options=${results} />
    `,
    async submit({ name, provider, worker_id: worker }) {
      const body = { name, provider, ...(worker && { worker_id: worker }) };
      const { data } = await post("/v1/ava/hooks", body);
      done(data);
      showOnce("The hook is ready", data);
    },
  });
}

export function setSecret(hook, path, reload) {
  ask({
    title: `Secret of ${hook.name}`,
    action: "Set",
    text: "The earlier secrets stay valid for 24 hours.",
    body: html`<${Input} label="Secret" name="secret" type="password" required minlength="8"
      autocomplete="new-password" hint="It is never shown again." />`,
    async submit({ secret }) {
      await call("PATCH", path, { body: { secret } });
      notify("The secret is set.");
      reload();
    },
  });
}

export function rotate(hook, path, reload) {
  ask({
    title: `New URL of ${hook.name}`,
    action: "Create a new URL",
    body: html`<${Choice} label="The current URL expires" name="keep" value="3600"
      options=${LIVES} />`,
    async submit({ keep }) {
      const { data } = await post(`${path}/rotate`, { keep_seconds: Number(keep) });
      reload();
      showOnce("The new URL", data);
    },
  });
}

/** A body that the provider could send. */
function sampleOf(provider) {
  const id = `test-${Date.now()}`;
  if (provider === "stripe") return { id, type: "test" };
  const event = { type: "test" };
  if (provider === "slack") return { type: "event_callback", event_id: id, event };
  return { test: id };
}

const EVENT_HEADERS = {
  github: { "x-github-event": "push" },
  shopify: { "x-shopify-topic": "orders/create" },
};

/** The form that sends a delivery to the hook as its provider would. */
export function tryOut(hook, path) {
  const sample = JSON.stringify(sampleOf(hook.provider), null, 2);
  ask({
    title: `Test ${hook.name}`,
    action: "Send",
    text: "The hook treats it as a real delivery and starts the same jobs.",
    body: html`
      <${Choice} label="How" name="mode" value="signed" options=${MODES} />
      <${TextArea} label="Body" name="body" value=${sample} />
    `,
    async submit({ mode, body }) {
      const headers = EVENT_HEADERS[hook.provider] ?? {};
      const { data } = await post(`${path}/test`, { mode, body, headers });
      const jobs = data.job_ids.length;
      const created = `It created ${counted(jobs, "job")}.`;
      const outcome = data.duplicate ? "It duplicates an earlier delivery." : created;
      // The dialog stays open, so that another one can be sent.
      throw new Error(`The sender gets status ${data.status}. ${data.reason ?? outcome}`);
    },
  });
}
