// Show and change the limits that operators set for a tenant.

import { call, get } from "./api.js";
import { h, put } from "./dom.js";
import { full } from "./format.js";
import { ask, field, notify } from "./parts.js";

const FIELDS = [
  ["max_running", "Max running jobs", { min: "0", step: "1" }, "0: none of its jobs start."],
  ["weight", "Weight", { min: "0", step: "any" }, "Weight in fair queueing; other tenants have 1."],
  ["most_urgent_priority", "Most urgent priority", { min: "1", max: "10", step: "1" }, "The tenant's more urgent jobs get this priority."],
  ["retention_days", "Job retention in days", { min: "0", step: "any" }, "Counted from the end of a job."],
];

export const pathOf = (tenant) => `/v1/ava/tenants/${encodeURIComponent(tenant)}/limits`;

/** The limits of one tenant as facts; `update` takes the record. */
export function tenantFacts() {
  const element = h("dl", { class: "tenant-limits" });
  let shown;
  const update = (limits) => {
    if (shown === (shown = JSON.stringify(limits))) return;
    const facts = FIELDS.map(([name, label]) => [label, limits[name] === null ? "default of the installation" : String(limits[name])]);
    if (limits.updated_at) facts.push(["Set", `${limits.updated_by ?? "by the platform"}, ${full(limits.updated_at)}`]);
    put(element, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  };
  return { element, update };
}

/** A dialog that changes the limits of a tenant, for the roles of the platform. An empty field is the installation's. */
export async function askForLimits(tenant, refresh = () => {}) {
  const { data } = await get(pathOf(tenant));
  ask({
    title: `Limits of ${tenant}`, action: "Set limits", text: "Leave a field empty to use the installation's default. Waiting jobs follow within 2 s; running jobs continue.",
    fields: FIELDS.map(([name, label, bounds, hint]) => field(label, h("input", { name, type: "number", value: data[name] ?? "", ...bounds }), hint)),
    submit: async (values) => {
      await call("PUT", pathOf(tenant), { body: Object.fromEntries(FIELDS.map(([name]) => [name, values[name] === "" ? null : Number(values[name])])) });
      notify(`The limits of ${tenant} are set.`);
      refresh();
    },
  });
}
