// The settings of a worker, and the forms that change them.

import { call, session } from "./api.js";
import { h, put } from "./dom.js";
import { full, span } from "./format.js";
import { ask, button, card, empty, field, notify } from "./parts.js";
import { pauseParts } from "./pauses.js";

const NAME = "[A-Za-z_][A-Za-z0-9_]{0,63}";

export const pathOf = (id) => `/v1/ava/workers/${encodeURIComponent(id)}`;
const patch = (id, body) => call("PATCH", pathOf(id), { body });

/** Its pause: the line and the button. Only a platform role resumes what the platform has paused for all tenants. */
export function pauseOf(worker, reads) {
  const ofPlatform = worker.platform?.status === "paused";
  const pause = pauseParts(pathOf(worker.id), {
    name: worker.name, changed: () => reads.now(), body: () => (ofPlatform ? { scope: "platform" } : {}),
    text: "Its jobs are accepted but wait until it is resumed. Its schedules still create jobs.",
  });
  pause.update(worker.paused);
  pause.button.hidden = worker.status === "deprecated" || (ofPlatform && !session.get().isOperator);
  return pause;
}

/** The buttons that delete, deprecate and undeprecate a worker. */
export function statusButtons(worker, reads) {
  const set = async (status, said) => {
    await patch(worker.id, { status });
    notify(`${worker.name} is ${said}.`);
    reads.now();
  };
  const text = "It refuses new jobs, and its schedules skip their firings. Waiting jobs still run.";
  const deprecate = () => ask({ title: `Deprecate ${worker.name}?`, action: "Deprecate worker", text, kind: "danger", submit: () => set("deprecated", "deprecated") });
  return [
    worker.status === "deprecated" ? button("Activate", () => set("active", "active"), { kind: "primary" }) : button("Deprecate …", deprecate, { kind: "danger" }),
    worker.runtime === "pull" && worker.scope === "tenant" ? button("Delete …", () => askToDelete(worker, reads), { kind: "danger" }) : null,
  ];
}

function askToDelete(worker, reads) {
  ask({
    title: `Delete ${worker.name}?`, text: "Its ended jobs stay. Deletion is refused while a job of it waits or runs.", action: "Delete worker", kind: "danger",
    async submit() {
      await reads.delete(pathOf(worker.id));
      notify(`${worker.name} is deleted.`);
      location.hash = "#/workers";
    },
  });
}

/** The cards of the settings, of the configuration and of the secrets, kept up to date. */
export function settingsCards() {
  const facts = card("Settings");
  const config = card("Configuration");
  const secrets = card("Secrets");
  return {
    elements: [facts, config, secrets],
    update(worker, refresh) {
      redraw(facts, "Settings", session.mayWrite ? button("Change …", () => askLimits(worker, refresh)) : null, factsOf(worker));
      redraw(config, "Configuration", setButton("config", worker, refresh), [
        entries("config", Object.entries(worker.config), worker, refresh), platform(worker.platform, "config")]);
      redraw(secrets, "Secrets", setButton("secrets", worker, refresh), [
        entries("secrets", worker.secrets.map((name) => [name, null]), worker, refresh), platform(worker.platform, "secrets")]);
    },
  };
}

const redraw = (element, title, action, content) => put(element, h("header", {}, h("h2", {}, title), action), content);

function factsOf(worker) {
  const declared = (isOther, text) => (isOther ? h("small", {}, `of at most ${text}`) : null);
  const { timeout_seconds: timeout, handler_timeout_seconds: longest, max_retries: retries, handler_max_retries: most } = worker;
  const rows = [
    ["Status", worker.status], ["Queue", worker.queue], ["Runtime", worker.runtime],
    ["Timeout", [span(timeout * 1000), " ", declared(timeout !== longest, span(longest * 1000))]],
    ["Retries", [String(retries), " ", declared(retries !== most, String(most)), delaysOf(worker.retry)]],
    ["Memory", worker.max_memory_mb === null ? "as its nodes allow" : `at most ${worker.max_memory_mb} MiB per run`],
    ["Unstarted jobs", worker.expires_in_seconds === null ? "never expire" : `are cancelled after ${worker.expires_in_seconds} s`],
    ["Job retention", worker.retention_days === null ? "default of the tenant or installation" : `${worker.retention_days} days`],
    ["MCP tool", { answer: "yes, a call waits for the end", task: "yes, a call returns a task", off: "no" }[worker.mcp] ?? "as set by AVA_MCP_WORKERS"],
    ["Updated", full(worker.updated_at)],
  ];
  return h("dl", {}, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** After which delays attempts are repeated, if that was set. */
function delaysOf(retry) {
  if (!retry) return null;
  const { delays_seconds: delays, first_seconds: first, factor } = retry;
  return h("small", {}, delays ? `after ${delays.map((each) => span(each * 1000)).join(", ")}` : `after ${span(first * 1000)}, each longer by ${factor}`);
}

/** The names that the platform has set for all tenants. */
function platform(settings, kind) {
  const names = kind === "config" ? Object.keys(settings?.config ?? {}) : settings?.secrets ?? [];
  return names.length ? h("p", { class: "muted" }, `Set by the platform: ${names.join(", ")}`) : null;
}

function entries(kind, found, worker, refresh) {
  if (!found.length) return empty(kind === "config" ? "No entries." : "No secrets.");
  return h("ul", { class: "plain entries" }, found.map(([name, value]) => h("li", { class: "row between" },
    h("span", {}, h("strong", { class: "mono" }, name), value === null ? null : h("small", {}, value)),
    session.mayWrite ? button("Remove", () => askRemove(kind, name, worker, refresh), { kind: "quiet", "aria-label": `Remove ${name}` }) : null)));
}

function askRemove(kind, name, worker, refresh) {
  ask({
    title: `Remove ${name}?`, action: `Remove ${name}`, kind: "danger", text: `Jobs of ${worker.name} that start from now on will not get it.`,
    submit: async () => {
      await patch(worker.id, { [kind]: { [name]: null } });
      refresh();
    },
  });
}

function setButton(kind, worker, refresh) {
  if (!session.mayWrite) return null;
  const isSecret = kind === "secrets";
  const value = isSecret
    ? h("input", { name: "value", type: "password", required: true, minlength: "4", maxlength: "8192", autocomplete: "new-password" })
    : h("textarea", { name: "value", rows: "2", spellcheck: "false", maxlength: "8192" });
  const where = (name) => (isSecret ? `env.secrets["${name}"]` : `env["${name}"]`);
  return button(isSecret ? "Set a secret" : "Set an entry", () => ask({
    title: isSecret ? "Set a secret" : "Set an entry", action: "Save",
    text: `Handlers read it as ${where("NAME")}, in jobs that start from now on.`,
    fields: [
      field("Name", h("input", { name: "name", required: true, pattern: NAME, title: "A letter or _, then letters, digits and _; at most 64", autocomplete: "off", spellcheck: "false" })),
      field("Value", value, isSecret ? "4 to 8,192 characters; it is never shown again" : null),
    ],
    submit: async ({ name, value: text }) => {
      await patch(worker.id, { [kind]: { [name]: text } });
      notify(`${name} is set.`);
      refresh();
    },
  }));
}

function askLimits(worker, refresh) {
  const numeric = (name, value, most, least, step) => h("input", { name, type: "number", min: least, max: String(most), step, value: String(value) });
  ask({
    title: `Settings of ${worker.name}`, action: "Save",
    fields: [h("div", { class: "row" },
      field("Timeout in seconds", numeric("timeout", worker.timeout_seconds, worker.handler_timeout_seconds, "0", "any"), `Max ${worker.handler_timeout_seconds}; empty: the handler's value`),
      field("Retries", numeric("retries", worker.max_retries, worker.handler_max_retries, "0", "1"), `Max ${worker.handler_max_retries}; empty: the handler's value`))],
    submit: async ({ timeout, retries }) => {
      const valueOf = (text) => (text === "" ? null : Number(text));
      const body = {};
      // Omit unchanged values, so that they still follow the handler and the platform.
      if (timeout !== String(worker.timeout_seconds)) body.timeout_seconds = valueOf(timeout);
      if (retries !== String(worker.max_retries)) body.max_retries = valueOf(retries);
      if (Object.keys(body).length) await patch(worker.id, body);
      refresh();
    },
  });
}
