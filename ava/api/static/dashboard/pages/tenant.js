// A tenant, for platform roles: its jobs over time, and its limits.

import { Contain } from "../contain.js";
import { RangePicker, SeriesCharts } from "../series_charts.js";
import { askForLimits, pathOf, TenantFacts } from "../tenant_limits.js";
import { Button, Card, Heading, html, page, useApi } from "../ui/index.js";

export const open = page(TenantPage);

function TenantPage({ rest: [id] }) {
  document.title = `${id} · Tenants · AVA Jobs`;
  const { data: limits, error, reload } = useApi(pathOf(id), { every: 10 });
  if (error && !limits) return html`<h1>No such tenant</h1><p>${error.message}</p>`;
  const jobs = `/?tenant=${encodeURIComponent(id)}#/jobs`;
  const actions = html`<${RangePicker} /><a class="button" href=${jobs}>Its jobs</a>
    <${Contain} parts=${[{ tenant: true }]} tenant=${id} />`;
  const change = html`<${Button} onclick=${() => askForLimits(id, reload)}>Change …<//>`;
  return html`
    <${Heading} title=${id} crumbs=${[["Tenants", "#/tenants"]]}
      actions=${actions} />
    <${SeriesCharts} filters=${{ "filter[tenant_id]": id }} jobs=${null}
      limit="limit of the tenant" />
    <${Card} title="Limits" class="wide" actions=${change}>
      ${limits && html`<${TenantFacts} limits=${limits} />`}
    <//>
  `;
}
