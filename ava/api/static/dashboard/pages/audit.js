// Audit: who changed what, from where.

import { get } from "../api.js";
import { h, put } from "../dom.js";
import { empty, heading, titles, when } from "../parts.js";

export async function open(main, { signal, query }) {
  const list = h("div", { role: "rowgroup", class: "rows" });
  const more = h("nav", { class: "row between pager", "aria-label": "Pages of the list" });
  put(main, heading("Audit trail"),
    h("div", { class: "table audit", role: "table", "aria-label": "Audit trail" },
      titles(["Time", "User", "Action", "Target", "Status", "Address"]), list), more);
  const found = await get("/v1/ava/audit", { query: { per_page: "50", ...Object.fromEntries(query) }, signal });
  put(list, found.data.map(line));
  if (!found.data.length) more.before(empty("No entries yet. Every request that changes data, or is refused, is listed here."));
  if (found.pagination.next_cursor) {
    const next = new URLSearchParams(query);
    next.set("cursor", found.pagination.next_cursor);
    put(more, h("span", {}, ""), h("a", { href: `#/audit?${next}` }, "Older"));
  }
}

function changed(changes) {
  return Object.entries(changes).map(([name, [old, now]]) => `${name}: ${JSON.stringify(old)} → ${JSON.stringify(now)}`).join("; ");
}

function line(entry) {
  const target = entry.target?.startsWith("job_") ? h("a", { href: `#/jobs/${entry.target}` }, entry.target) : entry.target ?? "–";
  const cell = (label, value, kind = "") => h("span", { role: "cell", "data-label": label, class: kind }, value);
  return h("div", { role: "row" }, cell("Time", when(entry.at).element), cell("User", [entry.user_id, h("small", {}, entry.role), entry.key_id && entry.key_id !== entry.user_id && h("small", {}, `by ${entry.key_id}`)]), cell("Action", [entry.action, entry.changes && h("small", {}, changed(entry.changes))]),
    cell("Target", target, "mono"), cell("Status", entry.occurrences ? `${entry.status} × ${entry.occurrences}` : String(entry.status), entry.status >= 400 ? "error" : ""), cell("Address", entry.address, "mono"));
}
