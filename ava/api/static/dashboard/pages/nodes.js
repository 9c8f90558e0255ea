// Nodes: the Celery worker processes, their current runs, and their pauses.

import { bytes, number } from "../format.js";
import { aboutBusy, refusalOf } from "../record_facts.js";
import { column, exact, Facts, jobLink, minor, recordsPage } from "../records_page.js";
import { state, when, workerLink } from "../records_page.js";
import { addressWith, Empty, html, Progress, useApi, useSession } from "../ui/index.js";

/** Days for which a promotion is news. */
const PROMOTION_DAYS = 7;
const DAY_MS = 86_400_000;
/** Slots of a node that are drawn one by one. */
const MAX_DRAWN = 64;
const PAUSE =
  "It finishes its running jobs and takes no new ones from any tenant until it is resumed or " +
  "restarted.";
const stateOf = (node) => (node.state === "live" && node.paused ? "paused" : node.state);
const nameOf = (node) => node.host ?? "Node";
const queuesOf = (node) => node.queues.join(", ") || "–";
const busyOf = (node) => aboutBusy(node, useSession().isOperator);

const COLUMNS = [
  column(
    "Node",
    "minmax(9rem, 1.6fr)",
    (node) => html`
      <a href=${addressWith({ id: node.id })} data-node=${node.id}>${nameOf(node)}</a>
      <small class="mono">${node.name}</small>
      ${refusalOf(node) && html`<small class="bad">${refusalOf(node)}</small>`}`,
  ),
  state("6.5rem", stateOf),
  column(
    "Busy",
    "minmax(8rem, 1.4fr)",
    (node) => html`<span>${busyOf(node)}</span><${Slots} node=${node} />`,
  ),
  minor("Memory", "6rem", (node) => bytes(node.memory_bytes)),
  minor("Queues", "minmax(7rem, 1fr)", queuesOf),
  minor("Heartbeat", "7rem", (node) => when(node.seen_at)),
  minor("Version", "12.5rem", (node) => node.version),
];

export const open = recordsPage({
  title: "Nodes",
  path: "/v1/ava/nodes",
  noun: ["node", "nodes"],
  perPage: 100,
  isListed: true,
  columns: () => COLUMNS,
  empty: html`<${Empty} title="No nodes yet." command="ava start node">
    A node runs the jobs of its handlers.
  <//>`,
  toolbar: html`<${Promotion} />`,
  describe: (node) => ({
    title: nameOf(node),
    state: stateOf(node),
    pause: useSession().isOperator && node.state === "live" && PAUSE,
  }),
  content: (node) => html`<${Content} node=${node} />`,
});

/** Says when a standby of PostgreSQL was promoted last, if that is news. */
function Promotion() {
  const path = useSession().isOperator ? "/v1/ava/promotions" : null;
  const latest = useApi(path, { every: 10 }).data?.[0];
  if (!latest || Date.now() - Date.parse(latest.seen_at) > PROMOTION_DAYS * DAY_MS) return null;
  const loss = latest.lossy
    ? "without the last commits: the latest jobs, outcomes and firings are lost."
    : "and no loss was seen.";
  return html`<p class=${latest.lossy ? "why error" : "why"}>
    A standby of PostgreSQL was promoted ${when(latest.seen_at)}
    ${` ${loss} ${number(latest.running)} runs were checked again.`}
  </p>`;
}

/** The processes as boxes, the busy ones filled; the words beside them say the same. */
function Slots({ node: { processes, busy } }) {
  const places = Array.from({ length: Math.min(processes, MAX_DRAWN) }, (_, place) => place);
  return html`<div class="slots" aria-hidden="true">
    ${places.map((place) => html`<i key=${place} class=${place < busy ? "busy" : ""}></i>`)}
  </div>`;
}

function Content({ node }) {
  const jobs = node.state === "stopped" ? [] : node.jobs;
  const facts = [
    ["Name", html`<span class="mono">${node.name}</span>`],
    ["Busy", busyOf(node)],
    ["Queues", queuesOf(node)],
    ["Refused by the broker", node.refused_queues.join(", ")],
    ["Memory", bytes(node.memory_bytes)],
    ["Last heartbeat", exact(node.seen_at)],
    ["Started", exact(node.started_at)],
    ["Version", node.version],
    ["Workers", node.workers.map(workerLink)],
  ];
  const line = ({ id, worker_id: worker, progress, started_at: at }) => html`
    <li key=${id} class="row between">
      <span>${jobLink(id)} ${worker}</span>
      ${progress && html`<${Progress} value=${progress.fraction} message=${progress.message} />`}
      ${when(at)}
    </li>`;
  return html`
    ${refusalOf(node) && html`<p class="bad" role="status">${refusalOf(node)}</p>`}
    <${Facts} items=${facts} />
    <h3>Your running jobs</h3>
    ${jobs.length === 0 && html`<p class="muted">None of your jobs runs on it.</p>`}
    <ul class="plain running">${jobs.map(line)}</ul>
  `;
}
