// The rows of a job's waterfall: its runs, steps, waits and children, each with its bars. No DOM.

import { titled } from "../format.js";
import { nameOf, outcomeOf, stateOf } from "./job_states.js";
import { at, axisOf } from "./time_axis.js";

/** More children of one worker than these share a row, which opens. */
const MAX_ALIKE = 6;
const RANKS = { run: 0, step: 1, child: 2, children: 2, wait: 3, queue: 4 };
/** Outcomes after which the next run begins with a delay. */
const DELAYED = ["failed", "lost", "interrupted", "deferred"];
/** The kinds of journal entries that name a wait, by its condition. */
const NAMING = { event: "event", time: "sleep", approval: "approval" };

/**
 * @typedef {{ part: "queued" | "delay" | "runs" | "waits", from: number, to: number }} Bar
 * `start` is the end of its queue time; `isOpen`: it has not ended.
 * @typedef {{ key: string, kind: string, label: string, state: string, verb: string, depth: number,
 *   from: number, start: number, to: number, bars: Bar[], isOpen: boolean, record: any }} Row
 */

/**
 * Return the rows by time, in milliseconds since 1970. A job that has ended has the time of its
 * end as `now`.
 * @param {{ job: any, runs: any[], entries: any[], waits: any[], children: any[] }} parts
 * @param {number} now
 * @returns {Row[]}
 */
export function rowsOf({ job, runs, entries, waits, children }, now) {
  const rows = [
    ...runRows(job, runs, now),
    ...stepRows(runs, entries, now),
    ...waits.map((wait) => waitRow(wait, labelOfWait(wait, waits, entries), job, now)),
    ...childRows(entries, children, now),
    ...queueRow(job, runs, waits, now),
  ];
  return rows.sort((one, other) => one.from - other.from || RANKS[one.kind] - RANKS[other.kind]);
}

/** Return the axis on which all rows fit. */
export function axisOfRows(rows, now) {
  const first = rows.reduce((low, { from }) => Math.min(low, from), Infinity);
  const last = rows.reduce((high, { to }) => Math.max(high, to), -Infinity);
  return rows.length ? axisOf(first, last) : axisOf(now - 1000, now);
}

const bar = (part, from, to) => ({ part, from, to });

/** @returns {Row} */
const row = (more) => ({ start: more.from, depth: 1, isOpen: false, ...more });

function runRows(job, runs, now) {
  const counts = new Map();
  for (const { attempt } of runs) counts.set(attempt, (counts.get(attempt) ?? 0) + 1);
  const seen = new Map();
  return runs.map((run, place) => {
    seen.set(run.attempt, (seen.get(run.attempt) ?? 0) + 1);
    const part = counts.get(run.attempt) > 1 ? `run ${seen.get(run.attempt)}` : "";
    const label = counts.size > 1 ? `Attempt ${run.attempt}${part && `, ${part}`}` : part || "run";
    return runRow({ run, before: runs[place - 1], key: `run ${place}`, label, job, now });
  });
}

function runRow({ run, before, key, label, job, now }) {
  const [state, verb] = outcomeOf(run, job);
  const [start, to] = [at(run.started_at), at(run.ended_at) ?? now];
  const ready = start - (run.wait_ms ?? 0);
  const isDelayed = before && DELAYED.includes(before.outcome);
  const from = isDelayed ? Math.min(at(before.ended_at), ready) : ready;
  return row({
    ...{ kind: "run", key, label: titled(label), state, verb, depth: 0 },
    ...{ from, start, to, isOpen: !run.ended_at, record: run },
    bars: [bar("delay", from, ready), bar("queued", ready, start), bar("runs", start, to)],
  });
}

/** The journal has the end of a step. It began after the entry before it, in the same run. */
function stepRows(runs, entries, now) {
  let before = 0;
  return entries.flatMap((entry) => {
    const written = at(entry.written_at);
    const run = runs.findLast(({ started_at: started }) => at(started) <= written);
    const begun = Math.min(written, Math.max(before, at(run?.started_at) ?? written));
    before = written;
    return entry.kind === "step" ? [stepRow(entry, run, begun, written, now)] : [];
  });
}

function stepRow(entry, run, begun, written, now) {
  const hasBegun = entry.state === "began";
  const isOpen = hasBegun && !run?.ended_at;
  const [from, to] = hasBegun ? [written, at(run?.ended_at) ?? now] : [begun, written];
  return row({
    ...{ kind: "step", key: `step ${entry.name}`, label: entry.name },
    ...{ from, to, isOpen, record: entry },
    state: isOpen ? "running" : hasBegun ? "failed" : "completed",
    verb: isOpen ? "is running" : hasBegun ? "began and did not end" : "is done",
    bars: [bar("runs", from, to)],
  });
}

/**
 * Return the name of a wait. The job writes a sleep's entry when the wait begins. It writes an
 * event's entry before the wait begins, and replaces it after the wait has ended.
 */
function labelOfWait(wait, waits, entries) {
  const kind = NAMING[wait.condition];
  if (!kind) return awaited(wait.jobs.length);
  const from = at(wait.began_at);
  const next = Math.min(...waits.map((each) => at(each.began_at)).filter((time) => time > from));
  const alike = entries.filter((entry) => entry.kind === kind);
  const named =
    alike.find(({ written_at: written }) => at(written) >= from && at(written) < next) ??
    alike.findLast(({ written_at: written, state }) => state === "waits" && at(written) < from);
  // A sleep without a key has the name "sleep".
  return named && named.name !== kind ? `${kind} ${named.name}` : kind;
}

function waitRow(wait, name, job, now) {
  const [from, to] = [at(wait.began_at), at(wait.ended_at) ?? now];
  return row({
    ...{ kind: "wait", key: `wait ${wait.began_at}`, label: `Wait: ${name}`, state: "waits" },
    verb: wait.ended_at ? "ended" : job.completed_at ? "was cut short" : "waits",
    ...{ from, to, isOpen: !wait.ended_at && !job.completed_at, record: wait },
    bars: [bar("waits", from, to)],
  });
}

const awaited = (count) =>
  count === 1 ? "1 job" : `${count}${count >= 100 ? " or more" : ""} jobs`;

function childRows(entries, children, now) {
  const names = new Map();
  for (const { kind, name, child } of entries)
    if (kind === "child" && child) names.set(child.id, name);
  const alike = new Map();
  for (const child of children) {
    const rows = alike.get(child.worker_id) ?? [];
    alike.set(child.worker_id, [...rows, childRow({ ...child, name: names.get(child.id) }, now)]);
  }
  return [...alike].flatMap(([worker, rows]) =>
    rows.length > MAX_ALIKE ? [groupRow(worker, rows)] : rows,
  );
}

function childRow(child, now) {
  const [from, to] = [at(child.created_at), at(child.completed_at) ?? now];
  const start = Math.min(at(child.started_at) ?? to, to);
  const state = stateOf(child);
  return row({
    ...{ kind: "child", key: child.id, label: nameOf(child), state, verb: state },
    ...{ from, start, to, isOpen: !child.completed_at, record: child },
    bars: [bar("queued", from, start), bar("runs", start, to)],
  });
}

function groupRow(worker, rows) {
  const failed = rows.filter(({ state }) => state === "failed").length;
  const ended = rows.filter(({ isOpen }) => !isOpen).length;
  const from = Math.min(...rows.map((each) => each.from));
  const to = Math.max(...rows.map((each) => each.to));
  return row({
    ...{ kind: "children", key: worker, label: `${rows.length} × ${worker.replace(/^wkr_/, "")}` },
    state: failed ? "failed" : ended < rows.length ? "running" : "completed",
    verb: `${ended} of ${rows.length} ended${failed ? `, ${failed} failed` : ""}`,
    ...{ from, to, isOpen: ended < rows.length, record: rows },
    bars: [bar("runs", from, to)],
  });
}

/** The time for which a queued job has waited since its last run, without a wait of its handler. */
function queueRow(job, runs, waits, now) {
  if (job.status !== "queued" || waits.some(({ ended_at: ended }) => !ended)) return [];
  const from = at(runs.at(-1)?.ended_at ?? job.created_at);
  const to = Math.max(now, at(job.scheduled_at) ?? 0);
  return [
    row({
      ...{ kind: "queue", key: "queue", label: "Queue", state: "queued", verb: "is queued" },
      ...{ from, to, isOpen: true, depth: 0, record: null, bars: [bar("queued", from, now)] },
    }),
  ];
}
