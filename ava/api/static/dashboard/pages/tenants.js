// Tenants: what waits, runs and fails of each, for the roles of the platform.

import { get } from "../api.js";
import { h, Keyed, say } from "../dom.js";
import { number } from "../format.js";
import { empty, heading, put, repeat, titles } from "../parts.js";

const COLUMNS = [["Waiting", "waiting"], ["Scheduled", "scheduled"], ["Running", "running"], ["Failed", "failed"], ["Completed", "completed"], ["Cancelled", "cancelled"]];
/** Waiting and running jobs are counted up to this many. */
const MOST_COUNTED = 1000;

export function open(main, { signal }) {
  const body = h("div", { role: "rowgroup", class: "rows" });
  const rows = new Keyed(body, (load) => load.tenant_id, row);
  const none = empty("No tenant has jobs that wait, run, or ended in the last hour.");
  none.hidden = true;
  put(main, heading("Tenants"),
    h("p", { class: "muted" }, "Failed, completed and cancelled are those of the last hour. A tenant opens its jobs."),
    h("div", { class: "table tenants", role: "table", "aria-label": "Tenants" },
      titles(["Tenant", ...COLUMNS.map(([title]) => title)]), body), none);
  repeat(signal, 4, async () => {
    const { data } = await get("/v1/ava/tenants", { signal });
    rows.show(data);
    none.hidden = data.length > 0;
  });
}

function row(load) {
  const link = (query) => `/?tenant=${load.tenant_id}#/jobs${query}`;
  const cells = COLUMNS.map(([title, name]) => ({ name, element: h("span", { role: "cell", "data-label": title }) }));
  const failed = h("a", { href: link(`?${new URLSearchParams({ "filter[status]": "failed" })}`) });
  put(cells.find((cell) => cell.name === "failed").element, failed);
  return {
    element: h("div", { role: "row", "data-tenant": load.tenant_id },
      h("span", { role: "cell", class: "first" }, h("a", { href: link(""), class: "mono" }, load.tenant_id)), cells.map((cell) => cell.element)),
    update(next) {
      for (const { name, element } of cells) {
        const isBound = ["waiting", "scheduled", "running"].includes(name) && next[name] >= MOST_COUNTED;
        say(name === "failed" ? failed : element, `${number(next[name])}${isBound ? " or more" : ""}`);
      }
    },
  };
}
