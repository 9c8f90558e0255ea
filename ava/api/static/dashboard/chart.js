// Bars of the last hour, drawn as SVG.

import { h, put, s, say } from "./dom.js";
import { hour, number } from "./format.js";

const KINDS = ["completed", "failed", "cancelled"];
const WIDTH = 720;
const HEIGHT = 200;
const BOTTOM = 20;
const LEFT = 44;

/** What ended per minute, as stacked bars; the minute that is pointed at is told in words. */
export function endedChart() {
  const svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img" });
  const told = h("p", { class: "told" });
  const legend = h("ul", { class: "legend" }, KINDS.map((kind) => h("li", { "data-kind": kind }, kind)));
  const element = h("div", {}, h("div", { class: "row between" }, told, legend), svg);
  let pointed = null;
  let minutes = [];

  const tell = () => {
    const minute = minutes[pointed] ?? minutes.at(-1);
    if (!minute) return;
    const parts = KINDS.map((kind) => `${number(minute[kind])} ${kind}`).join(", ");
    say(told, `${pointed === null ? "This minute" : hour(minute.minute)}: ${parts}`);
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH - LEFT;
    pointed = Math.max(0, Math.min(minutes.length - 1, Math.floor((x / (WIDTH - LEFT)) * minutes.length)));
    tell();
  });
  svg.addEventListener("pointerleave", () => {
    pointed = null;
    tell();
  });

  return {
    element,
    update(next) {
      minutes = next;
      const top = ceiling(Math.max(4, ...minutes.map(total)));
      put(svg, ...grid(top), ...minutes.flatMap((minute, place) => bars(minute, place, minutes.length, top)), ...times(minutes));
      const sums = KINDS.map((kind) => `${number(minutes.reduce((sum, minute) => sum + minute[kind], 0))} ${kind}`);
      svg.setAttribute("aria-label", `Jobs that ended in the last hour: ${sums.join(", ")}`);
      tell();
    },
  };
}

const total = (minute) => KINDS.reduce((sum, kind) => sum + minute[kind], 0);
const yOf = (value, top) => (HEIGHT - BOTTOM) * (1 - value / top) + 4 * (value / top);

/** The next round number: 1, 2, 4, 5 or 10 times a power of ten. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function grid(top) {
  return [0, 0.5, 1].flatMap((part) => {
    const y = yOf(part * top, top);
    return [
      s("line", { x1: LEFT, x2: WIDTH, y1: y, y2: y, class: "grid" }),
      s("text", { x: LEFT - 6, y: y + 4, class: "axis end" }, compact(part * top)),
    ];
  });
}

const compact = (value) => (value >= 10000 ? `${Math.round(value / 1000)}k` : number(value));

function bars(minute, place, count, top) {
  const width = (WIDTH - LEFT) / count;
  let below = 0;
  return KINDS.filter((kind) => minute[kind] > 0).map((kind) => {
    const from = below;
    below += minute[kind];
    const y = yOf(below, top);
    const height = Math.max(1.5, yOf(from, top) - y);
    return s("rect", { x: LEFT + place * width + 1, width: width - 2, y, height, rx: 1.5, class: `bar ${kind}` });
  });
}

function times(minutes) {
  const width = (WIDTH - LEFT) / minutes.length;
  return minutes.flatMap((minute, place) =>
    new Date(minute.minute).getMinutes() % 15 === 0
      ? [s("text", { x: LEFT + (place + 0.5) * width, y: HEIGHT - 4, class: "axis middle" }, hour(minute.minute))]
      : []);
}
