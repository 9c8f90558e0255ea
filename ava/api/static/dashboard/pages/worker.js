// The home of a worker: its health over time, its form, limits, schedules, settings and nodes.

import { Contain } from "../contain.js";
import { number, ran, span } from "../format.js";
import { InputEditor } from "../input_form.js";
import { timingOf } from "../schedule_form.js";
import { RangePicker, SeriesCharts } from "../series_charts.js";
import { openTrigger, trigger } from "../trigger.js";
import { Button, Card, Empty, Heading, html, Id, mayWrite, page, Pill } from "../ui/index.js";
import { useApi, useRef, useSession, When, Tiles } from "../ui/index.js";
import { Json } from "../ui/json.js";
import { PauseLine, Pauses } from "../ui/pauses.js";
import { pathOf, SettingsCards, StatusButtons } from "../worker_settings.js";

const DAYS = "30";
const JOBS = "8";
const FIELDS = "id,status,created_at,started_at,completed_at,duration_ms,error";
const PAUSE =
  "Its jobs are accepted but wait until it is resumed. Its schedules still create jobs.";
const NO_SCHEMA = "The handler declares no schema, so any object is accepted.";

export const open = page(WorkerPage);

function WorkerPage({ rest: [id] }) {
  const { data: worker, error, reload } = useApi(pathOf(id), { every: 3 });
  if (!worker && error?.status === 404) {
    return html`<h1>No such worker</h1><p>${error.message}</p>`;
  }
  if (!worker) return null;
  document.title = `${worker.name} · Workers · AVA Jobs`;
  const only = { "filter[worker_id]": id };
  const { max_running_per: per, input_schema: schema } = worker;
  return html`
    <${Heading} title=${worker.name} crumbs=${[["Workers", "#/workers"]]}
      actions=${html`<${Actions} worker=${worker} reload=${reload} />`}>
      <${Pill} state=${stateOf(worker)} /><${Id} id=${id} isWhole />
    <//>
    ${worker.description && html`<p class="why">${worker.description}</p>`}
    <${PauseLine} paused=${worker.paused} />
    <${Health} worker=${worker} />
    <div class="row between section"><h2>Over time</h2><${RangePicker} /></div>
    <${SeriesCharts} filters=${only} jobs=${only} limit=${per ? `limit per ${per}` : "limit"} />
    <div class="columns wide">
      <${Trigger} worker=${worker} />
      <${Jobs} title="Newest jobs" filters=${only} none="No jobs yet." />
      <${Jobs} title="Last failures" filters=${{ ...only, "filter[status]": "failed" }}
        none="No failed jobs." />
      <${Schedules} id=${id} />
      <${Nodes} id=${id} isPull=${worker.runtime === "pull"} />
      <${SettingsCards} worker=${worker} onChange=${reload} />
    </div>
    <${Card} title="Input schema" class="wide">
      ${schema ? html`<${Json} value=${schema} name="Input schema" />` : NO_SCHEMA}
    <//>
  `;
}

/** Return the state of a worker; of an active one whose jobs would wait, what is missing. */
export function stateOf({ status, live, runtime }) {
  if (status !== "active" || live) return status;
  return runtime === "pull" ? "no claim" : "no node";
}

/** Only a platform role resumes what the platform has paused for all tenants. */
function Actions({ worker, reload }) {
  const { isOperator } = useSession();
  const ofPlatform = worker.platform?.status === "paused";
  const mayPause = worker.status !== "deprecated" && (!ofPlatform || isOperator);
  const pause = html`<${Pauses} record=${worker} path=${pathOf(worker.id)} name=${worker.name}
    text=${PAUSE} body=${ofPlatform ? { scope: "platform" } : {}} onChange=${reload} />`;
  const contain = html`<${Contain} parts=${[{ worker_id: worker.id }]} />`;
  return html`${mayPause && pause}${contain}
    <${StatusButtons} worker=${worker} onChange=${reload} />`;
}

/** The success rate, the latency, and the limits in use. */
function Health({ worker }) {
  const asked = { "filter[worker_id]": worker.id, days: DAYS, percentiles: "true" };
  const { data } = useApi("/v1/ava/analytics", { query: asked, every: 10 });
  const { data: counts } = useApi("/v1/ava/queues", { every: 3 });
  if (!data) return html`<${Tiles} items=${[]} />`;
  const own = counts?.by_worker.find((count) => count.worker_id === worker.id);
  return html`<${Tiles} items=${tilesOf(worker, data, own)} />`;
}

function tilesOf({ max_running: max, max_running_per: per, ...worker }, data, counts) {
  const { jobs, percentiles } = data;
  const { wait, run } = percentiles;
  const rate = jobs.success_rate === null ? "–" : `${jobs.success_rate} %`;
  const others = `${number(jobs.failed)} failed, ${number(jobs.cancelled)} cancelled`;
  const running = number(counts?.running ?? 0);
  const limit = max === null ? "no limit" : `at most ${number(max)}${per ? ` per ${per}` : ""}`;
  const starts = worker.rate && `${worker.rate}${worker.rate_per ? ` per ${worker.rate_per}` : ""}`;
  return [
    ["Success rate", rate, `of ${DAYS} days`],
    ["Ended", number(jobs.total), others],
    ["Average run time", span(jobs.avg_duration_ms), `p95 ${span(run.p95_ms)}`],
    ["Time to start", span(wait.p50_ms), `p95 ${span(wait.p95_ms)}`],
    ["Running", max === null || per ? running : `${running} of ${number(max)}`, limit],
    ["Waiting", number(counts?.queued ?? 0), starts ? `starts ${starts}` : "no rate limit"],
  ];
}

/** The form of a new job, by the schema of its input. */
function Trigger({ worker }) {
  const editor = useRef(/** @type {any} */ (null));
  if (!mayWrite() || worker.status === "deprecated") return null;
  const run = () => trigger(editor, (input) => ({ worker_id: worker.id, input }));
  const options = () => {
    openTrigger(worker.id);
  };
  const more = html`<${Button} kind="quiet" onclick=${options}>More options …<//>`;
  return html`<${Card} title="New job" actions=${more}>
    <div class="more">
      <${InputEditor} schema=${worker.input_schema} editor=${editor} workerId=${worker.id} />
      <div class="row"><${Button} kind="primary" onclick=${run}>Trigger<//></div>
    </div>
  <//>`;
}

function Jobs({ title, filters, none }) {
  const asked = { ...filters, per_page: JOBS, fields: FIELDS };
  const { data } = useApi("/v1/ava/jobs", { query: asked, every: 3 });
  const all = html`<a href=${`#/jobs?${new URLSearchParams(filters)}`}>All jobs</a>`;
  const line = (job) => html`<li key=${job.id} data-job=${job.id}>
    <${Pill} state=${job.status} /> <${Id} id=${job.id} href=${`#/jobs/${job.id}`} />
    ${" "}<${When} ts=${job.created_at} />
    ${" "}<span class="muted">${job.duration_ms !== null && ran(job)}</span>
    ${job.error && html`<p class="error">${job.error}</p>`}
  </li>`;
  return html`<${Card} title=${title} actions=${all}>
    ${data?.length === 0 && html`<${Empty} title=${none} />`}
    <ul class="plain">${data?.map(line)}</ul>
  <//>`;
}

function Schedules({ id }) {
  const asked = { "filter[worker_id]": id, per_page: "20" };
  const { data } = useApi("/v1/ava/schedules", { query: asked, every: 10 });
  const all = html`<a href="#/schedules">All schedules</a>`;
  const command = `ava schedules create ${id} "0 3 * * *"`;
  const next = ({ next_run_at: at }) => (at ? html`next <${When} ts=${at} />` : "no next firing");
  const line = (each) => html`<li key=${each.id}>
    <strong>${each.name ?? timingOf(each)}</strong>
    ${" "}${each.paused && html`<${Pill} state="paused" />`}
    <p><small class="mono">${timingOf(each)}</small></p>
    <p><small>${next(each)}</small></p>
  </li>`;
  return html`<${Card} title="Schedules" actions=${all}>
    ${data?.length === 0 && html`<${Empty} title="No schedules start it." command=${command} />`}
    <ul class="plain">${data?.map(line)}</ul>
  <//>`;
}

const NO_VERSION = "AVA_CODE_VERSION is not set";
const CLAIMED = html`<${Empty} title="Runs of this worker are claimed over HTTP." />`;
const NO_NODE = html`<${Empty} title="No live node has the handler, so the jobs wait."
  command="ava start node" />`;

/** The nodes with its handler, each with the version of its code. */
function Nodes({ id, isPull }) {
  const { data } = useApi("/v1/ava/nodes", { query: { per_page: "100" }, every: 3 });
  const whose = useSession().isOperator ? "" : " with your jobs";
  const isShown = (node) => node.state !== "stopped" && node.workers.includes(id);
  const nodes = (data ?? []).filter(isShown);
  const versions = new Set(nodes.map((node) => node.code_version)).size;
  const line = (node) => html`<li key=${node.id} data-node=${node.id}>
    <span class="mono">${node.name}</span>${" "}
    <${Pill} state=${node.state === "live" && node.paused ? "paused" : node.state} />
    <p><small>Code: <span class="mono">${node.code_version ?? NO_VERSION}</span></small></p>
    <p><small>Version ${node.version}, ${busyOf(node)}${whose}</small></p>
  </li>`;
  return html`<${Card} title="Nodes">
    ${versions > 1 && html`<p class="why">Its nodes run ${versions} versions of its code.</p>`}
    ${data && nodes.length === 0 && (isPull ? CLAIMED : NO_NODE)}
    <ul class="plain">${nodes.map(line)}</ul>
  <//>`;
}

const busyOf = ({ busy, processes, has_slots: hasSlots }) =>
  `${Math.min(busy, processes)} of ${processes} ${hasSlots ? "slots" : "processes"} are busy`;
