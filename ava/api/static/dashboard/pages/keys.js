// API keys: create one, see its token once, revoke it.

import { call, post } from "../api.js";
import { Contain } from "../contain.js";
import { typedMoment } from "../format.js";
import { column, recordsPage, when } from "../records_page.js";
import { ROLES, session } from "../session.js";
import { ask, Button, CheckBox, Choice, Copy, Empty, html, Input } from "../ui/index.js";
import { mayWrite, MomentField, notify } from "../ui/index.js";

const PATH = "/v1/ava/keys";
// This role may only claim runs, and has no rank among the other roles.
const WORKER = "worker";
/** The role of a new key, as in the CLI, or the caller's own if that is lower. */
const USUAL = "tenant-system-admin";

const lead = html`<p class="muted lead">
  A key stands for this tenant and a role. Programs send it as Authorization: Bearer, commands as
  AVA_API_KEY, and agents (MCP) to <code>${new URL("/mcp", location.href).href}</code>.
</p>`;

const columns = (reload) => [
  column(
    "Name",
    "minmax(10rem, 1.4fr)",
    ({ id, name, prefix }) => html`<strong data-key=${id}>${name}</strong>
      <small class="mono">${`${prefix}…`}</small>`,
  ),
  column(
    "Role",
    "minmax(9rem, 1.2fr)",
    ({ role, workers, payloads }) => html`${role}
      ${workers && html`<small>${workers.join(", ")}</small>`}
      ${!payloads && html`<small>sees no payloads</small>`}`,
  ),
  column(
    "Created",
    "minmax(8rem, 1.2fr)",
    ({ created_at: at, created_by: by }) => html`${when(at)}<small>${by}</small>`,
  ),
  column("Last used", "7.5rem", ({ last_used_at: at }) => (at ? when(at) : "never")),
  column("Expires", "7.5rem", ({ expires_at: at }) => {
    if (!at) return "never";
    return html`<span class=${Date.parse(at) <= Date.now() ? "error" : ""}>${when(at)}</span>`;
  }),
  column("", "15rem", (key) => {
    const revoke = () => openRevoke(key, reload);
    const contain = html`<${Contain} parts=${[{ key_id: key.id }]} />`;
    const button = html`<${Button} kind="quiet" onclick=${revoke}>Revoke …<//>`;
    return mayWrite() && html`<div class="row">${contain}${button}</div>`;
  }),
];

export const open = recordsPage({
  title: "API keys",
  path: PATH,
  noun: ["key", "keys"],
  every: 5,
  columns,
  toolbar: lead,
  empty: html`<${Empty} title="No API keys yet." command="ava keys create deploy">
    Each program that calls the API has its own key; a tenant-system-admin creates them.
  <//>`,
  create: openForm,
});

function openRevoke(key, reload) {
  ask({
    title: `Revoke ${key.name}`,
    text: "Within two seconds, requests with this key are refused. This cannot be undone.",
    action: "Revoke",
    kind: "danger",
    async submit() {
      await call("DELETE", `${PATH}/${encodeURIComponent(key.id)}`);
      notify(`${key.name} is revoked.`);
      reload();
    },
  });
}

const WORKERS_HINT =
  "With the role worker: ids of the pull workers for which it claims runs, " +
  "such as wkr_resize, wkr_crop.";

function openForm(reload) {
  const ownRole = session.get().role;
  const roles = [WORKER, ...ROLES.filter((_, rank) => rank <= ROLES.indexOf(ownRole))];
  const chosen = roles.includes(USUAL) ? USUAL : roles.at(-1);
  ask({
    title: "New API key",
    action: "Create",
    body: html`
      <${Input} label="Name" name="name" required maxlength="100"
        hint="The person or program that uses it." />
      <${Choice} label="Role" name="role" value=${chosen} options=${roles} />
      <${Input} label="Workers" name="workers" hint=${WORKERS_HINT} />
      <${MomentField} label="Expires" name="expires_at" hint="Empty: never" />
      <${CheckBox} label="Sees payloads: inputs, outputs, log lines" name="payloads"
        defaultChecked />
    `,
    async submit({ name, role, workers, expires_at: end, payloads }) {
      const ids = role === WORKER ? { workers: workers.split(/[\s,]+/).filter(Boolean) } : {};
      const rights = { role, payloads: payloads === "on", expires_at: typedMoment(end), ...ids };
      const { data } = await post(PATH, { name, ...rights });
      reload();
      showToken(data);
    },
  });
}

function showToken(key) {
  ask({
    title: `The token of ${key.name}`,
    text: "It is shown only once. Store it in a secret store.",
    action: "Done",
    body: html`
      <p class="row">
        <code class="token" tabindex="0">${key.token}</code><${Copy} text=${key.token} />
      </p>
      <details>
        <summary>How to use it</summary>
        <pre class="json" tabindex="0">${usesOf(key)}</pre>
      </details>
    `,
  });
}

/** The lines by which a command, a program or an agent uses a new key. */
function usesOf({ token, role }) {
  const { origin } = location;
  const lines = [
    "# ava, the clients, ava start outbox, Django",
    `export AVA_URL=${origin} AVA_API_KEY=${token}`,
  ];
  const header = `--header "Authorization: Bearer ${token}"`;
  const agent = [
    "# An agent (MCP), here Claude Code",
    `claude mcp add --transport http ava ${origin}/mcp ${header}`,
  ];
  return [...lines, ...(role === WORKER ? [] : agent)].join("\n");
}
