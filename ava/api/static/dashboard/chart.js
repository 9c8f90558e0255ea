// A bar chart of ended jobs by minute, hour or day, drawn as SVG. A bar is a link to the jobs that ended in its span.

import { h, put, s, say } from "./dom.js";
import { dayOf, hour, number } from "./format.js";

const KINDS = ["completed", "failed", "cancelled"];
const HEIGHT = 190;
const TOP = 10;
const BOTTOM = 22;
const LEFT = 40;

/** Names of the bars: how the last is called, how each of the others, and whether one has its name at the axis. */
const SPANS = {
  minute: { last: "This minute", milliseconds: 60000, whole: "in the last hour", name: hour, isNamed: (text) => new Date(text).getMinutes() % 15 === 0 },
  hour: { last: "This hour", milliseconds: 3600000, whole: "in this period", name: hour, isNamed: (text) => new Date(text).getHours() % 6 === 0 },
  day: { last: "Today", milliseconds: 86400000, whole: "in this period", name: dayOf, isNamed: (text) => new Date(text).getUTCDay() === 1 },
};

/**
 * Ended jobs as stacked bars, one for each span; a caption has the numbers of the one under the pointer or with the focus.
 * `filters` are those of the jobs to which a bar leads, besides the times of its span.
 */
export function endedChart({ spans = "minute", filters = {} } = {}) {
  const words = SPANS[spans];
  const drawn = s("g", { "aria-hidden": "true" });
  const links = s("g", {});
  const svg = s("svg", { height: HEIGHT, class: "chart", role: "group" }, drawn, links);
  const caption = h("p", { class: "caption" });
  const legend = h("ul", { class: "legend" }, KINDS.map((kind) => h("li", { "data-kind": kind }, kind)));
  const element = h("div", {}, h("div", { class: "row between" }, caption, legend), svg);
  let pointed = null;
  let minutes = [];
  let width = 0;

  const updateCaption = () => {
    const minute = minutes[pointed] ?? minutes.at(-1);
    if (!minute) return;
    say(caption, `${pointed === null ? words.last : words.name(minute.minute)}: ${counted(minute)}`);
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const part = (event.clientX - box.left - LEFT) / (width - LEFT);
    pointed = Math.max(0, Math.min(minutes.length - 1, Math.floor(part * minutes.length)));
    updateCaption();
  });
  svg.addEventListener("pointerleave", (event) => {
    // After a tap the pointer leaves the chart, but the tapped values must stay readable.
    if (event.pointerType === "touch") return;
    pointed = null;
    updateCaption();
  });
  const spansOf = spanLinks(links, {
    addressOf: ({ minute }) => jobsOf(minute, words.milliseconds, filters),
    nameOf: (minute) => `${words.name(minute.minute)}: ${counted(minute)}`,
    focus(place) {
      pointed = place;
      updateCaption();
    },
    isRead: (place) => pointed === place,
  });

  const draw = () => {
    if (!width || !minutes.length) return;
    const scale = { width: (width - LEFT) / minutes.length, top: ceiling(Math.max(4, ...minutes.map(total))) };
    put(drawn, grid(scale, width), minutes.map((minute, place) => bars(minute, place, scale)), times(minutes, scale, width, words));
    spansOf.show(minutes, scale.width);
  };
  // Redrawn for each width, so that the labels keep their size.
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

const counted = (minute) => KINDS.map((kind) => `${number(minute[kind])} ${kind}`).join(", ");

/** The address of the jobs that ended in a span. */
function jobsOf(start, milliseconds, filters) {
  const from = new Date(start);
  const until = new Date(from.getTime() + milliseconds);
  return `#/jobs?${new URLSearchParams({ ...filters, "filter[completed_after]": from.toISOString(), "filter[completed_before]": until.toISOString() })}`;
}

/**
 * A link over each bar, as high as the chart. Tab reaches one of them, from which the arrow keys go on. They stay while
 * the bars are drawn again, so that the focus stays too. The first tap of a finger reads a bar, the second opens it.
 */
function spanLinks(parent, { addressOf, nameOf, focus, isRead }) {
  const all = [];
  let touched = null;
  const make = (place) => {
    const link = s("a", { tabindex: "-1", onfocus: () => focus(place), onblur: () => focus(null), onclick: (event) => {
      if (event.pointerType !== "touch" || (touched === place && isRead(place))) return;
      event.preventDefault();
      touched = place;
      focus(place);
    } }, s("rect", { y: TOP, height: HEIGHT - BOTTOM - TOP, class: "hit" }));
    parent.append(link);
    return link;
  };
  parent.addEventListener("keydown", (event) => {
    const here = all.indexOf(document.activeElement);
    const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined || here === -1) return;
    event.preventDefault();
    const place = Math.max(0, Math.min(all.length - 1, next));
    all.forEach((link, each) => link.setAttribute("tabindex", each === place ? "0" : "-1"));
    all[place].focus();
  });
  return {
    show(minutes, width) {
      while (all.length > minutes.length) all.pop().remove();
      while (all.length < minutes.length) all.push(make(all.length));
      if (!all.some((link) => link.getAttribute("tabindex") === "0")) all.at(-1).setAttribute("tabindex", "0");
      minutes.forEach((minute, place) => {
        all[place].setAttribute("href", addressOf(minute));
        all[place].setAttribute("aria-label", `${nameOf(minute)}. The jobs that ended then`);
        all[place].firstChild.setAttribute("x", LEFT + place * width);
        all[place].firstChild.setAttribute("width", width);
      });
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
