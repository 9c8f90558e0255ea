// Analytics: exact statistics of the jobs that ended in whole days, and the charts of that period.

import { dayOf, hour, iso, number, span } from "../format.js";
import { column, numeric } from "../records_page.js";
import { barsOf, jobsOf, SeriesCharts, ZoomOut } from "../series_charts.js";
import { Chart } from "../ui/chart.js";
import { count } from "../ui/chart_data.js";
import {
  Card,
  Choice,
  Empty,
  Heading,
  html,
  page,
  Table,
  useApi,
  useQuery,
  Tiles,
} from "../ui/index.js";

const PERIODS = [
  ["1", "1 day"],
  ["7", "7 days"],
  ["30", "30 days"],
  ["90", "90 days"],
];

export const open = page(Analytics);

function Analytics() {
  const [query, setQuery] = useQuery();
  const days = query.get("days") ?? "30";
  const worker = query.get("worker") ?? "";
  const filters = worker ? { "filter[worker_id]": worker } : {};
  const groupBy = days === "1" ? "hour" : "day";
  const asked = { days, group_by: groupBy, percentiles: "true", ...filters };
  const { data } = useApi("/v1/ava/analytics", { query: asked, every: 10 });
  const counts = Object.entries(data?.by_worker ?? {});
  const ids = [...new Set([...counts.map(([id]) => id), worker].filter(Boolean))].sort();
  const workers = [["", "All workers"], ...ids.map((id) => [id, id])];
  const actions = html`
    <${Choice} label="Period" name="days" value=${days} options=${PERIODS}
      onchange=${(value) => setQuery({ days: value, since: null, until: null })} />
    <${Choice} label="Worker" name="worker" value=${worker} options=${workers}
      onchange=${(value) => setQuery({ worker: value })} />`;
  return html`
    <${Heading} title="Analytics" actions=${actions} />
    ${data && html`<${Report} data=${data} days=${days} groupBy=${groupBy} filters=${filters} />`}
  `;
}

function Report({ data, days, groupBy, filters }) {
  const counts = Object.entries(data.by_worker).sort(([, a], [, b]) => b.total - a.total);
  const title = groupBy === "hour" ? "Ended per hour" : "Ended per day (UTC)";
  const trigger = ([name, jobs]) => html`<div key=${name}>
    <span>${name}</span><strong>${number(jobs)}</strong>
  </div>`;
  return html`
    <${Tiles} items=${tilesOf(data)} />
    <${Card} title=${title} class="wide">
      <${Ended} points=${data.series} groupBy=${groupBy} filters=${filters} />
    <//>
    <${ZoomOut} />
    <${SeriesCharts} filters=${filters} jobs=${filters} range=${days === "1" ? "24h" : `${days}d`}
      hasEnded=${false} />
    ${
      counts.length > 0 &&
      html`<${Card} title="By trigger">
        <div class="facts">${Object.entries(data.jobs.by_trigger).map(trigger)}</div>
      <//>`
    }
    <${Card} title="By worker" class="wide">
      <${Table} label="Ended jobs by worker" class="counts" columns=${columns(days)} rows=${counts}
        keyOf=${([id]) => id} empty=${days === "90" ? NONE : NONE_YET} />
    <//>
  `;
}

const NONE = html`<${Empty} title="No jobs ended in this period." />`;
const NONE_YET = html`<${Empty} title="No jobs ended in this period.">
  Choose a longer one above.
<//>`;

const percentilesOf = ({ p50_ms: median, p95_ms: high, p99_ms: highest }) =>
  median === null ? "no job ran" : `p95 ${span(high)}, p99 ${span(highest)}`;

function tilesOf({ jobs, percentiles: { wait, run } }) {
  const expired = jobs.expired ? `, ${number(jobs.expired)} of them expired` : "";
  const others = `${number(jobs.failed)} failed, ${number(jobs.cancelled)} cancelled${expired}`;
  const rate = jobs.success_rate === null ? "–" : `${jobs.success_rate} %`;
  const used = `of jobs that ran; they used ${span(jobs.cpu_ms)} of processor time`;
  return [
    ["Ended", number(jobs.total), others],
    ["Success rate", rate, `${number(jobs.completed)} completed`],
    ["Average run time", span(jobs.avg_duration_ms), used],
    ["Time to start", span(wait.p50_ms), percentilesOf(wait)],
    ["Run time", span(run.p50_ms), percentilesOf(run)],
  ];
}

/** The exact numbers of each hour or day; a step leads to its jobs. */
function Ended({ points, groupBy, filters }) {
  const isHourly = groupBy === "hour";
  const times = points.map((point) => Date.parse(point.starts_at) / 1000);
  const series = barsOf((label) => points.map((point) => point[label]));
  return html`<${Chart} label="Ended jobs" times=${times} step=${isHourly ? 3600 : 86400}
    series=${series} unit=${count} nameOf=${(at) => (isHourly ? hour : dayOf)(iso(at * 1000))}
    hrefOf=${(since, until) => jobsOf(filters, since, until)} />`;
}

const errorsOf = (id) => `#/errors?${new URLSearchParams({ "filter[worker_id]": id })}`;
const rateOf = ({ completed, total }) =>
  total ? `${(Math.round((1000 * completed) / total) / 10).toFixed(1)} %` : "–";

const columns = (days) => [
  column("Worker", "minmax(12rem, 2fr)", ([id]) => {
    const href = `#/analytics?${new URLSearchParams({ days, worker: id })}`;
    return html`<a class="mono" href=${href}>${id}</a>`;
  }),
  numeric("Ended", ([, found]) => number(found.total)),
  numeric("Completed", ([, found]) => number(found.completed)),
  numeric("Failed", ([id, { failed }]) =>
    failed ? html`<a class="bad" href=${errorsOf(id)}>${number(failed)}</a>` : "0",
  ),
  numeric("Success", ([, found]) => rateOf(found)),
  numeric("Average", ([, found]) => span(found.avg_duration_ms)),
  numeric("Processor", ([, found]) => span(found.cpu_ms)),
  numeric("Waited", ([, found]) => span(found.wait_ms)),
];
