// A job tree: as a graph, in which similar jobs share a box, and as a time line.

import { post } from "../api.js";
import { Contain } from "../contain.js";
import { counted, full, iso, number, ran, short, span } from "../format.js";
import { ask, Button, html, mayWrite, notify, Pill } from "../ui/index.js";
import { useApi, useMemo, useState } from "../ui/index.js";
import { countsOf, inOrder, isFinal, nameOf, stateOf } from "./job_states.js";
import { at, axisOf, barStyle, ticksOf } from "./time_axis.js";
import { barsOf, HEIGHT, layout, MAX_BOXES, pathsOf, sizeOf, WIDTH } from "./tree_layout.js";

/** Seconds between two reads of a tree of up to `PER_READ` jobs; larger ones wait longer. */
const SECONDS = 2;
const PER_READ = 500;
/** Rows of the time line that are shown at first, and that each press of the button adds. */
const PER_PART = 200;
const EDGES = [
  ["completed", "after it completed"],
  ["ended", "after it ended"],
  ["failed", "if it failed"],
  ["child", "created by"],
];

/** The tree of the job at this path. */
export function Tree({ id, path }) {
  const [every, setEvery] = useState(SECONDS);
  const { data: tree, reload } = useApi(`${path}/tree`, { every });
  if (!tree) return html`<div class="rows"></div>`;
  const isOver = tree.jobs.every(isFinal);
  // A tree of 10,000 jobs is read every 40 seconds.
  const next = isOver ? null : SECONDS * Math.ceil(tree.jobs.length / PER_READ);
  if (next !== every) setEvery(next);
  return html`<${Summary} ...${{ tree, isOver, reload }} />
    <ul class="legend edge-kinds">
      ${EDGES.map(([kind, text]) => html`<li key=${kind} data-edge=${kind}>${text}</li>`)}
    </ul>
    <${Graph} tree=${tree} id=${id} />
    <${Times} tree=${tree} id=${id} />`;
}

function Summary({ tree, isOver, reload }) {
  const root = tree.jobs.find((job) => job.id === tree.tree_id);
  const name = root ? nameOf(root) : short(tree.tree_id);
  const cancel = () => {
    ask({
      title: "Cancel all jobs of this tree?",
      action: "Cancel all jobs",
      kind: "danger",
      text: "Queued jobs will not start; running jobs are asked to stop.",
      submit: async () => {
        await post("/v1/ava/jobs/cancel", { filter: { tree_id: tree.tree_id } });
        notify("Cancel requested.");
        reload();
      },
    });
  };
  return html`<div class="row between">
    <h2>${counted(tree.jobs.length, "job")} of ${name}</h2>
    <p class="row tree-counts">${countsOf(tree.jobs).map(
      ([state, count]) => html`<${Pill} key=${state} state=${state}>${number(count)} ${state}<//>`,
    )}</p>
    <div class="row">
      ${!isOver && mayWrite() && html`<${Button} kind="danger" onclick=${cancel}>Cancel all<//>`}
      <${Contain} parts=${[{ tree_id: tree.tree_id }]} />
    </div>
  </div>`;
}

function Graph({ tree, id }) {
  const { nodes, edges, left } = useMemo(() => layout(tree), [tree]);
  const { width, height } = sizeOf(nodes);
  const style = { width: `${width}px`, height: `${height}px` };
  const keyOf = ({ from, to, kind }) => `${from.n} ${to.n} ${kind}`;
  return html`<div class="graph" tabindex="0" role="region" aria-label="Graph of the jobs">
      <div class="graph-inner" style=${style}>
        <svg class="edges" aria-hidden="true" width=${width} height=${height}>
          ${edges.map((edge) => html`<${Edge} key=${keyOf(edge)} edge=${edge} />`)}
        </svg>
        <ul class="boxes">
          ${nodes.map((node) => html`<${Box} key=${node.jobs[0].id} node=${node} id=${id} />`)}
        </ul>
      </div>
    </div>
    ${
      left > 0 &&
      html`<p class="muted">The graph has the first ${number(MAX_BOXES)} boxes;
        ${" "}${number(left)} are not shown.</p>`
    }`;
}

function Edge({ edge }) {
  const { edge: line, tip } = pathsOf(edge);
  return html`<g data-edge=${edge.kind}>
    <path class="edge" d=${line} /><path class="tip" d=${tip} />
  </g>`;
}

function Box({ node: { jobs, x, y }, id }) {
  const [job] = jobs;
  const [left, top] = [x, y].map((pixels) => `${pixels}px`);
  const style = { left, top, width: `${WIDTH}px`, height: `${HEIGHT}px` };
  if (jobs.length > 1) {
    return html`<li class="box many" style=${style}><${Many} jobs=${jobs} /></li>`;
  }
  const state = stateOf(job);
  const isCurrent = job.id === id;
  const took = isFinal(job) && job.duration_ms !== null ? `, ${ran(job)}` : "";
  return html`<li class=${isCurrent ? "box current" : "box"} data-state=${state} style=${style}>
    <a href=${`#/jobs/${job.id}`} title=${job.error ?? job.id} aria-current=${isCurrent || null}>
      <strong>${nameOf(job)}</strong>
      <span>${state}${took}</span>
      <small>${job.name ? job.worker_id.replace("wkr_", "") : short(job.id)}</small>
    </a>
  </li>`;
}

function Many({ jobs }) {
  const counts = countsOf(jobs);
  const [{ parent_id: parent, tree_id: tree, worker_id: worker }] = jobs;
  const around = parent ? { "filter[parent_id]": parent } : { "filter[tree_id]": tree };
  const query = new URLSearchParams({ "filter[worker_id]": worker, ...around });
  const text = counts.map(([state, count]) => `${number(count)} ${state}`).join(", ");
  const share = ([state, count]) =>
    html`<i key=${state} data-state=${state} style=${{ flexGrow: count }}></i>`;
  return html`<a href=${`#/jobs?${query}`} title=${text}>
    <strong>${number(jobs.length)} × ${worker.replace("wkr_", "")}</strong>
    <div class="shares">${counts.map(share)}</div>
    <small>${text}</small>
  </a>`;
}

/** When each job was queued, ran and waited. */
function Times({ tree, id }) {
  const [shown, setShown] = useState(PER_PART);
  const rows = useMemo(() => inOrder(tree.jobs), [tree]);
  const now = Date.now();
  let [first, last] = [Infinity, -Infinity];
  for (const job of tree.jobs) {
    first = Math.min(first, at(job.created_at));
    last = Math.max(last, at(job.completed_at) ?? now);
  }
  const axis = axisOf(first, last);
  const drawn = ({ job, depth }) =>
    html`<${Span} key=${job.id} ...${{ job, depth, axis, now, isCurrent: job.id === id }} />`;
  const more = () => setShown(shown + PER_PART);
  const left = rows.length - shown;
  return html`<section class="times" aria-label="Time line">
    <${Legend} parts=${["queued", "runs", "waits"]} />
    <${Ticks} axis=${axis} />
    <ol class="spans">${rows.slice(0, shown).map(drawn)}</ol>
    ${
      left > 0 && html`<${Button} kind="quiet" onclick=${more}>More rows (${number(left)} left)<//>`
    }
  </section>`;
}

function Span({ job, depth, axis, now, isCurrent }) {
  const state = stateOf(job);
  const took = job.duration_ms === null ? "" : span(job.duration_ms);
  const indent = { paddingInlineStart: `${depth}rem` };
  return html`<li data-state=${state} class=${isCurrent ? "current" : null}><div class="span">
    <a class="name" href=${`#/jobs/${job.id}`} title=${job.id} style=${indent}>${nameOf(job)}</a>
    <${Track} axis=${axis} bars=${barsOf(job, now)} />
    <span class="took"><span class="unseen">${state}, ran </span>${took}</span>
  </div></li>`;
}

/** The bars of a row, on an axis. */
export function Track({ axis, bars }) {
  const drawn = ({ part, from, to }) => {
    const title = `${part} ${span(to - from)}, from ${full(iso(from))}`;
    return html`<i data-part=${part} title=${title} style=${barStyle(axis, from, to)}></i>`;
  };
  // A run of less than a millisecond is seen too.
  const isSeen = ({ part, from, to }) =>
    (to > from || part === "runs") && to >= axis.first && from <= axis.last;
  return html`<span class="track" aria-hidden="true">${bars.filter(isSeen).map(drawn)}</span>`;
}

/** The ticks of an axis. */
export function Ticks({ axis }) {
  const text = (offset) => (offset ? span(offset).replace(".0 s", " s") : "0");
  const style = (offset) => ({ left: `${axis.place(axis.first + offset)}%` });
  return html`<div class="axis" aria-hidden="true">${ticksOf(axis).map(
    (offset) => html`<span key=${offset} style=${style(offset)}>${text(offset)}</span>`,
  )}</div>`;
}

/** What the parts of bars mean. */
export const Legend = ({ parts, state = "completed" }) =>
  html`<ul class="legend" data-state=${state}>
    ${parts.map((part) => html`<li key=${part} data-part=${part}>${part}</li>`)}
  </ul>`;
