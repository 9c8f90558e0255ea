// Overview: waiting, running and ended jobs over time, the nodes, and the newest failures.

import { number, span } from "../format.js";
import { RangePicker, SeriesCharts } from "../series_charts.js";
import { Button, Card, Empty, Heading, html, mayWrite, page } from "../ui/index.js";
import { useApi, useSession, When, Tiles } from "../ui/index.js";

const FAILED = `#/jobs?${new URLSearchParams({ "filter[status]": "failed" })}`;
/** Processes that are drawn one by one. */
const MAX_DRAWN = 120;

export const open = page(Overview);

function Overview() {
  const { data } = useApi("/v1/ava/overview", { every: 2 });
  const trigger = async () => void (await import("../trigger.js")).openTrigger();
  const button = html`<${Button} kind="primary" onclick=${trigger}>New job<//>`;
  const actions = html`<${RangePicker} />${mayWrite() && button}`;
  const all = html`<a href=${FAILED}>All failures</a>`;
  return html`
    <${Heading} title="Overview" actions=${actions} />
    <${Tiles} items=${data ? tilesOf(data) : []} />
    <${SeriesCharts} limit="limit of the tenant" />
    <div class="columns">
      <${Card} title="Waiting by priority">
        ${data && html`<${Depths} depths=${data.by_priority} />`}
      <//>
      <${Card} title="Nodes" actions=${html`<a href="#/nodes">All nodes</a>`}><${Fleet} /><//>
      <${Card} title="Newest failures" actions=${all}>
        ${data && html`<${Failures} failures=${data.failures} />`}
      <//>
    </div>
  `;
}

/** The numbers of now. */
function tilesOf({ latency, backlog_age_seconds: age, minutes, ...data }) {
  const sum = (kind) => minutes.reduce((before, minute) => before + minute[kind], 0);
  const ended = sum("completed") + sum("failed") + sum("cancelled");
  const { start_p50_ms: start, run_p50_ms: run } = latency;
  const lateStart = `p95 ${span(latency.start_p95_ms)}, last 5 min`;
  const waiting = `${number(data.queued - data.scheduled)}${data.queued_is_exact ? "" : "+"}`;
  const scheduled = data.scheduled ? `and ${number(data.scheduled)} scheduled` : "none scheduled";
  const failed = { href: FAILED, kind: sum("failed") ? "bad" : "" };
  return [
    ["Waiting", waiting, scheduled],
    ["Running", number(data.running), "on all nodes"],
    age === null
      ? ["Oldest waiting", "–", "no job waits"]
      : ["Oldest waiting", span(age * 1000), "since it was due"],
    ["Failed", number(sum("failed")), `of ${number(ended)} in 60 minutes`, failed],
    ["Time to start", span(start), start === null ? "none started in 5 min" : lateStart],
    ["Run time", span(run), run === null ? "no job ran" : `p95 ${span(latency.run_p95_ms)}`],
  ];
}

function Depths({ depths }) {
  const waiting = depths.map((depth) => depth.queued - depth.scheduled);
  const most = Math.max(1, ...waiting);
  const row = (count, place) => html`<li key=${place}>
    <span class="name">${String(place + 1)}</span>
    <span class="track">
      <span class="bar" style=${{ inlineSize: `${(100 * count) / most}%` }}></span>
    </span>
    <span class="count">${number(count)}</span>
  </li>`;
  return html`<ol class="depth" aria-label="Waiting jobs by priority, 1 starts first">
    ${waiting.map(row)}
  </ol>`;
}

/** How many processes of nodes are busy. One that runs a group of brief jobs has several jobs. */
const busyOf = (nodes) => nodes.reduce((sum, node) => sum + Math.min(node.busy, node.processes), 0);
const sizeOf = (nodes) => nodes.reduce((sum, node) => sum + node.processes, 0);
const named = (values) => [...new Set(values.filter(Boolean))].join(", ") || "–";

function Fleet() {
  const { data: nodes } = useApi("/v1/ava/nodes", { query: { per_page: "100" }, every: 5 });
  const whose = useSession().isOperator ? "" : " with your jobs";
  if (!nodes) return null;
  const live = nodes.filter((node) => node.state === "live");
  const silent = nodes.filter((node) => node.state === "silent").length;
  const pools = live.filter((node) => !node.has_slots);
  const others = live.filter((node) => node.has_slots);
  const busy = (of) => `${number(busyOf(of))} of ${number(sizeOf(of))}${whose}`;
  const facts = [
    ["Live", number(live.length)],
    ["Silent", number(silent), silent ? "bad" : ""],
    ["Busy processes", busy(pools)],
    others.length > 0 && ["Busy slots", busy(others)],
    ["Code", named(live.map((node) => node.code_version))],
    ["AVA Jobs", named(live.map((node) => node.version))],
  ];
  const fact = ([name, value, kind]) => html`<div key=${name}>
    <span>${name}</span><strong class=${kind}>${value}</strong>
  </div>`;
  const label = `One square per process, filled if it is busy${whose}`;
  return html`<div class="facts">
    ${facts.filter(Boolean).map(fact)}
    <div class="slots whole" role="img" aria-label=${label}>
      ${squaresOf(pools).map((isBusy, n) => html`<i key=${n} class=${isBusy ? "busy" : ""}></i>`)}
    </div>
  </div>`;
}

const squaresOf = (pools) =>
  pools
    .flatMap((node) => Array.from({ length: node.processes }, (_, place) => place < node.busy))
    .slice(0, MAX_DRAWN);

function Failures({ failures }) {
  if (!failures.length) return html`<${Empty} title="No failed jobs." />`;
  const line = (job) => html`<li key=${job.id}>
    <a href=${`#/jobs/${job.id}`}>${job.worker_id}</a> <${When} ts=${job.completed_at} />
    <p class="error">${job.error}</p>
  </li>`;
  return html`<ul class="plain">${failures.map(line)}</ul>`;
}
