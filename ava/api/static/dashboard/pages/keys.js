// API keys: create one, see its token once, revoke it.

import { call, get, post, session } from "../api.js";
import { h, put } from "../dom.js";
import { number, typedMoment } from "../format.js";
import { ask, button, empty, field, heading, momentField, notify, options, repeat, titles, when } from "../parts.js";

// This role may only claim runs, and has no rank among the other roles.
const WORKER = "worker";
/** The role of a new key, as in the CLI, or the caller's own if that is lower. */
const USUAL = "tenant-system-admin";
const ROLES = ["tenant-user", "tenant-admin", "tenant-system-admin", "platform-admin", "platform-system-admin"];

export function open(main, { signal, query }) {
  const list = h("div", { role: "rowgroup", class: "rows" });
  const none = empty("No API keys yet. ", session.mayWrite ? "Create one for each program that calls the API." : "A tenant-system-admin creates them.");
  const pager = h("nav", { class: "row between pager", "aria-label": "Pages of the list" });
  const create = session.mayWrite ? button("New key", () => openForm(() => turn()), { kind: "primary" }) : null;
  put(main, heading("API keys", create),
    h("p", { class: "muted" }, "A key stands for this tenant and a role. Programs send it as Authorization: Bearer, commands as AVA_API_KEY, and agents (MCP) to ",
      h("code", {}, new URL("/mcp", location.href).href), "."),
    h("div", { class: "table keys", role: "table", "aria-label": "API keys" },
      titles(["Name", "Role", "Created", "Last used", "Expires", ""]), list),
    none, pager);

  let shown = "";
  const turn = repeat(signal, 5, async () => {
    const found = await get("/v1/ava/keys", { query: { per_page: "50", cursor: query.get("cursor") }, signal });
    const key = JSON.stringify(found);
    if (key === shown) return;
    shown = key;
    put(list, found.data.map((each) => line(each, () => turn())));
    none.hidden = found.data.length > 0;
    const next = found.pagination.next_cursor;
    put(pager, h("span", {}, `${number(found.pagination.total)} ${found.pagination.total === 1 ? "key" : "keys"}`),
      next ? h("a", { href: `#/keys?${new URLSearchParams({ cursor: next })}` }, "Older") : null);
  });
}

function line(key, refresh) {
  const cell = (label, value, kind = "") => h("span", { role: "cell", "data-label": label, class: kind }, value);
  const isOver = key.expires_at !== null && new Date(key.expires_at) <= new Date();
  return h("div", { role: "row", "data-key": key.id },
    cell("Name", [key.name, h("small", {}, `${key.prefix}…`)]), cell("Role", [key.role, key.workers ? h("small", {}, key.workers.join(", ")) : null]),
    cell("Created", [when(key.created_at).element, h("small", {}, key.created_by)]),
    cell("Last used", key.last_used_at ? when(key.last_used_at).element : "never"),
    cell("Expires", key.expires_at ? when(key.expires_at).element : "never", isOver ? "error" : ""),
    cell("", session.mayWrite ? button("Revoke …", () => openRevoke(key, refresh), { kind: "quiet" }) : ""));
}

function openRevoke(key, refresh) {
  ask({
    title: `Revoke ${key.name}`, text: "Within two seconds, requests with this key are refused. This cannot be undone.", action: "Revoke", kind: "danger",
    async submit() {
      await call("DELETE", `/v1/ava/keys/${encodeURIComponent(key.id)}`);
      notify(`${key.name} is revoked.`);
      refresh();
    },
  });
}

function openForm(refresh) {
  const mine = ROLES.indexOf(session.get()?.role);
  const roles = [WORKER, ...ROLES.filter((_, place) => place <= mine)];
  ask({
    title: "New API key", action: "Create",
    fields: [
      field("Name", h("input", { name: "name", required: true, maxlength: "100", autocomplete: "off" }), "The person or program that uses it."),
      field("Role", h("select", { name: "role" }, options(roles.map((role) => [role]), roles.includes(USUAL) ? USUAL : roles.at(-1)))),
      field("Workers", h("input", { name: "workers", autocomplete: "off" }), "With the role worker: ids of the pull workers for which it claims runs, such as wkr_resize, wkr_crop."),
      momentField("Expires", "expires_at", { hint: "Empty: never" }),
      h("label", { class: "row check" }, h("input", { type: "checkbox", name: "payloads", checked: true }), "Sees payloads: inputs, outputs, log lines"),
    ],
    async submit({ name, role, workers, expires_at: end, payloads }) {
      const ids = role === WORKER ? { workers: workers.split(/[\s,]+/).filter(Boolean) } : {};
      const { data } = await post("/v1/ava/keys", { name, role, expires_at: typedMoment(end), payloads: payloads === "on", ...ids });
      refresh();
      showToken(data);
    },
  });
}

/** The lines by which a command, a program or an agent uses a new key. */
function uses(key) {
  const { origin } = location;
  const lines = ["# ava, the clients, ava start outbox, Django", `export AVA_URL=${origin} AVA_API_KEY=${key.token}`];
  if (key.role !== WORKER) {
    lines.push("# An agent (MCP), here Claude Code", `claude mcp add --transport http ava ${origin}/mcp --header "Authorization: Bearer ${key.token}"`);
  }
  return h("details", {}, h("summary", {}, "How to use it"), h("pre", { class: "json", tabindex: "0" }, lines.join("\n")));
}

function showToken(key) {
  const token = h("code", { class: "token", tabindex: "0" }, key.token);
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(key.token);
    notify("Copied.");
  });
  ask({
    title: `The token of ${key.name}`, text: "It is shown only once. Store it in a secret store.", action: "Done",
    fields: [h("p", { class: "row" }, token, copy), uses(key)],
    async submit() {},
  });
}
