// Show and change the limits that operators set for a tenant.

import { call, get } from "./api.js";
import { full } from "./format.js";
import { Facts } from "./records_page.js";
import { ask, html, Input, notify } from "./ui/index.js";

/** The name, the label, the bounds and the hint of each limit. */
const FIELDS = [
  ["max_running", "Max running jobs", { min: 0, step: 1 }, "0: none of its jobs start."],
  ["weight", "Weight", { min: 0, step: "any" }, "In fair queueing; other tenants have 1."],
  [
    "most_urgent_priority",
    "Most urgent priority",
    { min: 1, max: 10, step: 1 },
    "The tenant's more urgent jobs get this priority.",
  ],
  ["retention_days", "Job retention in days", { min: 0, step: "any" }, "From the end of a job."],
];
const ABOUT =
  "Leave a field empty to use the installation's default. Waiting jobs follow within 2 s; " +
  "running jobs continue.";

export const pathOf = (tenant) => `/v1/ava/tenants/${encodeURIComponent(tenant)}/limits`;

/**
 * The limits of one tenant.
 * @param {{ limits: any }} props
 */
export function TenantFacts({ limits }) {
  const by = limits.updated_by ?? "by the platform";
  const facts = FIELDS.map(([name, label]) => [
    label,
    String(limits[/** @type {string} */ (name)] ?? "default of the installation"),
  ]);
  const set = ["Set", limits.updated_at && `${by}, ${full(limits.updated_at)}`];
  return html`<${Facts} class="tenant-limits" items=${[...facts, set]} />`;
}

/** A dialog that changes the limits of a tenant, for the roles of the platform. */
export async function askForLimits(tenant, reload = () => {}) {
  const { data } = await get(pathOf(tenant));
  const field = ([name, label, bounds, hint]) =>
    html`<${Input} key=${name} label=${label} name=${name} value=${data[name] ?? ""} type="number"
      hint=${hint} ...${bounds} />`;
  ask({
    title: `Limits of ${tenant}`,
    action: "Set limits",
    text: ABOUT,
    body: FIELDS.map(field),
    async submit(values) {
      const numberOf = (text) => (text === "" ? null : Number(text));
      const body = Object.fromEntries(
        Object.entries(values).map(([name, text]) => [name, numberOf(text)]),
      );
      await call("PUT", pathOf(tenant), { body });
      notify(`The limits of ${tenant} are set.`);
      reload();
    },
  });
}
