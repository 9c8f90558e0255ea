// A chart of time series on uPlot: its values are read by pointer, by keyboard, and as a table.

import { hour, iso, moment, number, zone } from "../format.js";
import { atX, domain, lonePlaces, rowsOf, stacked } from "./chart_data.js";
import { classes } from "./elements.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";

/**
 * One series. `colour` names a variable of the style; series with `isStacked` are drawn on those
 * that follow them.
 * @typedef {{ label: string, values: (number | null)[], colour: string, isStacked?: boolean,
 *   kind?: "bars" | "area" | "line" | "limit" }} ChartSeries
 * @typedef {{ type: string, name: string, starts_at: string, ends_at: string | null }} Mark
 */

const FONT = "11px system-ui, sans-serif";
/** Pixels that a pointer moves before it drags. */
const DRAG = 6;
const DAY = 86400;
/** Steps of the axis of values: jobs and milliseconds are whole. */
const STEPS = Array.from({ length: 15 }, (_, n) => [1, 2, 5].map((step) => step * 10 ** n)).flat();

/** The library, loaded with the first chart. */
let library;
function load() {
  library ??= import("uplot").then((module) => module.default);
  return library;
}

/** Return a colour as a canvas needs it: a variable may hold one for light and one for dark. */
function colourOf(element, name, opacity = 1) {
  element.style.color = `var(--${name})`;
  const colour = getComputedStyle(element).color;
  element.style.color = "";
  return opacity === 1 ? colour : colour.replace(/^rgba?\((.*)\)$/, `rgba($1, ${opacity})`);
}

/** Return the name of a step, as precise as the step is long. */
const stepName = (seconds, step) =>
  step < 3600 ? hour(iso(seconds * 1000)) : moment(iso(seconds * 1000)).replace(/:\d\d$/, "");

/** Return uPlot's options of a series. Colours are read at each drawing: they follow the theme. */
function optionsOf(Plot, { label, colour, kind = "line", isStacked }, host) {
  const stroke = () => colourOf(host, colour);
  const filter = (plot, n) => (kind === "bars" ? null : lonePlaces(plot.data[n]));
  const base = { label, stroke, points: { show: false, size: 5, fill: stroke, filter } };
  if (kind === "bars") {
    const paths = Plot.paths.bars({ size: [0.85, 48], align: 1 });
    return { ...base, fill: stroke, width: 0, paths };
  }
  if (kind === "limit") return { ...base, width: 1.5, dash: [6, 4], spanGaps: true };
  const fill = kind === "area" ? () => colourOf(host, colour, isStacked ? 1 : 0.2) : undefined;
  return { ...base, width: 1.5, fill };
}

/** Draw pauses as bands and deploys as lines. */
function drawMarks(plot, marks, host) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const { type, starts_at: from, ends_at: until } of marks) {
    const x = plot.valToPos(Date.parse(from) / 1000, "x", true);
    if (type === "deploy") {
      ctx.strokeStyle = colourOf(host, "accent");
      ctx.setLineDash([3 * ratio, 3 * ratio]);
      ctx.lineWidth = ratio;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    } else {
      const end = until ? Date.parse(until) / 1000 : plot.scales.x.max;
      ctx.fillStyle = colourOf(host, "warn", 0.14);
      const width = plot.valToPos(end, "x", true) - x;
      ctx.fillRect(x, bbox.top, Math.max(2 * ratio, width), bbox.height);
    }
  }
  ctx.restore();
}

/** Return the labels of an axis of times: hours, and the day where it begins or steps are days. */
function labelsOf(splits) {
  const step = splits.length > 1 ? splits[1] - splits[0] : 0;
  return splits.map((seconds) => {
    const [day, time] = moment(iso(seconds * 1000)).split(", ");
    return step >= DAY || time?.startsWith("00:00") ? day : hour(iso(seconds * 1000));
  });
}

/** Return uPlot's options of the scales, axes and grid. */
function frameOf(Plot, latest, host) {
  const { unit, steps, max, height } = latest.current;
  const axis = { stroke: () => colourOf(host, "muted"), font: FONT, ticks: { show: false } };
  const grid = { stroke: () => colourOf(host, "line"), width: 1 };
  const local = (seconds) => new Date(seconds * 1000);
  return {
    height,
    width: Math.max(100, host.clientWidth),
    // The last label of the axis of times has half its width beyond the plot.
    padding: [8, 18, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: true, range: () => domain(latest.current) },
      y: { range: (_plot, _least, most) => [0, Math.max(max, (most ?? 0) * 1.08)] },
    },
    tzDate: (seconds) => (zone.isUtc ? Plot.tzDate(local(seconds), "Etc/UTC") : local(seconds)),
    axes: [
      { ...axis, grid: { show: false }, size: 26, space: 60, values: (_, all) => labelsOf(all) },
      {
        ...axis,
        grid,
        size: 66,
        gap: 4,
        space: 32,
        incrs: steps,
        values: (_, all) => all.map(unit),
      },
    ],
  };
}

/** Make the plot in `host`. `latest.current` holds what the component was last drawn with. */
function makePlot(Plot, host, latest) {
  const select = (plot) => {
    const { left, width } = plot.select;
    if (width < DRAG) return;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    latest.current.onRange?.(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
  };
  const isShared = (type) => type === "mousemove" || type === "mouseleave";
  const options = {
    ...frameOf(Plot, latest, host),
    series: [{}, ...latest.current.series.map((each) => optionsOf(Plot, each, host))],
    cursor: {
      y: false,
      points: { size: 6 },
      drag: { x: Boolean(latest.current.onRange), y: false, setScale: false, dist: DRAG },
      sync: { key: "ava", filters: { pub: isShared, sub: () => true } },
    },
    hooks: {
      drawClear: [(plot) => drawMarks(plot, latest.current.marks, host)],
      setCursor: [(plot) => latest.current.setPlace(plot.cursor.idx ?? null)],
      setSelect: [select],
    },
  };
  const plot = new Plot(options, latest.current.data, host);
  openByClick(plot, latest);
  return plot;
}

/** A click opens a step; of a finger the first tap reads it, and the second opens it. */
function openByClick(plot, latest) {
  let pressed = null;
  let touched = null;
  plot.over.addEventListener("pointerdown", (event) => {
    pressed = event.clientX;
  });
  plot.over.addEventListener("click", (event) => {
    const place = plot.posToIdx(event.clientX - plot.over.getBoundingClientRect().left);
    const isDrag = pressed !== null && Math.abs(event.clientX - pressed) >= DRAG;
    const isRead = event.pointerType !== "touch" || touched === place;
    touched = place;
    if (!isDrag && isRead) latest.current.open(place);
  });
}

/** Draw a plot in `host`, and again with another size or theme. Returns what ends it. */
function keepPlot(host, latest, plot) {
  let isGone = false;
  load().then((Plot) => {
    if (!isGone) plot.current = makePlot(Plot, host, latest);
  });
  const resized = new ResizeObserver(([{ contentRect }]) => {
    const size = { width: Math.round(contentRect.width), height: latest.current.height };
    if (size.width) plot.current?.setSize(size);
  });
  resized.observe(host);
  // uPlot keeps the colours with the paths.
  const redraw = () => plot.current?.redraw();
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", redraw);
  const theme = new MutationObserver(redraw);
  theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  return () => {
    isGone = true;
    resized.disconnect();
    scheme.removeEventListener("change", redraw);
    theme.disconnect();
    plot.current?.destroy();
    plot.current = null;
  };
}

/**
 * A chart. `times` are the starts of the steps in seconds, `step` is their length. Dragging calls
 * `onRange` with two times in seconds; a click on a step, or Enter, opens the address that `hrefOf`
 * returns for its start and end.
 * @param {{ label: string, times: number[], step: number, series: ChartSeries[], marks?: Mark[],
 *   height?: number, unit?: (value: number) => string, steps?: number[], max?: number,
 *   class?: string,
 *   onRange?: (since: number, until: number) => void, nameOf?: (start: number) => string,
 *   hrefOf?: (since: number, until: number) => string }} props
 */
export function Chart({ label, times, step, series, marks = [], unit = number, ...more }) {
  const { height = 170, max = 1, steps = STEPS, onRange, hrefOf, class: name } = more;
  const { nameOf = (seconds) => stepName(seconds, step) } = more;
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const latest = useRef(/** @type {any} */ (null));
  const [place, setPlace] = useState(/** @type {number | null} */ (null));
  const [isTable, setTable] = useState(false);
  const open = (at) => {
    if (hrefOf && times[at] !== undefined) location.hash = hrefOf(times[at], times[at] + step);
  };
  const data = [times, ...stacked(series)];
  const drawn = { times, step, series, marks, height, unit, steps, max };
  latest.current = { ...drawn, onRange, data, setPlace, open };
  const kinds = series.map((each) => [each.label, each.colour, each.kind]);
  const shape = JSON.stringify([height, max, Boolean(onRange), kinds]);
  useEffect(() => keepPlot(host.current, latest, plot), [shape]);
  useLayoutEffect(() => {
    plot.current?.setData(data);
  }, [times, series, marks]);
  const move = (event) => {
    const next = atX(event.key, place, times.length);
    if (event.key === "Enter" && place !== null) open(place);
    if (next === null) return;
    event.preventDefault();
    setPlace(next);
    const left = plot.current?.valToPos(times[next], "x");
    plot.current?.setCursor({ left, top: 1 }, false);
  };
  const shown = place !== null && times[place] !== undefined ? place : null;
  const last = Math.max(0, times.length - 1);
  const words = shown === null ? highest(series, unit) : readStep(series, shown, unit);
  const text = shown === null ? words : `${nameOf(times[shown])}: ${words}`;
  return html`<div class=${classes("plot", name)}>
    <div class="plot-values">
      <span class="caption">${shown === null ? "" : nameOf(times[shown])}</span>
      <${Legend} series=${series} place=${shown} unit=${unit} />
      <button type="button" class="quiet" aria-pressed=${isTable}
        aria-label=${`${label} as a table`} onclick=${() => setTable(!isTable)}>Table</button>
    </div>
    <div class="plot-host" ref=${host} hidden=${isTable} role="slider" tabindex="0"
      aria-label=${label} aria-valuemin="0" aria-valuemax=${last} aria-valuenow=${shown ?? last}
      aria-valuetext=${text} onkeydown=${move}></div>
    ${isTable && html`<${Values} ...${{ label, times, step, series, unit, hrefOf, nameOf }} />`}
  </div>`;
}

const textOf = (value, unit) => (value === null || value === undefined ? "–" : unit(value));

/** Return the values of a step in words. */
const readStep = (series, place, unit) =>
  series
    .filter(({ values }) => values[place] !== null && values[place] !== undefined)
    .map(({ label, values }) => `${unit(values[place])} ${label}`)
    .join(", ");

/** Return the highest value of each series in words. */
function highest(series, unit) {
  const all = series.map(({ label, values }) => {
    const known = values.filter((value) => value !== null);
    return `${known.length ? unit(Math.max(...known)) : "no"} ${label}`;
  });
  return `Highest: ${all.join(", ")}`;
}

function Legend({ series, place, unit }) {
  const swatch = ({ kind = "line", colour }) =>
    html`<i data-kind=${kind} style=${{ "--swatch": `var(--${colour})` }}></i>`;
  const value = ({ values }) => place !== null && html`<b>${textOf(values[place], unit)}</b>`;
  const entry = (each) =>
    html`<li key=${each.label}>${swatch(each)}${each.label} ${value(each)}</li>`;
  return html`<ul class="legend">${series.map(entry)}</ul>`;
}

/** The values as a table, without steps that have none. */
function Values({ label, times, step, series, unit, hrefOf, nameOf }) {
  const title = (at) =>
    hrefOf ? html`<a href=${hrefOf(at, at + step)}>${nameOf(at)}</a>` : nameOf(at);
  const row = ({ at, values }) => html`<tr key=${at}>
    <th scope="row">${title(at)}</th>
    ${values.map((value, n) => html`<td key=${n}>${textOf(value, unit)}</td>`)}
  </tr>`;
  const heads = series.map((each) => html`<th scope="col" key=${each.label}>${each.label}</th>`);
  return html`<div class="plot-table" tabindex="0" role="region" aria-label=${`Table: ${label}`}>
    <table>
      <thead><tr><th scope="col">From</th>${heads}</tr></thead>
      <tbody>${rowsOf(times, series).map(row)}</tbody>
    </table>
  </div>`;
}
