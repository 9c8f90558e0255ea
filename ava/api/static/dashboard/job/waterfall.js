// The waterfall of a job: its runs, steps, waits and children on one time axis. A row opens its
// reason and its log lines.

import { bytes, full, iso, number, span, withLocalTimes } from "../format.js";
import { Button, html, useApi, useClock, useState } from "../ui/index.js";
import { Json } from "../ui/json.js";
import { pathOf } from "./data.js";
import { shortLink, usageOf } from "./details.js";
import { isFinal, stateOf } from "./job_states.js";
import { PlainLines } from "./log.js";
import { keyOf } from "./log_lines.js";
import { axisOf } from "./time_axis.js";
import { Legend, Ticks, Track } from "./tree.js";
import { axisOfRows, rowsOf } from "./waterfall_rows.js";

/** Rows that are shown before the reader asks for all. */
const FIRST_ROWS = 12;
/** Log lines of a bar that are read, and that are shown. */
const READ_LINES = "200";
const SHOWN_LINES = 40;
const PARTS = ["queued", "delay", "runs", "waits"];

/** `onLine(key)` shows a line in the log of the job. */
export function Waterfall({ job, parts, why, onLine }) {
  const [open, setOpen] = useState(null);
  const [isWhole, setWhole] = useState(false);
  const [part, setPart] = useState(null);
  const now = useClock(() => (isFinal(job) ? Date.parse(job.completed_at) : Date.now()));
  const rows = rowsOf({ job, ...parts }, now);
  const axis = part ?? axisOfRows(rows, now);
  const bars = rows.flatMap((row) => row.bars).filter(({ from, to }) => to > from);
  const drawn = (row) => html`<${Row} key=${row.key} row=${row} axis=${axis}
    isOpen=${open === row.key} onToggle=${() => setOpen(open === row.key ? null : row.key)}>
    <${Detail} ...${{ row, job, why, onLine }} onZoom=${() => setPart(axisOf(row.from, row.to))} />
  <//>`;
  return html`<section class="card waterfall" aria-label="Waterfall">
    <div class="row between">
      <${Legend} state=${stateOf(job)}
        parts=${PARTS.filter((kind) => bars.some((bar) => bar.part === kind))} />
      ${part && html`<${Button} kind="quiet" onclick=${() => setPart(null)}>Show all times<//>`}
    </div>
    <${Ticks} axis=${axis} />
    <ol class="spans">${(isWhole ? rows : rows.slice(0, FIRST_ROWS)).map(drawn)}</ol>
    ${
      rows.length > FIRST_ROWS &&
      html`<${Button} kind="quiet" onclick=${() => setWhole(!isWhole)}>
        ${isWhole ? "Show the first rows" : `Show all ${number(rows.length)} rows`}<//>`
    }
    <${Missing} job=${job} parts=${parts} />
  </section>`;
}

/** The counts that the waterfall leaves out of a large job. */
function Missing({ job, parts: { children, childCount, entries, hasMoreEntries } }) {
  const query = new URLSearchParams({ "filter[parent_id]": job.id });
  // A list counts up to 1,000.
  const count = childCount >= 1000 ? "1,000 or more" : number(childCount);
  return html`${
    childCount > children.length &&
    html`<p class="muted">These are the newest ${children.length} of its
      <a href=${`#/jobs?${query}`}>${count} children</a>.</p>`
  }
  ${
    hasMoreEntries &&
    html`<p class="muted">These are the first ${entries.length} entries of its journal.</p>`
  }`;
}

function Row({ row, axis, isOpen, onToggle, children }) {
  return html`<li data-row=${row.kind} data-state=${row.state} class=${isOpen ? "opened" : null}>
    <button type="button" class="span" aria-expanded=${String(isOpen)} onclick=${onToggle}>
      <span class="name" data-depth=${row.depth}>${row.label}</span>
      <${Track} axis=${axis} bars=${row.bars} />
      <span class="took"><span class="unseen">${row.verb}, </span>${span(row.to - row.start)}</span>
    </button>
    ${isOpen && html`<div class="span-detail">${children}</div>`}
  </li>`;
}

function Detail({ row, job, why, onLine, onZoom }) {
  const { kind, record } = row;
  const id = kind === "child" ? record.id : job.id;
  const query = { since: iso(row.start), limit: READ_LINES };
  const { data: log } = useApi(`${pathOf(id)}/logs`, { query, skip: kind === "children" });
  if (kind === "children") return html`<${Group} row=${row} />`;
  const isIn = ({ ts }) => row.isOpen || Date.parse(ts) <= row.to;
  const lines = log?.logs.filter(isIn) ?? [];
  const toLog = () => onLine(keyOf(lines[0]));
  const show = html`<${Button} kind="quiet" icon="jobs" onclick=${toLog}>Show in the log<//>`;
  const result = html`<${Json} value=${record?.value} name="Result" />`;
  return html`<p class="span-reason">${reasonOf(row, job, why, lines)}</p>
    <p class="muted">${timesOf(row)}${kind === "run" && html` · ${usageOf(record)}`}</p>
    ${kind === "step" && record.value !== null && result}
    ${kind === "wait" && html`<p class="row">${record.jobs.slice(0, 10).map(shortLink)}</p>`}
    <${LinesOf} log=${log} lines=${lines} />
    <div class="row">
      ${kind !== "child" && lines.length > 0 && show}
      ${kind === "child" && html`<a class="button" href=${`#/jobs/${id}`}>Open this job</a>`}
      <${Button} kind="quiet" icon="search" onclick=${onZoom}>Zoom to it<//>
    </div>`;
}

function timesOf({ from, start, to, isOpen }) {
  const waited = start > from ? `, ${span(start - from)} after it could start` : "";
  return `Started at ${full(iso(start))}${waited}${isOpen ? "" : `; ended at ${full(iso(to))}`}`;
}

/** Why the bar is as it is, in a sentence. */
function reasonOf({ kind, record, verb, isOpen, label }, job, why, lines) {
  if (isOpen && why && ["queue", "run", "wait"].includes(kind)) return withLocalTimes(why.sentence);
  if (kind === "child") return record.error ?? `${record.worker_id}: ${verb}.`;
  if (kind === "step" && record.value_bytes) {
    return `${label} ${verb}. Its result of ${bytes(record.value_bytes)} is not shown.`;
  }
  const isLast = record?.outcome === job.status && record.attempt === job.attempt;
  if (kind === "run" && isLast && job.error) return job.error;
  // The log has the error of an attempt that another one followed.
  const found = kind === "run" && lines.findLast(isError);
  return found ? found.msg.trim().split("\n").at(-1) : `${label} ${verb}.`;
}

const isError = ({ level, msg }) => level === "error" && !msg.startsWith("Handler ");

/** The log lines between the start and the end of a bar. */
function LinesOf({ log, lines }) {
  if (!log) return html`<p class="muted" role="status">Loading its log lines …</p>`;
  if (!lines.length) {
    const hidden = "Your role or API key may not see log lines.";
    return html`<p class="muted">${log.payload_hidden ? hidden : "It has no log lines."}</p>`;
  }
  const isCut = lines.length > SHOWN_LINES;
  return html`<${PlainLines} lines=${lines.slice(0, SHOWN_LINES)} />
    ${isCut && html`<p class="muted">These are its first ${SHOWN_LINES} lines.</p>`}`;
}

/** The children of a worker, each with its bar on the group's axis. */
function Group({ row }) {
  const axis = axisOf(row.from, row.to);
  return html`<p class="span-reason">${row.verb}.</p>
    <ol class="spans">${row.record.map(
      (child) => html`<li key=${child.key} data-state=${child.state}><div class="span">
        <a class="name" href=${`#/jobs/${child.key}`}>${child.label}</a>
        <${Track} axis=${axis} bars=${child.bars} /><span class="took">${child.verb}</span>
      </div></li>`,
    )}</ol>`;
}
