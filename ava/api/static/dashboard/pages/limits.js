// Limits: of the tenant, of workers with their use, and of the installation.

import { bytes, number } from "../format.js";
import { column, numeric, workerLink } from "../records_page.js";
import { askForLimits, pathOf, TenantFacts } from "../tenant_limits.js";
import { Button, Card, Empty, Heading, html, page, Pager, Table } from "../ui/index.js";
import { useApi, useQuery, useSession } from "../ui/index.js";

export const open = page(Limits);

function Limits() {
  const { isOperator, tenant } = useSession();
  const { data, reload } = useApi(pathOf(tenant), { every: 4 });
  const form = () => askForLimits(tenant, reload);
  const change = isOperator && html`<${Button} onclick=${form}>Change …<//>`;
  return html`
    <${Heading} title="Limits" />
    <${Card} title="Tenant" actions=${change}>
      ${data && html`<${TenantFacts} limits=${data} />`}
    <//>
    <${Card} title="Workers"><${WorkerLimits} /><//>
    <${Card} title="Installation"><${InstallationLimits} /><//>
  `;
}

const NO_LIMIT = html`<${Empty} title="No worker has a limit." command="@worker(max_running=5)">
  A handler declares the limits of its worker.
<//>`;

function WorkerLimits() {
  const [query] = useQuery();
  const asked = { per_page: "50", cursor: query.get("cursor") };
  const { data, pagination } = useApi("/v1/ava/limits/workers", { query: asked, every: 4 });
  return html`
    <p class="muted">Running and waiting jobs of your tenant.</p>
    <${Table} label="Limits of workers" columns=${OF_WORKERS} rows=${data}
      keyOf=${(limit) => limit.worker_id} empty=${NO_LIMIT} />
    <${Pager} pagination=${pagination} noun=${["worker", "workers"]} />
  `;
}

function InstallationLimits() {
  const { data } = useApi("/v1/ava/limits", { query: { per_page: "100" }, every: 10 });
  return html`<${Table} label="Limits of this installation" columns=${OF_INSTALLATION} rows=${data}
    keyOf=${(limit) => limit.name} />`;
}

/** How much of a limit is used: words, and a bar that warns near the limit. */
function Usage({ label, used, max, text }) {
  if (used === null || !max) return text;
  const part = Math.min(1, used / max);
  const level = part >= 1 ? "full" : part >= 0.8 ? "near" : "";
  return html`<span>${text}</span>
    <span class="usage" data-level=${level} role="img"
      aria-label=${`${label}: ${Math.round(part * 100)} % used`}>
      <i style=${{ inlineSize: `${part * 100}%` }}></i>
    </span>`;
}

const counted = (value, isExact = true) =>
  value === null ? "–" : `${isExact ? "" : "more than "}${number(value)}`;

const OF_WORKERS = [
  column("Worker", "minmax(14rem, 3fr)", ({ worker_id: id }) => workerLink(id)),
  column("Running", "1.4fr", (limit) => {
    const { worker_id: id, running: used, max_running_per: per } = limit;
    const max = per ? null : limit.max_running;
    return html`<${Usage} label=${id} used=${used} max=${max} text=${number(used)} />`;
  }),
  numeric("At most", (limit) => counted(limit.max_running)),
  column("Per", "1fr", (limit) => limit.max_running_per ?? limit.rate_per ?? "all tenants"),
  column("Rate", "1fr", (limit) => limit.rate ?? "–"),
  numeric("Waiting", (limit) => counted(limit.waiting, limit.waiting_is_exact)),
];

/** A value of a limit in its unit. */
function inUnit({ unit }, value, text) {
  return unit === "bytes" && value !== null ? bytes(value) : text;
}

const OF_INSTALLATION = [
  column(
    "Limit",
    "minmax(16rem, 3fr)",
    ({ name, meaning }) => html`<span class="mono">${name}</span><small>${meaning}</small>`,
  ),
  numeric("Value", (limit) => {
    const text = limit.value === null ? "none" : `${number(limit.value)} ${limit.unit}`;
    return inUnit(limit, limit.value, text);
  }),
  column("Used", "1.2fr", (limit) => {
    const { name, used, value } = limit;
    const text = inUnit(limit, used, counted(used, limit.used_is_exact !== false));
    return html`<${Usage} label=${name} used=${used} max=${value} text=${text} />`;
  }),
  column("Setting", "minmax(10rem, 1.4fr)", ({ setting }) =>
    setting ? html`<code>${setting}</code>` : "fixed",
  ),
];
