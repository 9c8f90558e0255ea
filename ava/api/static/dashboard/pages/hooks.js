// Hooks: URLs that receive providers' webhooks, and their deliveries.

import { Contain } from "../contain.js";
import { Deliveries, RECEIVED } from "../deliveries.js";
import { create, rotate, setSecret, tryOut } from "../hook_forms.js";
import { column, minor, recordsPage, state, when, workerLink } from "../records_page.js";
import { addressWith, Button, Empty, html } from "../ui/index.js";

const PATH = "/v1/ava/hooks";
const stateOf = (hook) => (hook.paused ? "paused" : "active");
const needsSecret = (hook) => hook.verifier.scheme !== "none" && hook.secrets === 0;
const COMMAND = "ava hooks create pulls --provider github";
const NO_SECRET = "It has no secret, so it refuses every delivery. Set one with Secret …";
const PAUSE =
  "Its deliveries are accepted and stored as skipped. They start nothing until you replay them.";

const resultOf = ({ worker_id: worker, event_type: type }) =>
  worker
    ? html`<span class="in-text">a job of ${workerLink(worker)}</span>`
    : `an event ${type ?? ""}`;

const COLUMNS = [
  column(
    "Hook",
    "minmax(10rem, 1fr)",
    (hook) => html`<a href=${addressWith({ id: hook.id })} data-hook=${hook.id}>${hook.name}</a>
      ${needsSecret(hook) && html`<small class="bad">has no secret</small>`}`,
  ),
  minor("Provider", "8rem", (hook) => hook.provider),
  column("A delivery becomes", "minmax(10rem, 1.4fr)", resultOf),
  state("7rem", stateOf),
  minor("Changed", "8rem", (hook) => when(hook.updated_at)),
];

export const open = recordsPage({
  title: "Hooks",
  path: PATH,
  noun: ["hook", "hooks"],
  columns: () => COLUMNS,
  empty: html`<${Empty} title="No hooks yet." command=${COMMAND}>
    A hook is a URL that receives a provider's webhooks. Give it to GitHub, Stripe or Slack.
  <//>`,
  create,
  describe: (hook) => ({
    title: hook.name,
    state: stateOf(hook),
    pause: PAUSE,
    remove: `The URL of ${hook.name} stops working immediately; its jobs and events stay.`,
  }),
  actions: (hook, changed, path) => html`
    <${Button} onclick=${() => tryOut(hook, path)}>Test …<//>
    <${Button} onclick=${() => setSecret(hook, path, changed)}>Secret …<//>
    <${Button} onclick=${() => rotate(hook, path, changed)}>New URL …<//>
    <${Contain} parts=${[{ hook_id: hook.id }]} />
  `,
  content: (hook, _, path) => html`
    <p>${hook.provider}. Each delivery becomes ${resultOf(hook)}.</p>
    ${needsSecret(hook) && html`<p class="bad" role="status">${NO_SECRET}</p>`}
    <${Deliveries} kind=${RECEIVED} path=${path} />
  `,
});
