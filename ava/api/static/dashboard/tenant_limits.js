// What operators have set for a tenant, shown and changed.

import { call, get } from "./api.js";
import { h, put } from "./dom.js";
import { full } from "./format.js";
import { ask, field, notify } from "./parts.js";

const FIELDS = [
  ["max_running", "Running jobs at most", { min: "0", step: "1" }, "0: none of its jobs start."],
  ["weight", "Weight", { min: "0", step: "any" }, "Its share of the turns beside other tenants, which have 1."],
  ["most_urgent_priority", "Most urgent priority", { min: "1", max: "10", step: "1" }, "A more urgent job of it gets this priority."],
  ["retention_days", "Days that jobs are kept", { min: "0", step: "any" }, "Counted from the end of a job."],
];

export const pathOf = (tenant) => `/v1/ava/tenants/${encodeURIComponent(tenant)}/limits`;

/** The limits of one tenant as facts; `update` takes the record. */
export function tenantFacts() {
  const element = h("dl", { class: "tenant-limits" });
  let shown;
  const update = (limits) => {
    if (shown === (shown = JSON.stringify(limits))) return;
    const facts = FIELDS.map(([name, label]) => [label, limits[name] === null ? "as the installation says" : String(limits[name])]);
    if (limits.updated_at) facts.push(["Set", `${limits.updated_by ?? "by the platform"}, ${full(limits.updated_at)}`]);
    put(element, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  };
  return { element, update };
}

/** A dialog that changes the limits of a tenant, for the roles of the platform. An empty field is the installation's. */
export async function askForLimits(tenant, refresh = () => {}) {
  const { data } = await get(pathOf(tenant));
  ask({
    title: `Limits of ${tenant}`, action: "Set limits", text: "An empty field is as the installation says. What waits follows within 2 s; what runs goes on.",
    fields: FIELDS.map(([name, label, bounds, hint]) => field(label, h("input", { name, type: "number", value: data[name] ?? "", ...bounds }), hint)),
    submit: async (values) => {
      await call("PUT", pathOf(tenant), { body: Object.fromEntries(FIELDS.map(([name]) => [name, values[name] === "" ? null : Number(values[name])])) });
      notify(`The limits of ${tenant} are set.`);
      refresh();
    },
  });
}
