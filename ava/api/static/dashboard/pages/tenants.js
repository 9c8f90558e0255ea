// Tenants: the waiting, running and failed jobs of each tenant, for platform roles.

import { number } from "../format.js";
import { column, numeric, recordsPage } from "../records_page.js";
import { askForLimits } from "../tenant_limits.js";
import { Button, Empty, html } from "../ui/index.js";

/** Waiting and running jobs are counted up to this many. */
const MAX_COUNTED = 1000;

/** Tenants with failures first, then those with the most waiting and running jobs. */
const byUrgency = (one, other) =>
  other.failed - one.failed || other.waiting - one.waiting || other.running - one.running;

/** The address of the tenant's jobs; a platform role's address names the tenant. */
const jobsOf = (tenant, filter = "") => `/?tenant=${tenant}#/jobs${filter}`;
const FAILED = `?${new URLSearchParams({ "filter[status]": "failed" })}`;

/** A number of jobs; `bounded` is the number that the API counts up to its bound. */
const counted = (value, bounded) => `${number(value)}${bounded >= MAX_COUNTED ? " or more" : ""}`;

// Waiting and scheduled jobs are counted together.
const unstarted = (load) => load.waiting + load.scheduled;

const COLUMNS = [
  column(
    "Tenant",
    "minmax(12rem, 2fr)",
    ({ tenant_id: id }) => html`<a class="mono" href=${jobsOf(id)} data-tenant=${id}>${id}</a>`,
  ),
  numeric("Waiting", (load) => counted(load.waiting, unstarted(load))),
  numeric("Scheduled", (load) => counted(load.scheduled, unstarted(load))),
  numeric("Running", (load) => counted(load.running, load.running)),
  numeric("Failed", ({ tenant_id: id, failed }) =>
    failed ? html`<a class="bad" href=${jobsOf(id, FAILED)}>${number(failed)}</a>` : "0",
  ),
  numeric("Completed", (load) => number(load.completed)),
  numeric("Cancelled", (load) => number(load.cancelled)),
  numeric("Share", ({ share }) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`)),
  column(
    "",
    "11rem",
    ({ tenant_id: id }) =>
      html`<a href=${`#/tenants/${id}`} aria-label=${`Charts of ${id}`}>Charts</a>
        <${Button} kind="quiet" aria-label=${`Limits of ${id}`}
          onclick=${() => askForLimits(id)}>Limits …<//>`,
  ),
];

export const open = recordsPage({
  title: "Tenants",
  path: "/v1/ava/tenants",
  noun: ["tenant", "tenants"],
  perPage: 100,
  every: 4,
  columns: () => COLUMNS,
  sorted: (rows) => rows.toSorted(byUrgency),
  keyOf: (load) => load.tenant_id,
  toolbar: html`<p class="muted lead">
    Failed, completed and cancelled jobs are from the last hour. Share: the tenant's part of the
    total run time of all jobs that ended in it. Click a tenant to see its jobs.
  </p>`,
  empty: html`<${Empty} title="No tenant has jobs">
    that wait, run, or ended in the last hour.
  <//>`,
});
