// The charts of a tenant, a worker or a queue over a range that the address names.

import { full, iso, number, toTyped, typedMoment } from "./format.js";
import { STEPS } from "./job/time_axis.js";
import { Chart } from "./ui/chart.js";
import { count, perMinute, RANGES, rangeOf, time } from "./ui/chart_data.js";
import { Button, Card, html, Input, Select, useApi, useQuery, useState } from "./ui/index.js";

const NAMES = {
  "15m": "15 minutes",
  "1h": "1 hour",
  "6h": "6 hours",
  "24h": "24 hours",
  "2d": "2 days",
  "7d": "7 days",
  "30d": "30 days",
  "90d": "90 days",
};
const COLOURS = 8;
const PERCENTILES = ["p50", "p95", "p99"];
export const OUTCOMES = [
  ["completed", "good"],
  ["cancelled", "gone"],
  ["failed", "bad"],
];
/** Seconds between two reads of a range of up to this many seconds that ends now, and of others. */
const [SHORT_RANGE, SHORT_EVERY, LONG_EVERY] = [21_600, 5, 60];
const colour = (n) => `series-${(n % COLOURS) + 1}`;

/**
 * Read the series of the range in the address, again and again while it ends now.
 * @param {Record<string, string | undefined>} filters
 * @param {keyof typeof RANGES} [standard]
 */
function useSeries(filters, standard) {
  const [query] = useQuery();
  const range = rangeOf(query, standard);
  const every = range.seconds <= SHORT_RANGE ? SHORT_EVERY : LONG_EVERY;
  const asked = { ...filters, ...range.query };
  return useApi("/v1/ava/series", { query: asked, every: range.name === null ? null : every });
}

/** The choice of the range: until now, or two times, which dragging over a chart also sets. */
export function RangePicker() {
  const [query, setQuery] = useQuery();
  const [isOpen, setOpen] = useState(false);
  const { name, query: chosen } = rangeOf(query);
  const isCustom = name === null || isOpen;
  const choose = (range) => {
    setOpen(range === "custom");
    if (range !== "custom") setQuery({ range, since: null, until: null });
  };
  const apply = (event) => {
    event.preventDefault();
    const { since, until } = Object.fromEntries(new FormData(event.target));
    setQuery({ since: typedMoment(since), until: typedMoment(until) });
  };
  const moment = (label, name) => html`<${Input} label=${label} name=${name} type="datetime-local"
    required value=${toTyped(chosen[name])} />`;
  return html`<div class="row range">
    <${Select} aria-label="Range" name="range" value=${isCustom ? "custom" : name}
      options=${[...Object.entries(NAMES), ["custom", "From … until …"]]} onchange=${choose} />
    ${
      isCustom &&
      html`<form class="row" onsubmit=${apply}>
        ${moment("From", "since")}${moment("Until", "until")}
        <button type="submit">Apply</button>
      </form>`
    }
    <${ZoomOut} />
  </div>`;
}

/** The button that leaves a range of two times. */
export function ZoomOut() {
  const [query, setQuery] = useQuery();
  if (rangeOf(query).name !== null) return null;
  const back = () => setQuery({ since: null, until: null });
  return html`<${Button} kind="quiet" icon="cross" onclick=${back}>Back to now<//>`;
}

/**
 * All charts. `filters`: as in the API; `jobs` are the filters of the lists of jobs to which
 * a step leads, null if there is none. `range` is the standard one; `hasEnded` is false where the
 * page shows the ended jobs itself.
 * @param {{ filters?: Record<string, string | undefined>, jobs?: Record<string, string> | null,
 *   limit?: string, range?: keyof typeof RANGES, hasEnded?: boolean }} props
 */
export function SeriesCharts({ filters = {}, jobs = {}, limit = "limit", range, hasEnded = true }) {
  const [, setQuery] = useQuery();
  const { data } = useSeries(filters, range);
  if (!data) return html`<div class="charts" aria-busy="true"></div>`;
  const step = data.step_seconds;
  const first = Date.parse(data.since) / 1000;
  const times = data.running.map((_, at) => first + at * step);
  const zoom = (since, until) => setQuery({ since: iso(since * 1000), until: iso(until * 1000) });
  const hrefOf = (more) => jobs && ((since, until) => jobsOf({ ...jobs, ...more }, since, until));
  const common = { times, step, marks: data.marks, onRange: zoom };
  const chart = ({ title, ...rest }) => html`
    <${Card} title=${title} class="chart-card" key=${title}>
      <${Chart} label=${title} ...${common} ...${rest} />
    <//>`;
  const charts = [
    hasEnded && endedOf(data, times, hrefOf({})),
    { title: "Running jobs", series: runningOf(data, limit), unit: count },
    { title: "Time to start", series: percentilesOf(data.start), ...IN_TIME },
    { title: "Run time", series: percentilesOf(data.run), ...IN_TIME },
    data.backlog.length > 0 && backlogOf(data.backlog),
    data.failures.length > 0 && failuresOf(data.failures, hrefOf({ "filter[status]": "failed" })),
  ];
  return html`<div class="charts">${charts.filter(Boolean).map(chart)}</div>
    <${Marks} marks=${data.marks} />`;
}

/** Return the address of the jobs that ended in a step. */
export function jobsOf(filters, since, until) {
  const ended = {
    "filter[completed_after]": iso(since * 1000),
    "filter[completed_before]": iso(until * 1000),
  };
  return `#/jobs?${new URLSearchParams({ ...filters, ...ended })}`;
}

/** Return counts of outcomes as bars, one on the other. */
export const barsOf = (valuesOf) =>
  OUTCOMES.map(([label, name]) => {
    return { label, values: valuesOf(label), colour: name, kind: "bars", isStacked: true };
  });

function endedOf(data, times, hrefOf) {
  const counted = Date.parse(data.counted_until) / 1000;
  const rates = (label) => perMinute(data.ended[label], times, data.step_seconds, counted);
  return { title: "Ended per minute", series: barsOf(rates), unit: count, hrefOf };
}

/** Return the running jobs as an area, with the limit as a line if there is one. */
function runningOf(data, limit) {
  const running = { label: "running", values: data.running, colour: "calm", kind: "area" };
  const isLimited = data.max_running.some((value) => value !== null);
  if (!isLimited) return [running];
  return [running, { label: limit, values: data.max_running, colour: "warn", kind: "limit" }];
}

/** An axis of durations has steps of whole seconds, minutes and hours. */
const IN_TIME = { unit: time, steps: STEPS };
const percentilesOf = (found) =>
  PERCENTILES.map((label, n) => ({ label, values: found[`${label}_ms`], colour: colour(n) }));

function backlogOf(backlog) {
  const series = backlog.map(({ queue, priority, jobs }, n) => {
    const label = queue === null ? "others" : `${queue}, priority ${priority}`;
    return { label, values: jobs, colour: colour(n), kind: "area", isStacked: true };
  });
  return { title: "Waiting by queue and priority", series, unit: count };
}

function failuresOf(failures, hrefOf) {
  const series = failures.map(({ kind, jobs }, n) => {
    const style = { colour: colour(n), kind: "bars", isStacked: true };
    return { label: kind ?? "others", values: jobs, ...style };
  });
  return { title: "Failures by kind", series, unit: count, hrefOf };
}

const MARKS = { deploy: "Deploy", worker_pause: "Pause of", queue_pause: "Pause of queue" };

/** The deploys and pauses in words. */
function Marks({ marks }) {
  if (!marks.length) return null;
  const noun = marks.length === 1 ? "deploy or pause" : "deploys and pauses";
  const end = ({ type, ends_at: at }) => {
    if (type === "deploy") return "";
    return at ? ` until ${full(at)}` : ", continues";
  };
  const line = (mark) => html`<li key=${`${mark.type} ${mark.name} ${mark.starts_at}`}>
    <span class="swatch" data-type=${mark.type}></span>
    ${MARKS[mark.type] ?? mark.type} <strong class="mono">${mark.name}</strong>${" "}
    <small>${full(mark.starts_at)}${end(mark)}</small>
  </li>`;
  return html`<details class="marks">
    <summary>${number(marks.length)} ${noun} in this range</summary>
    <ul class="plain">${marks.toReversed().map(line)}</ul>
  </details>`;
}
