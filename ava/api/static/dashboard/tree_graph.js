// A tree as a graph, from left to right. Many similar jobs share one box.

import { h, put, s } from "./dom.js";
import { number, ran as ranOf, short } from "./format.js";
import { FINAL, countsOf, nameOf, stateOf } from "./tree_jobs.js";

const WIDTH = 188;
const HEIGHT = 52;
const GAP_X = 64;
const GAP_Y = 14;
const MARGIN = 6;
/** Up to so many equal siblings, of one worker and with the same edges, have a box each; more share one box. */
const MAX_ALIKE = 6;
/** The most boxes that are drawn. */
const MAX_BOXES = 300;

/** The graph of a tree, which is drawn anew in place when its jobs have changed. */
export function treeGraph(currentId) {
  const lines = s("svg", { class: "edges", "aria-hidden": "true" });
  const boxes = h("ul", { class: "boxes" });
  const inner = h("div", { class: "graph-inner" }, lines, boxes);
  const note = h("p", { class: "muted" });
  const element = h("div", {}, h("div", { class: "graph", tabindex: "0", role: "region", "aria-label": "Graph of the jobs" }, inner), note);
  return {
    element,
    update(tree) {
      const { nodes, edges, left } = layout(tree);
      const width = Math.max(...nodes.map(({ x }) => x + WIDTH), 0) + MARGIN;
      const height = Math.max(...nodes.map(({ y }) => y + HEIGHT), 0) + MARGIN;
      Object.assign(inner.style, { width: `${width}px`, height: `${height}px` });
      lines.setAttribute("width", width);
      lines.setAttribute("height", height);
      put(lines, edges.map(line));
      put(boxes, nodes.map((node) => box(node, currentId)));
      note.hidden = !left;
      note.textContent = left ? `The graph has the first ${number(MAX_BOXES)} boxes; ${number(left)} are not shown.` : "";
    },
  };
}

/** Boxes with their places, and the lines between them. */
function layout(tree) {
  const all = grouped(tree);
  const nodes = all.nodes.slice(0, MAX_BOXES);
  const kept = new Set(nodes);
  const edges = all.edges.filter(({ from, to }) => kept.has(from) && kept.has(to));
  rank(nodes, edges);
  const columns = [];
  for (const node of nodes) (columns[node.rank] ??= []).push(node);
  settle(columns, edges);
  return { nodes, edges, left: all.nodes.length - nodes.length };
}

/** Returns the boxes of jobs: jobs of one worker with the same edges share a box. */
function grouped({ jobs, edges }) {
  const known = new Map(jobs.map((job) => [job.id, job]));
  const before = new Map();
  const after = new Map();
  const shown = edges.filter(({ from, to }) => known.has(from) && known.has(to));
  for (const { from, to, kind } of shown) {
    listOf(before, to).push(`${from} ${kind}`);
    listOf(after, from).push(`${to} ${kind}`);
  }
  const alike = new Map();
  for (const job of jobs) listOf(alike, [job.worker_id, before.get(job.id), after.get(job.id)].join("|")).push(job);
  const boxOf = new Map();
  const nodes = [];
  for (const group of alike.values()) {
    const parts = group.length > MAX_ALIKE ? [group] : group.map((job) => [job]);
    for (const part of parts) {
      const node = { n: nodes.length, jobs: part, rank: 0, x: 0, y: 0 };
      nodes.push(node);
      for (const job of part) boxOf.set(job.id, node);
    }
  }
  const lines = new Map();
  for (const { from, to, kind } of shown) {
    const [one, other] = [boxOf.get(from), boxOf.get(to)];
    const key = `${one.n} ${other.n} ${kind}`;
    if (one !== other) lines.set(key, { from: one, to: other, kind });
  }
  return { nodes, edges: [...lines.values()] };
}

function listOf(map, key) {
  if (!map.has(key)) map.set(key, []);
  return map.get(key);
}

/** The column of each box: one more than the last of those before it. A graph has no circle. */
function rank(nodes, edges) {
  const waiting = new Map(nodes.map((node) => [node, 0]));
  const after = new Map();
  for (const { from, to } of edges) {
    waiting.set(to, waiting.get(to) + 1);
    listOf(after, from).push(to);
  }
  const free = nodes.filter((node) => !waiting.get(node));
  for (const node of free) {
    for (const next of after.get(node) ?? []) {
      next.rank = Math.max(next.rank, node.rank + 1);
      waiting.set(next, waiting.get(next) - 1);
      if (!waiting.get(next)) free.push(next);
    }
  }
}

/** The rows: each box near the middle of its neighbours, first seen from the left, then from the right. */
function settle(columns, edges) {
  const place = (column, at) => column.forEach((node, row) => (node.y = MARGIN + at + row * (HEIGHT + GAP_Y)));
  const tallest = Math.max(...columns.map((column) => column.length));
  for (const column of columns) place(column, ((tallest - column.length) / 2) * (HEIGHT + GAP_Y));
  for (const isForward of [true, false, true]) {
    const middle = new Map();
    for (const { from, to } of edges) {
      const [node, other] = isForward ? [to, from] : [from, to];
      listOf(middle, node).push(other.y);
    }
    for (const column of isForward ? columns : [...columns].reverse()) {
      const wanted = (node) => (middle.has(node) ? middle.get(node).reduce((sum, y) => sum + y, 0) / middle.get(node).length : node.y);
      const order = new Map(column.map((node) => [node, wanted(node)]));
      column.sort((one, other) => order.get(one) - order.get(other));
      place(column, ((tallest - column.length) / 2) * (HEIGHT + GAP_Y));
    }
  }
  columns.forEach((column, rankOf) => column.forEach((node) => (node.x = MARGIN + rankOf * (WIDTH + GAP_X))));
}

function line({ from, to, kind }) {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x - 7, to.y + HEIGHT / 2];
  const bend = Math.max(24, (x2 - x1) / 2);
  return s("g", { "data-kind": kind },
    s("path", { d: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`, class: "edge" }),
    s("path", { d: `M${x2 + 7},${y2} l-8,-4 v8 z`, class: "tip" }));
}

function box(node, currentId) {
  const [job] = node.jobs;
  const isOne = node.jobs.length === 1;
  const element = isOne ? one(job, currentId) : many(node.jobs);
  Object.assign(element.style, { left: `${node.x}px`, top: `${node.y}px`, width: `${WIDTH}px`, height: `${HEIGHT}px` });
  return element;
}

function one(job, currentId) {
  const state = stateOf(job);
  const ran = FINAL.includes(job.status) && job.duration_ms !== null ? `, ${ranOf(job)}` : "";
  return h("li", { "data-state": state, class: job.id === currentId ? "box current" : "box" },
    h("a", { href: `#/jobs/${job.id}`, title: job.error ?? job.id, "aria-current": job.id === currentId ? "true" : null },
      h("strong", {}, nameOf(job)), h("span", {}, `${state}${ran}`), h("small", {}, job.name ? job.worker_id.replace("wkr_", "") : short(job.id))));
}

function many(jobs) {
  const counts = countsOf(jobs);
  const [{ parent_id: parent, tree_id: tree, worker_id: worker }] = jobs;
  const query = new URLSearchParams({ "filter[worker_id]": worker, ...(parent ? { "filter[parent_id]": parent } : { "filter[tree_id]": tree }) });
  const bar = h("div", { class: "shares" }, counts.map(([state, count]) => {
    const part = h("i", { "data-state": state });
    part.style.flexGrow = count;
    return part;
  }));
  const text = counts.map(([state, count]) => `${number(count)} ${state}`).join(", ");
  return h("li", { class: "box many" },
    h("a", { href: `#/jobs?${query}`, title: text }, h("strong", {}, `${number(jobs.length)} × ${worker.replace("wkr_", "")}`), bar, h("small", {}, text)));
}
