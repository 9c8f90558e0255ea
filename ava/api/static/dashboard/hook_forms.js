// The forms of hooks: create one with the provider's instructions, set its secret or a new URL, and test it.

import { call, post } from "./api.js";
import { h } from "./dom.js";
import { number } from "./format.js";
import { ask, button, field, notify, options } from "./parts.js";
import { allWorkers } from "./worker_list.js";

const PROVIDERS = [["github", "GitHub"], ["stripe", "Stripe"], ["slack", "Slack"], ["standard", "Standard Webhooks"], ["shopify", "Shopify"], ["none", "None (only the secret URL)"]];
/** What the user does at the provider, where the address is known. */
const STEPS = {
  github: ["In the repository open Settings, Webhooks, Add webhook.", "Payload URL: the hook's URL. Content type: application/json. Secret: the secret below.", "GitHub sends a ping, which starts no job."],
  stripe: ["In Stripe's dashboard open Developers, Webhooks, Add destination.", "Endpoint URL: the hook's URL.", "Reveal the signing secret (whsec_…), and set it here with Secret …; until then deliveries are refused."],
  slack: ["At api.slack.com open your app, Basic Information; copy the Signing Secret, and set it here with Secret …", "Open Event Subscriptions, and enter the hook's URL as Request URL."],
  standard: ["Give the sender the URL and the secret below."],
  shopify: ["In Shopify's admin open Settings, Notifications, Webhooks; create a webhook in JSON format with the hook's URL.", "Shopify shows the secret below the list; set it here with Secret …"],
  none: ["Give the sender the URL. Keep it secret: it is the only proof of the sender."],
};

/** What is shown once, with a button that copies it. */
function once(label, text) {
  const shown = h("input", { readonly: true, value: text, class: "mono", "aria-label": label });
  return field(label, shown, "It is shown only once.");
}

function showOnce(title, hook) {
  const copy = button("Copy the URL", async () => {
    await navigator.clipboard.writeText(hook.url);
    notify("Copied.");
  });
  ask({
    title, action: "Done",
    fields: [
      once("Address", hook.url), copy, hook.secret ? once("Secret", hook.secret) : null,
      h("ol", { class: "steps" }, (STEPS[hook.provider] ?? []).map((step) => h("li", {}, step))),
    ].filter(Boolean),
    submit: async () => {},
  });
}

export async function create(refresh) {
  const workers = await allWorkers();
  ask({
    title: "New hook", action: "Create",
    fields: [
      field("Name", h("input", { name: "name", required: true, pattern: "[a-z0-9][a-z0-9_.\\-]*", maxlength: "60", placeholder: "pulls" }), "a-z, 0-9, _, . and -"),
      field("Provider", h("select", { name: "provider" }, options(PROVIDERS, "github"))),
      field("Makes", h("select", { name: "worker_id" }, options([["", "Events, for the subscriptions"], ...workers.map((worker) => [worker.id, `Jobs of ${worker.name}`])], ""))),
    ],
    submit: async ({ name, provider, worker_id: worker }) => {
      const { data } = await post("/v1/ava/hooks", { name, provider, ...(worker ? { worker_id: worker } : {}) });
      refresh();
      showOnce("The hook is ready", data);
    },
  });
}

export function setSecret(hook, path, refresh) {
  ask({
    title: `Secret of ${hook.name}`, action: "Set", text: "The secrets before stay valid for 24 hours.",
    fields: [field("Secret", h("input", { name: "secret", type: "password", required: true, minlength: "8", autocomplete: "new-password" }), "It is never shown again.")],
    submit: async ({ secret }) => {
      await call("PATCH", path, { body: { secret } });
      notify("The secret is set.");
      refresh();
    },
  });
}

export function rotate(hook, path, refresh) {
  const lives = [["0", "Immediately"], ["3600", "In an hour"], ["86400", "In a day"]];
  ask({
    title: `New URL of ${hook.name}`, action: "Create a new URL",
    fields: [field("The current URL expires", h("select", { name: "keep" }, options(lives, "3600")))],
    submit: async ({ keep }) => {
      const { data } = await post(`${path}/rotate`, { keep_seconds: Number(keep) });
      refresh();
      showOnce("The new URL", data);
    },
  });
}

export function tryOut(hook, path, refresh) {
  const modes = [["signed", "Signed"], ["tampered", "Changed after signing"], ["unsigned", "Unsigned"]];
  const event = hook.provider === "github" ? { "x-github-event": "push" } : hook.provider === "shopify" ? { "x-shopify-topic": "orders/create" } : {};
  const id = `test-${Date.now()}`;
  const sample = hook.provider === "stripe" ? { id, type: "test" } : hook.provider === "slack" ? { type: "event_callback", event_id: id, event: { type: "test" } } : { test: id };
  ask({
    title: `Test ${hook.name}`, action: "Send", text: "The hook treats it as a real delivery and starts the same jobs.",
    fields: [
      field("How", h("select", { name: "mode" }, options(modes, "signed"))),
      field("Body", h("textarea", { name: "body", rows: "6", class: "mono" }, JSON.stringify(sample, null, 2))),
    ],
    submit: async ({ mode, body }) => {
      const { data } = await post(`${path}/test`, { mode, body, headers: event });
      refresh();
      const made = data.reason ?? (data.duplicate ? "It duplicates an earlier delivery." : `It created ${number(data.job_ids.length)} ${data.job_ids.length === 1 ? "job" : "jobs"}.`);
      // The dialog stays open, so that another one can be sent.
      throw new Error(`The sender gets status ${data.status}. ${made}`);
    },
  });
}
