// Bars of ended jobs over time: a bar leads to its jobs, and dragging over several chooses a time.

import { dayOf, hour, iso, moment, number } from "./format.js";
import { sumsOf } from "./job_counts.js";
import { html, placeAfter, useEffect, useRef, useState } from "./ui/index.js";

const HOUR = 3600000;
const KINDS = ["failed", "cancelled", "completed"];

const counted = (counts, kinds) =>
  kinds.map((kind) => `${number(counts[kind])} ${kind}`).join(", ");

/** Return the name of a bar: its day, its hour with its day, or its minute. */
function nameOf(at, unit) {
  if (unit > HOUR) return dayOf(iso(at));
  return unit === HOUR ? moment(iso(at)).replace(/:\d\d$/, "") : hour(iso(at));
}

/** Return the place of the bar under a pointer. */
function placeUnder(event, count) {
  const box = event.currentTarget.getBoundingClientRect();
  const place = Math.floor(((event.clientX - box.left) / box.width) * count);
  return Math.max(0, Math.min(count - 1, place));
}

/** Return the range of a drag, and its handlers; `onRange(first, last)` is told of its end. */
function useDrag(count, onRange) {
  const [drag, setDrag] = useState(null);
  const latest = useRef(null);
  const range = drag && [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
  latest.current = { range, onRange };
  useEffect(() => {
    const end = () => {
      const ended = latest.current.range;
      if (ended && ended[0] !== ended[1]) latest.current.onRange(...ended);
      // The click that ends a drag follows, and must still find it.
      setTimeout(() => setDrag(null));
    };
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
    return () => {
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
    };
  }, []);
  const begin = (event) => {
    const place = placeUnder(event, count);
    if (!event.button) setDrag({ from: place, to: place });
  };
  const handlers = {
    onpointerdown: begin,
    onpointermove: (event) => drag && setDrag({ ...drag, to: placeUnder(event, count) }),
    ondragstart: (event) => event.preventDefault(),
  };
  return { range: range && range[0] !== range[1] ? range : null, handlers };
}

function Bar({ bar, unit, top, kinds, isChosen, ...rest }) {
  const part = (kind) => html`<i key=${kind} class=${kind}
    style=${{ blockSize: `${(100 * bar[kind]) / top}%` }}></i>`;
  const label = `${nameOf(bar.at, unit)}: ${counted(bar, kinds)}. The jobs that ended then`;
  return html`<a class=${isChosen ? "chosen" : undefined} aria-label=${label} draggable="false"
    ...${rest}>${kinds.filter((kind) => bar[kind]).map(part)}</a>`;
}

/**
 * The bars of `unit` milliseconds each. `addressOf(from, until)` is the address of the jobs that
 * ended in a span, `status` the only outcome that is shown, and `about` names the counted jobs.
 */
export function Histogram({ bars, unit, status, about, addressOf }) {
  const [focus, setFocus] = useState(null);
  const [touched, setTouched] = useState(null);
  const row = useRef(/** @type {HTMLElement | null} */ (null));
  const spanOf = (first, last) => addressOf(iso(bars[first].at), iso(bars[last].at + unit));
  const open = (first, last) => {
    location.hash = spanOf(first, last);
  };
  const { range, handlers } = useDrag(bars.length, open);
  if (!bars.length) return null;
  const kinds = status ? [status] : KINDS;
  const last = bars.length - 1;
  const move = (event) => {
    const next = placeAfter(event.key, focus ?? last, bars.length);
    if (next === null) return;
    event.preventDefault();
    /** @type {HTMLElement} */ (row.current.children[next]).focus();
  };
  // The first tap of a finger reads a bar, the second opens it.
  const click = (event, place) => {
    const isFirstTap = event.pointerType === "touch" && touched !== place;
    if (isFirstTap || range) event.preventDefault();
    if (isFirstTap) setTouched(place);
  };
  const top = Math.max(1, ...bars.map((bar) => kinds.reduce((sum, kind) => sum + bar[kind], 0)));
  const draw = (bar, place) => html`<${Bar} key=${bar.at} ...${{ bar, unit, top, kinds }}
    isChosen=${range && place >= range[0] && place <= range[1]} href=${spanOf(place, place)}
    tabindex=${place === (focus ?? last) ? "0" : "-1"} onfocus=${() => setFocus(place)}
    onblur=${() => setFocus(null)} onpointerenter=${() => setFocus(place)}
    onclick=${(event) => click(event, place)} />`;
  const all = `${about}: ${counted(sumsOf(bars, kinds), kinds)}`;
  const read = bars[focus];
  const leave = (event) => event.pointerType !== "touch" && setFocus(null);
  return html`<section class="histogram" aria-label="Ended jobs over time">
    <div class="bars" role="group" aria-label=${all} ref=${row} onkeydown=${move}
      onpointerleave=${leave} ...${handlers}>${bars.map(draw)}</div>
    <p class="row between">
      <span>${nameOf(bars[0].at, unit)}</span>
      <span>${read ? `${nameOf(read.at, unit)}: ${counted(read, kinds)}` : all}</span>
      <span>${nameOf(bars[last].at, unit)}</span>
    </p>
  </section>`;
}
