// The layout of a tree as a graph, from left to right: boxes and the lines between them. No DOM.

export const WIDTH = 188;
export const HEIGHT = 52;
const GAP_X = 64;
const GAP_Y = 14;
const MARGIN = 6;
/** More siblings of one worker with the same edges than these share one box. */
const MAX_ALIKE = 6;
/** The most boxes that are drawn. */
export const MAX_BOXES = 300;

/** Boxes with their places, and the lines between them. */
export function layout(tree) {
  const all = grouped(tree);
  const nodes = all.nodes.slice(0, MAX_BOXES);
  const kept = new Set(nodes);
  const edges = all.edges.filter(({ from, to }) => kept.has(from) && kept.has(to));
  rank(nodes, edges);
  const columns = [];
  for (const node of nodes) {
    columns[node.rank] ??= [];
    columns[node.rank].push(node);
  }
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
  for (const job of jobs) {
    listOf(alike, [job.worker_id, before.get(job.id), after.get(job.id)].join("|")).push(job);
  }
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

/** The rows: each box near the middle of its neighbours, seen from the left, then the right. */
function settle(columns, edges) {
  const tallest = Math.max(...columns.map((column) => column.length));
  const place = (column) => {
    const first = (tallest - column.length) / 2;
    for (const [row, node] of column.entries()) node.y = MARGIN + (first + row) * (HEIGHT + GAP_Y);
  };
  for (const column of columns) place(column);
  for (const isForward of [true, false, true]) {
    const middle = new Map();
    for (const { from, to } of edges) {
      const [node, other] = isForward ? [to, from] : [from, to];
      listOf(middle, node).push(other.y);
    }
    for (const column of isForward ? columns : [...columns].reverse()) {
      const order = new Map(column.map((node) => [node, mean(middle.get(node) ?? [node.y])]));
      column.sort((one, other) => order.get(one) - order.get(other));
      place(column);
    }
  }
  for (const [n, column] of columns.entries()) {
    for (const node of column) node.x = MARGIN + n * (WIDTH + GAP_X);
  }
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The size of the drawing that has all boxes. */
export function sizeOf(nodes) {
  return {
    width: Math.max(...nodes.map(({ x }) => x + WIDTH), 0) + MARGIN,
    height: Math.max(...nodes.map(({ y }) => y + HEIGHT), 0) + MARGIN,
  };
}

/** The curve of an edge, and its tip. */
export function pathsOf({ from, to }) {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x - 7, to.y + HEIGHT / 2];
  const bend = Math.max(24, (x2 - x1) / 2);
  return {
    edge: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`,
    tip: `M${x2 + 7},${y2} l-8,-4 v8 z`,
  };
}

/** What a job of a tree did, by time. */
export function barsOf(job, now) {
  const time = (text) => (text ? new Date(text).getTime() : null);
  const [created, began] = [time(job.created_at), time(job.first_run_at)];
  const end = time(job.completed_at) ?? now;
  const bar = (part, from, to) => ({ part, from, to });
  const waits = job.waits.map(({ began_at: from, ended_at: to }) =>
    bar("waits", time(from), Math.min(end, time(to) ?? end)),
  );
  if (began === null) return [bar("queued", created, end), ...waits];
  const runs = [];
  let from = began;
  for (const wait of waits.filter((each) => each.from >= began)) {
    runs.push(bar("runs", from, wait.from));
    from = wait.to;
  }
  if (from < end) runs.push(bar(job.status === "queued" ? "queued" : "runs", from, end));
  return [bar("queued", created, began), ...waits, ...runs];
}
