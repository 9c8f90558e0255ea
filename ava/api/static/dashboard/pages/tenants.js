// Tenants: the waiting, running and failed jobs of each tenant, for platform roles.

import { get } from "../api.js";
import { h, Keyed, say } from "../dom.js";
import { number } from "../format.js";
import { button, empty, heading, put, repeat, titles } from "../parts.js";
import { askForLimits } from "../tenant_limits.js";

const COLUMNS = [["Waiting", "waiting"], ["Scheduled", "scheduled"], ["Running", "running"], ["Failed", "failed"], ["Completed", "completed"], ["Cancelled", "cancelled"], ["Share", "share"]];
/** Waiting and running jobs are counted up to this many. */
const MAX_COUNTED = 1000;

export function open(main, { signal, query }) {
  const body = h("div", { role: "rowgroup", class: "rows" });
  const rows = new Keyed(body, (load) => load.tenant_id, row);
  const none = empty("No tenant has jobs that wait, run, or ended in the last hour.");
  none.hidden = true;
  const more = h("nav", { class: "row between pager", "aria-label": "Pages of the list" });
  put(main, heading("Tenants"),
    h("p", { class: "muted" }, "Failed, completed and cancelled jobs are from the last hour. Share: the tenant's part of the total run time of all jobs that ended in it. Click a tenant to see its jobs."),
    h("div", { class: "table tenants", role: "table", "aria-label": "Tenants" },
      titles(["Tenant", ...COLUMNS.map(([title]) => title), ""]), body), none, more);
  let shown = null;
  repeat(signal, 4, async () => {
    const { data, pagination } = await get("/v1/ava/tenants", { query: { per_page: "100", ...Object.fromEntries(query) }, signal });
    rows.show(data.toSorted((one, other) => other.failed - one.failed || other.waiting - one.waiting || other.running - one.running));
    none.hidden = data.length > 0;
    const next = pagination.next_cursor;
    if (next !== shown) put(more, next && [h("span", {}, data.length ? `These are the tenants up to ${data.at(-1).tenant_id}.` : ""), h("a", { href: `#/tenants?cursor=${next}` }, "Others")]);
    shown = next;
  });
}

function row(load) {
  const link = (query) => `/?tenant=${load.tenant_id}#/jobs${query}`;
  const cells = COLUMNS.map(([title, name]) => ({ name, element: h("span", { role: "cell", "data-label": title }) }));
  const failed = h("a", { href: link(`?${new URLSearchParams({ "filter[status]": "failed" })}`) });
  put(cells.find((cell) => cell.name === "failed").element, failed);
  return {
    element: h("div", { role: "row", "data-tenant": load.tenant_id },
      h("span", { role: "cell", class: "first" }, h("a", { href: link(""), class: "mono" }, load.tenant_id)), cells.map((cell) => cell.element),
      h("span", { role: "cell" }, button("Limits …", () => askForLimits(load.tenant_id), { kind: "quiet", "aria-label": `Limits of ${load.tenant_id}` }))),
    update(next) {
      for (const { name, element } of cells) {
        if (name === "share") {
          say(element, next.share === null ? "–" : `${(100 * next.share).toFixed(1)} %`);
          continue;
        }
        // Waiting and scheduled jobs are counted together.
        const count = { waiting: next.waiting + next.scheduled, scheduled: next.waiting + next.scheduled, running: next.running }[name] ?? 0;
        const isBound = count >= MAX_COUNTED;
        say(name === "failed" ? failed : element, `${number(next[name])}${isBound ? " or more" : ""}`);
      }
    },
  };
}
