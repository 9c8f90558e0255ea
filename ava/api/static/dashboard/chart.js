// A bar chart of ended jobs by minute, hour or day, drawn as SVG.

import { h, put, s, say } from "./dom.js";
import { dayOf, hour, number } from "./format.js";

const KINDS = ["completed", "failed", "cancelled"];
const HEIGHT = 190;
const TOP = 10;
const BOTTOM = 22;
const LEFT = 40;

/** Names of the bars: how the last is called, how each of the others, and whether one has its name at the axis. */
const SPANS = {
  minute: { last: "This minute", whole: "in the last hour", name: hour, isNamed: (text) => new Date(text).getMinutes() % 15 === 0 },
  hour: { last: "This hour", whole: "in this period", name: hour, isNamed: (text) => new Date(text).getHours() % 6 === 0 },
  day: { last: "Today", whole: "in this period", name: dayOf, isNamed: (text) => new Date(text).getUTCDay() === 1 },
};

/** Ended jobs as stacked bars, one for each span; a caption has the numbers of the one under the pointer. */
export function endedChart({ spans = "minute" } = {}) {
  const words = SPANS[spans];
  const svg = s("svg", { height: HEIGHT, class: "chart", role: "img" });
  const caption = h("p", { class: "caption" });
  const legend = h("ul", { class: "legend" }, KINDS.map((kind) => h("li", { "data-kind": kind }, kind)));
  const element = h("div", {}, h("div", { class: "row between" }, caption, legend), svg);
  let pointed = null;
  let minutes = [];
  let width = 0;

  const updateCaption = () => {
    const minute = minutes[pointed] ?? minutes.at(-1);
    if (!minute) return;
    const parts = KINDS.map((kind) => `${number(minute[kind])} ${kind}`).join(", ");
    say(caption, `${pointed === null ? words.last : words.name(minute.minute)}: ${parts}`);
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const part = (event.clientX - box.left - LEFT) / (width - LEFT);
    pointed = Math.max(0, Math.min(minutes.length - 1, Math.floor(part * minutes.length)));
    updateCaption();
  });
  svg.addEventListener("pointerleave", () => {
    pointed = null;
    updateCaption();
  });

  const draw = () => {
    if (!width || !minutes.length) return;
    const scale = { width: (width - LEFT) / minutes.length, top: ceiling(Math.max(4, ...minutes.map(total))) };
    put(svg, grid(scale, width), minutes.map((minute, place) => bars(minute, place, scale)), times(minutes, scale, width, words));
  };
  // Redrawn for each width, so that the text keeps its size.
  new ResizeObserver(([entry]) => {
    width = Math.round(entry.contentRect.width);
    draw();
  }).observe(svg);

  return {
    element,
    update(next) {
      minutes = next;
      draw();
      const sums = KINDS.map((kind) => `${number(minutes.reduce((sum, minute) => sum + minute[kind], 0))} ${kind}`);
      svg.setAttribute("aria-label", `Jobs that ended ${words.whole}: ${sums.join(", ")}`);
      updateCaption();
    },
  };
}

const total = (minute) => KINDS.reduce((sum, kind) => sum + minute[kind], 0);
const yOf = (value, top) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value / top);

/** The next round number whose half is round too. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

function grid({ top }, width) {
  return [0, 0.5, 1].map((part) => {
    const y = yOf(part * top, top);
    return [
      s("line", { x1: LEFT, x2: width, y1: y, y2: y, class: "grid" }),
      s("text", { x: LEFT - 6, y: y + 4, class: "axis end" }, compact(part * top)),
    ];
  });
}

const compact = (value) => (value >= 10000 ? `${Math.round(value / 1000)}k` : number(value));

function bars(minute, place, { width, top }) {
  let below = 0;
  return KINDS.filter((kind) => minute[kind] > 0).map((kind) => {
    const from = below;
    below += minute[kind];
    const y = yOf(below, top);
    const height = Math.max(1.5, yOf(from, top) - y);
    return s("rect", { x: LEFT + place * width + 1, width: Math.max(1, width - 2), y, height, rx: 1.5, class: `bar ${kind}` });
  });
}

function times(minutes, { width }, whole, words) {
  return minutes.map((minute, place) => {
    const x = LEFT + (place + 0.5) * width;
    const fits = words.isNamed(minute.minute) && x < whole - 20;
    return fits ? s("text", { x, y: HEIGHT - 5, class: "axis middle" }, words.name(minute.minute)) : null;
  });
}
