// The settings of a worker, and the forms that change them.

import { call } from "./api.js";
import { full, span } from "./format.js";
import { Facts } from "./records_page.js";
import { ApprovalField, ask, Button, Card, changedApproval, Empty, html } from "./ui/index.js";
import { Input, mayWrite, notify, TextArea } from "./ui/index.js";

const NAME = "[A-Za-z_][A-Za-z0-9_]{0,63}";
const NAME_TITLE = "A letter or _, then letters, digits and _; at most 64";
const MCP = {
  answer: "yes, a call waits for the end",
  task: "yes, a call returns a task",
  off: "no",
};

export const pathOf = (id) => `/v1/ava/workers/${encodeURIComponent(id)}`;
const patch = (id, body) => call("PATCH", pathOf(id), { body });

/** The buttons that deprecate, undeprecate and delete a worker. */
export function StatusButtons({ worker, onChange }) {
  if (!mayWrite()) return null;
  const { name, status } = worker;
  const set = async (next, said) => {
    await patch(worker.id, { status: next });
    notify(`${name} is ${said}.`);
    onChange();
  };
  const deprecate = () => {
    ask({
      title: `Deprecate ${name}?`,
      action: "Deprecate worker",
      kind: "danger",
      text: "It refuses new jobs, and its schedules skip their firings. Waiting jobs still run.",
      submit: () => set("deprecated", "deprecated"),
    });
  };
  const activate = () => set("active", "active");
  return html`
    ${
      status === "deprecated"
        ? html`<${Button} kind="primary" onclick=${activate}>Activate<//>`
        : html`<${Button} kind="danger" onclick=${deprecate}>Deprecate …<//>`
    }
    ${
      worker.runtime === "pull" &&
      worker.scope === "tenant" &&
      html`<${Button} kind="danger" onclick=${() => askToDelete(worker)}>Delete …<//>`
    }`;
}

function askToDelete({ id, name }) {
  ask({
    title: `Delete ${name}?`,
    action: "Delete worker",
    kind: "danger",
    text: "Its ended jobs stay. Deletion is refused while a job of it waits or runs.",
    submit: async () => {
      await call("DELETE", pathOf(id));
      notify(`${name} is deleted.`);
      location.hash = "#/workers";
    },
  });
}

/** The cards of the settings, of the configuration and of the secrets. */
export function SettingsCards({ worker, onChange }) {
  const props = { worker, onChange };
  const secrets = worker.secrets.map((name) => [name, null]);
  const limits = () => askLimits(worker, onChange);
  return html`
    <${Card} title="Settings"
      actions=${mayWrite() && html`<${Button} onclick=${limits}>Change …<//>`}>
      <${Facts} items=${factsOf(worker)} />
    <//>
    <${Card} title="Configuration" actions=${html`<${SetButton} kind="config" ...${props} />`}>
      <${Entries} kind="config" entries=${Object.entries(worker.config)} ...${props} />
    <//>
    <${Card} title="Secrets" actions=${html`<${SetButton} kind="secrets" ...${props} />`}>
      <${Entries} kind="secrets" entries=${secrets} ...${props} />
    <//>`;
}

function factsOf(worker) {
  const { timeout_seconds: timeout, handler_timeout_seconds: longest } = worker;
  const { max_retries: retries, handler_max_retries: most } = worker;
  const ofMost = (isOther, text) => isOther && html` <small>of at most ${text}</small>`;
  const queue = html`<a href=${`#/queues/${encodeURIComponent(worker.queue)}`}>${worker.queue}</a>`;
  const { max_memory_mb: memory, expires_in_seconds: expiry, retention_days: days } = worker;
  return [
    ["Status", worker.status],
    ["Queue", queue],
    ["Runtime", worker.runtime],
    ["Timeout", [span(timeout * 1000), ofMost(timeout !== longest, span(longest * 1000))]],
    ["Retries", [String(retries), ofMost(retries !== most, String(most)), delays(worker.retry)]],
    ["Memory", memory === null ? "as its nodes allow" : `at most ${memory} MiB per run`],
    ["Unstarted jobs", expiry === null ? "never expire" : `are cancelled after ${expiry} s`],
    ["Job retention", days === null ? "default of the tenant or installation" : `${days} days`],
    ["Approval before the start", approvals(worker)],
    ["MCP tool", MCP[worker.mcp] ?? "as set by AVA_MCP_WORKERS"],
    ["Updated", full(worker.updated_at)],
  ];
}

/** The titles of the approvals that its jobs may need; the first that applies counts. */
function approvals({ handler_approval: handler, approval, platform }) {
  const given = { handler, platform: platform?.approval, tenant: approval };
  const said = Object.entries(given).filter(([, each]) => each);
  if (said.length === 0) return "none";
  const line = ([by, { title, when }]) => html`<span key=${by}>
    ${title} <small>by the ${by}${when ? ", for some inputs" : ""}</small>
  </span>`;
  return said.map(line);
}

/** After which delays attempts are repeated, if that was set. */
function delays(retry) {
  if (!retry) return null;
  const { delays_seconds: each, first_seconds: first, factor } = retry;
  const text = each
    ? `after ${each.map((seconds) => span(seconds * 1000)).join(", ")}`
    : `after ${span(first * 1000)}, each longer by ${factor}`;
  return html` <small>${text}</small>`;
}

/** The tenant's entries, and the names that the platform has set for all tenants. */
function Entries({ kind, entries, worker, onChange }) {
  const { config = {}, secrets = [] } = worker.platform ?? {};
  const ofPlatform = kind === "config" ? Object.keys(config) : secrets;
  const remove = (name) => {
    ask({
      title: `Remove ${name}?`,
      action: `Remove ${name}`,
      kind: "danger",
      text: `Jobs of ${worker.name} that start from now on will not get it.`,
      submit: async () => {
        await patch(worker.id, { [kind]: { [name]: null } });
        onChange();
      },
    });
  };
  const button = (name) => html`<${Button} kind="quiet" aria-label=${`Remove ${name}`}
    onclick=${() => remove(name)}>Remove<//>`;
  const text = (value) => value !== null && html`<small>${value}</small>`;
  const entry = ([name, value]) => html`<li key=${name} class="row between">
    <span><strong class="mono">${name}</strong>${text(value)}</span>
    ${mayWrite() && button(name)}
  </li>`;
  const none = kind === "config" ? "No entries." : "No secrets.";
  return html`
    ${entries.length === 0 && html`<${Empty} title=${none} />`}
    <ul class="plain entries">${entries.map(entry)}</ul>
    ${
      ofPlatform.length > 0 &&
      html`<p class="muted">Set by the platform: ${ofPlatform.join(", ")}</p>`
    }`;
}

function SetButton({ kind, worker, onChange }) {
  if (!mayWrite()) return null;
  const isSecret = kind === "secrets";
  const title = isSecret ? "Set a secret" : "Set an entry";
  const value = isSecret
    ? html`<${Input} label="Value" name="value" type="password" required minlength="4"
        maxlength="8192" autocomplete="new-password"
        hint="4 to 8,192 characters; it is never shown again" />`
    : html`<${TextArea} label="Value" name="value" rows="2" maxlength="8192" />`;
  const where = isSecret ? 'env.secrets["NAME"]' : 'env["NAME"]';
  const set = () => {
    ask({
      title,
      action: "Save",
      text: `Handlers read it as ${where}, in jobs that start from now on.`,
      body: html`<${Input} label="Name" name="name" required pattern=${NAME} title=${NAME_TITLE}
        spellcheck=${false} />${value}`,
      submit: async ({ name, value: text }) => {
        await patch(worker.id, { [kind]: { [name]: text } });
        notify(`${name} is set.`);
        onChange();
      },
    });
  };
  return html`<${Button} onclick=${set}>${title}<//>`;
}

const limitsOf = (worker) =>
  [
    ["timeout", "Timeout in seconds", "timeout_seconds", "any"],
    ["retries", "Retries", "max_retries", "1"],
  ].map(([name, label, key, step]) => ({
    name,
    label,
    key,
    step,
    value: String(worker[key]),
    max: worker[`handler_${key}`],
  }));

function askLimits(worker, onChange) {
  const limits = limitsOf(worker);
  const field = ({ key, ...rest }) => html`<${Input} key=${key} ...${rest} type="number" min="0"
    hint=${`Max ${rest.max}; empty: the handler's value`} />`;
  ask({
    title: `Settings of ${worker.name}`,
    action: "Save",
    body: html`<div class="row">${limits.map(field)}</div>
      <${ApprovalField} rule=${worker.approval} />`,
    submit: async (values) => {
      // Omit unchanged values, so that they still follow the handler and the platform.
      const changed = limits.filter(({ name, value }) => values[name] !== value);
      const numberOf = ({ name }) => (values[name] === "" ? null : Number(values[name]));
      const entries = changed.map((each) => [each.key, numberOf(each)]);
      const body = { ...Object.fromEntries(entries), ...changedApproval(values, worker.approval) };
      if (Object.keys(body).length) await patch(worker.id, body);
      onChange();
    },
  });
}
