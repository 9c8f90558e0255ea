// A tree as a time line: when each job was queued, ran and waited. Waiting times are hatched.

import { h, Keyed, put, say } from "./dom.js";
import { full, number, ran, span } from "./format.js";
import { button } from "./parts.js";
import { FINAL, inOrder, nameOf, stateOf } from "./tree_jobs.js";

/** Rows that are shown at first, and that each press of the button adds. */
const PER_PART = 200;
const TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000, 10800000, 21600000, 43200000, 86400000];

export function treeTimes(currentId) {
  const axis = h("div", { class: "axis", "aria-hidden": "true" });
  const list = h("ol", { class: "spans" });
  const more = button("More rows", () => {
    shown += PER_PART;
    draw();
  }, { kind: "quiet" });
  const legend = h("ul", { class: "legend" }, ["queued", "runs", "waits"].map((kind) => h("li", { "data-part": kind }, kind)));
  const rows = new Keyed(list, ({ job }) => job.id, () => row(currentId));
  let shown = PER_PART;
  let latest = null;
  const draw = () => {
    const found = inOrder(latest.jobs);
    const scale = scaleOf(latest.jobs);
    put(axis, ticks(scale));
    rows.show(found.slice(0, shown).map((each) => ({ ...each, scale })));
    more.hidden = found.length <= shown;
    say(more, `More rows (${number(found.length - shown)} left)`);
  };
  return {
    element: h("div", { class: "times" }, legend, h("div", { class: "times-inner" }, axis, list), more),
    update(tree) {
      latest = tree;
      draw();
    },
  };
}

const at = (text) => (text ? new Date(text).getTime() : null);

/** The first and the last moment of a tree; the last one is now while a job is not final. */
function scaleOf(jobs) {
  const first = Math.min(...bounds(jobs, ({ created_at: created }) => at(created)));
  const now = Date.now();
  const last = Math.max(...bounds(jobs, ({ completed_at: completed }) => at(completed) ?? now), first + 1);
  const place = (moment) => Math.min(100, Math.max(0, (100 * (moment - first)) / (last - first)));
  return { first, last, now, place };
}

// The arguments of a call are bounded, so the bounds of many jobs are found in a loop.
function bounds(jobs, timeOf) {
  let [low, high] = [Infinity, -Infinity];
  for (const job of jobs) [low, high] = [Math.min(low, timeOf(job)), Math.max(high, timeOf(job))];
  return [low, high];
}

function ticks({ first, last, place }) {
  const step = TICKS.find((each) => (last - first) / each <= 6) ?? (last - first) / 6;
  const found = [];
  for (let offset = 0; offset <= last - first; offset += step) {
    const tick = h("span", {}, offset ? span(offset).replace(".0 s", " s") : "0");
    tick.style.left = `${place(first + offset)}%`;
    found.push(tick);
  }
  return found;
}

/** What a job did, as [kind, from, to]. */
function partsOf(job, now) {
  const [created, began, ended] = [at(job.created_at), at(job.first_run_at), at(job.completed_at)];
  const end = ended ?? now;
  const waits = job.waits.map((wait) => ["waits", at(wait.began_at), Math.min(end, at(wait.ended_at) ?? end)]);
  if (began === null) return [["queued", created, end], ...waits];
  const runs = [];
  let from = began;
  for (const [, waitBegan, waitEnded] of waits.filter(([, waitBegan]) => waitBegan >= began)) {
    runs.push(["runs", from, waitBegan]);
    from = waitEnded;
  }
  return [["queued", created, began], ...waits, ...(from < end ? [...runs, [job.status === "queued" ? "queued" : "runs", from, end]] : runs)];
}

function row(currentId) {
  const link = h("a", {});
  const what = h("span", { class: "unseen" });
  const track = h("div", { class: "track", "aria-hidden": "true" });
  const element = h("li", {}, link, track, what);
  let before = "";
  return {
    element,
    update({ job, depth, scale }) {
      const key = JSON.stringify([job, scale.first, FINAL.includes(job.status) ? scale.last : scale.now, scale.last]);
      if (key === before) return;
      before = key;
      const state = stateOf(job);
      link.href = `#/jobs/${job.id}`;
      link.title = job.id;
      link.style.paddingInlineStart = `${depth}rem`;
      element.dataset.state = state;
      element.classList.toggle("current", job.id === currentId);
      say(link, nameOf(job));
      say(what, `${state}${job.duration_ms === null ? "" : `, ran ${ran(job)}`}`);
      put(track, partsOf(job, scale.now).map(([kind, from, to]) => {
        const part = h("i", { "data-part": kind, title: `${kind} ${span(Math.max(0, to - from))}, from ${full(new Date(from).toISOString())}` });
        part.style.left = `${scale.place(from)}%`;
        part.style.width = `${Math.max(0, scale.place(to) - scale.place(from))}%`;
        return part;
      }));
    },
  };
}
